"""The import direction of the design, read from the sources."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Set

import pytest
from layers import LAYERS, MATPLOTLIB_ALLOWED, ONEFLOW_ALLOWED

ROOT = Path(__file__).resolve().parent.parent


def rank(module: str) -> int:
    for number, layer in enumerate(LAYERS):
        if module in layer or ".".join(module.split(".")[:2]) in layer:
            return number
    raise AssertionError(f"{module} has no layer; give it one in LAYERS")


def read_imports(path: Path) -> Set[str]:
    """Absolute names of what a file imports; relative imports resolved within its folder."""
    found: Set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(["oneflow_bench", path.parent.name, base]).rstrip(".")
            found.add(base)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def read_tree(root: Path) -> Dict[str, Set[str]]:
    """Module name as `folder.module` -> what it imports, ours as `folder.module` too."""
    tree = {}
    for folder in ("bench", "models", "data"):
        for path in sorted((root / folder).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            tree[name] = {translate(imported) for imported in read_imports(path)}
    return tree


def translate(imported: str) -> str:
    parts = imported.split(".")
    if parts[0] != "oneflow_bench":
        return imported
    if len(parts) > 1 and parts[1] in ("models", "data"):
        return ".".join(parts[1:])
    return ".".join(["bench", *parts[1:]])


def find_violations(tree: Dict[str, Set[str]]) -> List[str]:
    wrong = []
    for module, imports in tree.items():
        package = module.split(".")[0]
        for imported in sorted(imports):
            top = imported.split(".")[0]
            if top == "oneflow" and package != "models" and module not in ONEFLOW_ALLOWED:
                wrong.append(f"{module} imports {imported}")
            if top == "matplotlib" and module not in MATPLOTLIB_ALLOWED:
                wrong.append(f"{module} imports {imported}")
            if package in ("models", "data") and top in ({"bench", "models", "data"} - {package}):
                wrong.append(f"{module} imports {imported}")
            if (
                package == "bench"
                and imported in tree
                and not (module.startswith("bench.cli") and imported.startswith("bench.cli"))
                and top == "bench"
                and rank(imported) >= rank(module)
            ):
                wrong.append(f"{module} imports {imported}, which is not below it")
    return wrong


def test_every_import_goes_down():
    tree = read_tree(ROOT)
    assert len(tree) > 30
    assert find_violations(tree) == []


@pytest.mark.parametrize(
    "module, line",
    [
        ("bench/runner.py", "import oneflow as flow"),
        ("bench/report.py", "from matplotlib import pyplot"),
        ("models/vgg.py", "from oneflow_bench.data import load_dataset"),
        ("data/index.py", "from oneflow_bench.bench.errors import InputError"),
        ("bench/config.py", "from oneflow_bench.bench.record import RunRecord"),
        ("bench/stats.py", "from oneflow_bench import record"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, module, line):
    for name in ("bench/record.py", "data/__init__.py", "bench/errors.py", module):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / module).write_text(line + "\n")
    assert len(find_violations(read_tree(tmp_path))) >= 1


def test_files_can_be_read_at_a_sitting():
    long = [
        path
        for folder in ("bench", "models", "data", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > 330
    ]
    assert long == []


def imported_by(statement: str) -> List[str]:
    code = f"{statement}\nimport sys\nprint(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().split()


@pytest.mark.parametrize(
    "statement",
    [
        "import oneflow_bench.bench.cli.runs, oneflow_bench.bench.plan, oneflow_bench.bench.report",
        "import oneflow_bench.models, oneflow_bench.data",
        "import oneflow_bench.bench.plot, oneflow_bench.bench.inference, oneflow_bench.bench.profile_plot",
        "import oneflow_bench.bench.cli.sweeps, oneflow_bench.bench.sweep.cell, oneflow_bench.bench.sweep.plot",
        "import oneflow_bench.bench.parity.constructor, oneflow_bench.bench.parity.reproduction",
        "import oneflow_bench.bench.history_plot, oneflow_bench.bench.export.markdown, "
        "oneflow_bench.bench.export.tensorboard",
        "import oneflow_bench.bench.cli.tuning, oneflow_bench.bench.tuning.run, oneflow_bench.bench.tuning.plot",
        "import oneflow_bench.bench.cli.checks, oneflow_bench.bench.cli.baselines",
        "import oneflow_bench.bench.cli.limits, oneflow_bench.bench.limits.run, oneflow_bench.bench.limits.plot",
        "import oneflow_bench.bench.parity.series, oneflow_bench.bench.parity.planning",
        "import oneflow_bench.bench.parity.junit, oneflow_bench.bench.parity.annotations",
        "import oneflow_bench.bench.cli.scaling, oneflow_bench.bench.scaling.report",
        "import oneflow_bench.bench.cli.diagnoses, oneflow_bench.bench.doctor.run, oneflow_bench.bench.doctor.report",
    ],
)
def test_the_controller_runs_without_oneflow(statement):
    assert "oneflow" not in imported_by(statement)


def test_help_is_quick_and_light():
    assert not {"pydantic", "numpy", "matplotlib"} & set(
        imported_by("import oneflow_bench.bench.cli")
    )
    times = []
    for _ in range(5):
        start = _processor_time_of_children()
        subprocess.run(
            [sys.executable, "-m", "oneflow_bench", "--help"], stdout=subprocess.PIPE, check=True
        )
        times.append(_processor_time_of_children() - start)
    assert min(times) < 0.3  # of processor time: what else the machine does is not the question


def _processor_time_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
