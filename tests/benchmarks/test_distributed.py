from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import distributed
import pytest
from all_reduce import SIZES_BYTES, measure_all_reduces
from distributed import (
    PARITY_MODELS,
    STRATEGIES,
    list_cases,
    parse_options,
    run_study,
    write_report,
)
from distributed_report import ALL_REDUCE, load_rows
from records import create_rank_record, save_record
from scaling.link import load_all_reduce
from scaling_records import create_profile

from oneflow_bench.bench.errors import WorkerError

MEASURED = {
    "schema_version": 1,
    "ranks": 2,
    "samples": [{"size_bytes": size, "time_s": 1e-4 + size * 1e-9} for size in SIZES_BYTES],
}

# with a profile, a speed and a weak scaling of each mode
CALLS = len(PARITY_MODELS) * len(STRATEGIES) + 2 + 2 + 2


class Bench:
    """Stands for the command: writes made-up records, and fails where it is told to."""

    def __init__(self, broken=""):
        self.calls, self.broken = [], broken

    def __call__(self, arguments):
        self.calls.append(list(arguments))
        if self.broken and self.broken in arguments:
            raise WorkerError("bench compare ended with 4: error: it died")
        out = Path(arguments[arguments.index("--out") + 1])
        if arguments[0] == "profile":
            out.mkdir(parents=True)
            (out / "profile.json").write_text(create_profile().model_dump_json())
        else:
            save_record(create_rank_record(noise=0.01), out)
        return ""


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "measure_all_reduces", lambda ranks: MEASURED)
    return parse_options(["--out", str(tmp_path), "--model", "lenet"])


def test_every_strategy_is_compared_for_every_model():
    cases = list_cases(["parity"], [])
    assert len(cases) == len({case.name for case in cases}) == len(PARITY_MODELS) * len(STRATEGIES)


def test_each_result_is_stored_and_nothing_is_run_twice(options, tmp_path):
    bench = Bench()
    run_study(options, bench)
    count = len(bench.calls)
    assert count == CALLS
    run_study(options, bench)
    assert len(bench.calls) == count
    assert load_all_reduce(tmp_path / ALL_REDUCE).ranks == 2
    rows = load_rows(tmp_path)
    assert rows["parity/resnet18/ddp"]["parity"] == "equal within rounding"


def test_a_kill_loses_the_case_it_hits_and_no_other(options):
    class Killed(Bench):
        def __call__(self, arguments):
            if len(self.calls) == 3:
                raise KeyboardInterrupt
            return super().__call__(arguments)

    with pytest.raises(KeyboardInterrupt):
        run_study(options, Killed())
    assert len(load_rows(options.out)) == 3
    bench = Bench()
    run_study(options, bench)
    assert len(bench.calls) == CALLS - 3


def test_a_failed_case_says_so_and_is_run_again_when_asked(options):
    run_study(options, Bench(broken="graph-pp"))
    assert "it died" in load_rows(options.out)["parity/resnet18/graph-pp"]["error"]
    report = write_report(options.out)
    assert "| resnet18 | graph-pp | - | - | - | failed |" in report
    assert "- parity/resnet18/graph-pp: bench compare ended with 4" in report
    again = Bench()
    run_study(options, again)
    assert again.calls == []
    options.retry = True
    run_study(options, again)
    assert len(again.calls) == len(PARITY_MODELS)
    assert not any("error" in row for row in load_rows(options.out).values())


def test_the_report_has_the_prediction_beside_the_measurement(options, tmp_path):
    assert "nothing is stored" in write_report(tmp_path / "empty")
    run_study(options, Bench())
    report = write_report(options.out)
    row = next(line for line in report.splitlines() if line.startswith("| lenet | eager |"))
    # half of a step of 1 s, and an all-reduce of 1616 bytes that nothing hides
    assert "| 500.1 |" in row and row.count("|") == 10
    assert "| alexnet_cifar | ddp | 20 | 1.0e-07 | 2.0e-07 | equal within rounding |" in report
    assert (options.out / "table.md").read_text() == report
    assert (options.out / "speedup.png").exists()


def test_weak_scaling_has_a_table_of_its_own(options):
    options.only, options.model = ["weak"], ["alexnet_cifar", "vgg11_bn"]
    bench = Bench()
    run_study(options, bench)
    assert len(bench.calls) == 2 and all("--weak" in call for call in bench.calls)
    report = write_report(options.out)
    assert "weak scaling" in report and "same global batch" not in report
    assert "| alexnet_cifar | graph |" in report


def rank(tmp_path, body):
    """A command that stands for a rank."""
    path = tmp_path / "rank.py"
    path.write_text("import json, os, sys, time\n" + textwrap.dedent(body))
    return [sys.executable, str(path)]


def test_the_slowest_rank_is_what_an_all_reduce_takes(tmp_path):
    body = "print(json.dumps([[1.0, 2.0, 3.0 + int(os.environ['RANK'])]]))"
    found = measure_all_reduces(2, [8], command=rank(tmp_path, body))
    assert found["samples"] == [{"size_bytes": 8, "time_s": 2.0}]
    body = "print(json.dumps([[1.0 + int(os.environ['RANK'])] * 3]))"
    assert measure_all_reduces(2, [8], command=rank(tmp_path, body))["samples"][0]["time_s"] == 2.0


def list_children():
    """The processes that this one has started, or has not yet noticed the end of."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        found |= set((task / "children").read_text().split())
    return found


@pytest.mark.parametrize(
    "body, timeout_s, words",
    [
        ("if os.environ['RANK'] == '1': sys.exit('no')\ntime.sleep(600)", 120, "rank 1 of the"),
        ("time.sleep(600)", 1, "took longer than 1 s"),
    ],
)
def test_a_rank_that_fails_or_hangs_ends_all(tmp_path, body, timeout_s, words):
    before = list_children()
    with pytest.raises(WorkerError, match=words):
        measure_all_reduces(2, [8], timeout_s=timeout_s, command=rank(tmp_path, body))
    assert list_children() <= before
