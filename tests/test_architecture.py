"""The house: imports between rooms go down, and no room grows too large."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Set, Tuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "oneflow_bench"

# From the top. A file imports from its own room and from the rooms below it.
FLOORS = [
    ["bench/cli"],
    ["bench/tools/*", "bench/distributed"],
    ["bench/report"],
    ["bench/measure"],
    ["bench/parity"],
    ["bench/verdict"],
    ["bench/worker"],
    ["bench/training"],
    ["bench/plan"],
    ["bench/record"],
    ["models", "data", "bench/config.py"],
    ["bench/errors.py", "bench/training_step.py"],
]
# OneFlow runs in workers. The controller imports none of these files.
ONEFLOW_ROOMS = ["models", "bench/training", "bench/distributed", "bench/parity", "bench/worker"]
ONEFLOW_FILES = ["data/loader.py"]
WORKER_FILES = [
    "worker.py",
    "tracing.py",
    "layers.py",
    "alone.py",
]  # of a tool, run in its worker
MATPLOTLIB_ROOMS = ["bench/report", "bench/tools/*"]
ROOMLESS = ["bench/__init__.py", "bench/tools/__init__.py"]
CATALOGUES = ["models", "bench/cli"]
MOST_FILES, MOST_LINES, MOST_ROOMS = 16, 300, 12
MOST_FILES_IN_ALL, MOST_LINES_IN_ALL = 276, 46_000


def list_sources(root: Path = ROOT) -> Iterator[Path]:
    for folder in ("bench", "models", "data"):
        yield from sorted((root / folder).rglob("*.py"))


def find_room(file: str) -> Tuple[int, str]:
    """The floor of a file, 0 at the top, and its room."""
    for number, floor in enumerate(FLOORS):
        for room in floor:
            if room.endswith("/*"):
                parent = room[:-1]
                if file.startswith(parent) and file.count("/") > parent.count("/"):
                    return number, parent + file[len(parent) :].split("/")[0]
            elif file == room or file.startswith(f"{room}/"):
                return number, room
    raise AssertionError(f"{file} is in no room of FLOORS")


def read_imports(path: Path, root: Path) -> Set[str]:
    """What a file imports: files of ours as paths, others by their first name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for alias in node.names:
                found |= set(_find_file(folder, alias.name, root))
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    return found


def _find_file(folder: Path, name: str, root: Path) -> Iterator[str]:
    for place in (folder / f"{name}.py", folder / name / "__init__.py", folder.with_suffix(".py")):
        if place.is_file():
            yield str(place.relative_to(root))
            return
    if (folder / "__init__.py").is_file() and folder != root:
        yield str((folder / "__init__.py").relative_to(root))


def find_violations(root: Path) -> List[str]:
    wrong = []
    for path in list_sources(root):
        file = str(path.relative_to(root))
        if file in ROOMLESS:
            continue
        floor, room = find_room(file)
        for imported in sorted(read_imports(path, root)):
            if imported == "oneflow" and not may_import_oneflow(file, room):
                wrong.append(f"{file} imports OneFlow")
            if imported == "matplotlib" and not _is_in(room, MATPLOTLIB_ROOMS):
                wrong.append(f"{file} imports matplotlib")
            if imported == PACKAGE:
                wrong.append(f"{file} imports {PACKAGE} by its name, which tools cannot follow")
            if "/" not in imported or imported in ("bench/__init__.py",):
                continue
            below, other = find_room(imported)
            if other != room and (below <= floor or room in ("models", "data")):
                wrong.append(f"{file} imports {imported}, which is not below it")
    return wrong


def may_import_oneflow(file: str, room: str) -> bool:
    name = file.rsplit("/", 1)[1]
    in_tool = room.startswith("bench/tools/") and name in WORKER_FILES
    return room in ONEFLOW_ROOMS or file in ONEFLOW_FILES or in_tool


def _is_in(room: str, rooms: List[str]) -> bool:
    return any(room == one or (one[-2:] == "/*" and room.startswith(one[:-1])) for one in rooms)


def test_every_import_goes_down():
    assert len(list(list_sources())) > 100
    assert find_violations(ROOT) == []


@pytest.mark.parametrize(
    "file, line",
    [
        ("bench/measure/speed_phase.py", "import oneflow as flow"),
        ("bench/tools/sweep/plan.py", "import oneflow as flow"),
        ("bench/measure/speed_phase.py", "from matplotlib import pyplot"),
        ("models/vgg.py", "from ..data import load_dataset"),
        ("data/index.py", "from ..bench.errors import InputError"),
        ("bench/config.py", "from .record.run import RunRecord"),
        ("bench/verdict/judge.py", "from ..report import blocks"),
        ("bench/tools/sweep/plan.py", "from ..doctor.run import diagnose"),
        ("bench/worker/session.py", "from ..distributed import group"),
        ("bench/worker/session.py", "from oneflow_bench.models import create_model"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, file, line):
    files = ["record/run", "report/blocks", "tools/doctor/run", "distributed/group", "errors"]
    for name in ("data/__init__.py", *(f"bench/{name}.py" for name in files), file):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find_violations(tmp_path) == []
    (tmp_path / file).write_text(line + "\n")
    assert len(find_violations(tmp_path)) == 1


def test_a_file_can_be_read_at_a_sitting():
    lengths = {str(path.relative_to(ROOT)): _count_lines(path) for path in list_sources()}
    assert {file: lines for file, lines in lengths.items() if lines > MOST_LINES} == {}


def test_a_room_can_be_overlooked():
    counts: Dict[str, int] = {}
    for path in list_sources():
        folder = str(path.parent.relative_to(ROOT))
        counts[folder] = counts.get(folder, 0) + 1
    for name in CATALOGUES:
        del counts[name]
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}
    rooms = [path for path in (ROOT / "bench").iterdir() if (path / "__init__.py").is_file()]
    assert len(rooms) <= MOST_ROOMS


def test_the_house_stays_small():
    sources = list(list_sources())
    assert len(sources) <= MOST_FILES_IN_ALL
    assert sum(map(_count_lines, sources)) <= MOST_LINES_IN_ALL


def _count_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def find_modules(statement: str) -> Set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    return set(done.stdout.decode().split())


@pytest.mark.parametrize("room", ["cli", "report", "measure", "verdict", "plan", "record"])
def test_the_controller_runs_without_oneflow(room):
    files = [path for path in list_sources() if find_room_name(path) == f"bench/{room}"]
    names = [".".join([PACKAGE, *path.relative_to(ROOT).with_suffix("").parts]) for path in files]
    assert names
    assert "oneflow" not in find_modules("\n".join(f"import {name}" for name in names))


def test_the_tools_run_without_oneflow():
    names = [
        ".".join([PACKAGE, *path.relative_to(ROOT).with_suffix("").parts])
        for path in list_sources()
        if find_room_name(path).startswith("bench/tools/") and path.name not in WORKER_FILES
    ]
    assert names
    assert "oneflow" not in find_modules("\n".join(f"import {name}" for name in names))


def find_room_name(path: Path) -> str:
    file = str(path.relative_to(ROOT))
    return "" if file in ROOMLESS else find_room(file)[1]


def test_help_is_quick_and_light():
    assert not {"pydantic", "numpy", "matplotlib"} & find_modules(f"import {PACKAGE}.bench.cli")
    times = []
    for _ in range(5):
        start = _processor_time_of_children()
        subprocess.run(
            [sys.executable, "-m", PACKAGE, "--help"], stdout=subprocess.PIPE, check=True
        )
        times.append(_processor_time_of_children() - start)
    assert min(times) < 0.3  # of processor time: what else the machine does is not the question


def _processor_time_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
