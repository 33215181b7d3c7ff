"""How good is the doctor? Plants faults one by one and counts those found and those invented.

    python benchmarks/doctor_quality.py run [--faults 'blas*'] [--repeats 3]
    python benchmarks/doctor_quality.py report

Run it on an idle machine. Each diagnosis is stored as it ends (doctor.jsonl in results/runtime); a
second call continues. The first case is the machine without a fault: a finding there is true of
this machine, or invented.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Set

from study import Row, load_rows, run_study

from oneflow_bench.bench.errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_INCONCLUSIVE, WorkerError

STORE = "doctor.jsonl"
LONGEST_S = 300.0  # for one diagnosis, whose budget is far below
AS_IS = "none"


class Planting(NamedTuple):
    """The variables and flags of `bench doctor` that a fault changes for one diagnosis."""

    variables: Dict[str, str] = {}
    flags: Sequence[str] = ()
    cores: int = 0  # usable ones; 0 leaves them


class Fault(NamedTuple):
    """A fault, the checks that must find it, and those that its effects may set off as well."""

    plant: Callable[[ExitStack], Planting]
    expected: Set[str]
    allowed: Set[str] = frozenset()  # type: ignore[assignment]


def set_variables(**variables: str) -> Callable[[ExitStack], Planting]:
    return lambda stack: Planting(variables=variables)


def keep_cores_busy(stack: ExitStack) -> Planting:
    for core in sorted(os.sched_getaffinity(0)):
        stack.enter_context(run_neighbour(core))
    return Planting()


@contextmanager
def run_neighbour(core: int) -> Iterator[None]:
    """A process that computes on `core` and never rests."""
    code = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def hide_cudnn(stack: ExitStack) -> Planting:
    """The same OneFlow, by links, in a folder without cuDNN's and cuBLAS's libraries beside it."""
    spec = importlib.util.find_spec("oneflow")
    if spec is None or not spec.submodule_search_locations:
        raise WorkerError("this interpreter has no OneFlow to hide a library from; run make setup")
    package = Path(spec.submodule_search_locations[0])
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (folder / "oneflow").mkdir()
    for entry in package.iterdir():
        (folder / "oneflow" / entry.name).symlink_to(entry)
    (folder / "oneflow.libs").symlink_to(package.parent / "oneflow.libs")
    return Planting(variables={"PYTHONPATH": str(folder)})


def use_bare_interpreter(stack: ExitStack) -> Planting:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return Planting(flags=["--python", f"{folder}/bin/python"])


BLAS_CHECKS = {"blas_kernel", "matmul_rate"}
# beside busy neighbours or on one core, the scheduler's spinning really costs time
FAULTS = {
    AS_IS: Fault(lambda stack: Planting(), set()),
    "blas-prescott": Fault(set_variables(OPENBLAS_CORETYPE="Prescott"), BLAS_CHECKS),
    # near the threshold of the rate where NumPy has AVX-512, so that one check may miss it
    "blas-barcelona": Fault(
        set_variables(OPENBLAS_CORETYPE="Barcelona"), {"blas_kernel"}, {"matmul_rate"}
    ),
    "busy-neighbours": Fault(keep_cores_busy, {"neighbours"}, {"scheduler"}),
    "missing-library": Fault(hide_cudnn, {"oneflow_import"}),
    "no-oneflow": Fault(use_bare_interpreter, {"oneflow_import"}),
    "one-thread": Fault(set_variables(OMP_NUM_THREADS="1"), {"threads"}),
    "one-core": Fault(lambda stack: Planting(cores=1), {"cores"}, {"scheduler"}),
    "onednn-on": Fault(set_variables(ONEFLOW_ENABLE_ONEDNN_OPTS="1"), {"onednn"}),
}


def examine(name: str, budget_s: float) -> Row:
    """One diagnosis with the fault planted, and its findings against the expected ones."""
    fault = FAULTS[name]
    with ExitStack() as stack:
        planting = fault.plant(stack)
        diagnosis, status = run_doctor(planting, budget_s)
    found = {check["name"] for check in diagnosis["checks"] if check["status"] == "attention"}
    missed, invented = fault.expected - found, found - fault.expected - fault.allowed
    return {
        "fault": name,
        "verdict": "missed" if missed else "invented" if invented else "right",
        "reason": f"found {', '.join(sorted(found)) or 'nothing'}",
        "found": sorted(found),
        "expected": sorted(fault.expected),
        "missed": sorted(missed),
        "invented": sorted(invented),
        "exit_status": status,
        "duration_s": diagnosis["duration_s"],
        "diagnosis": remove_paths(diagnosis),
    }


def remove_paths(diagnosis: Row) -> Row:
    """The diagnosis without the paths of this machine."""
    oneflow = dict(diagnosis["oneflow"])
    for part, name in (("identity", "executable"), ("imported", "log_tail")):
        oneflow[part] = {k: v for k, v in (oneflow[part] or {}).items() if k != name}
    variables = oneflow["variables"].items()
    oneflow["variables"] = {k: v for k, v in variables if not k.startswith("LD_")}
    return {**{k: v for k, v in diagnosis.items() if k != "python"}, "oneflow": oneflow}


def run_doctor(planting: Planting, budget_s: float) -> Any:
    """The diagnosis of a `bench doctor` of its own, and its exit status."""
    cores = sorted(os.sched_getaffinity(0))[: planting.cores or None]
    command = [sys.executable, "-m", "oneflow_bench", "doctor", "--json", "--budget", f"{budget_s}"]
    try:
        done = subprocess.run(
            ["taskset", "-c", ",".join(map(str, cores)), *command, *planting.flags],
            env={**os.environ, **planting.variables},
            capture_output=True,
            timeout=LONGEST_S,
        )
    except subprocess.TimeoutExpired:
        raise WorkerError(f"bench doctor did not end within {LONGEST_S:g} s") from None
    if done.returncode not in (EXIT_DONE, EXIT_DIFFERENT, EXIT_INCONCLUSIVE):
        raise WorkerError(
            f"bench doctor ended with status {done.returncode}",
            done.stderr.decode("utf-8", "replace"),
        )
    return json.loads(done.stdout), done.returncode


def describe_rows(rows: List[Row]) -> str:
    """A Markdown table, a line a fault, and the count of faults found and findings invented."""
    lines = ["| fault | diagnoses | found | beside it | longest, s |", "|---|---:|---:|---|---:|"]
    good = [row for row in rows if "error" not in row]
    for name in FAULTS:
        mine = [row for row in good if row["fault"] == name]
        if mine:
            others = {check for row in mine for check in row["found"]} - FAULTS[name].expected
            beside = ", ".join(sorted(others)) or "nothing"
            hits = sum(not row["missed"] for row in mine) if mine[0]["expected"] else "-"
            longest = max(row["duration_s"] for row in mine)
            lines.append(f"| {name} | {len(mine)} | {hits} | {beside} | {longest:.1f} |")
    planted = [row for row in good if row["fault"] != AS_IS]
    invented = sum(bool(row["invented"]) for row in good)
    lines += [
        "",
        f"{sum(not row['missed'] for row in planted)} of {len(planted)} planted faults found; "
        f"{invented} of {len(good)} diagnoses name a fault that was not planted; "
        f"{len(rows) - len(good)} failed.",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=["run", "report"])
    parser.add_argument("--out", type=Path, default=Path("results/runtime"))
    parser.add_argument("--faults", default="*", help="wildcard over the faults")
    parser.add_argument("--repeats", type=int, default=3, help="diagnoses of each")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds of each")
    options = parser.parse_args()
    chosen = [name for name in FAULTS if fnmatch.fnmatchcase(name, options.faults)]
    if not chosen or options.repeats < 1:
        parser.error(f"nothing to do; faults are {', '.join(FAULTS)}, and --repeats at least 1")
    if options.study == "run":
        options.out.mkdir(parents=True, exist_ok=True)
        cases = [
            (f"{name}/{repeat}", (name, options.budget))
            for repeat in range(options.repeats)
            for name in chosen
        ]
        run_study(options.out / STORE, cases, examine)
    print(describe_rows(load_rows(options.out / STORE)))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
