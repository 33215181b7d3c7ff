"""A third mode is one file (`wide_mode.py`) and one registration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import parse_contender

from oneflow_bench.bench.cli import main
from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.modes import MODES, ModeSpec, find_mode_of, register_mode
from oneflow_bench.bench.record.events import SetupEvent
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.report import pictures

WIDE = ModeSpec("wide", "wide_mode:WideEager")


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setitem(MODES, "wide", WIDE)  # taken out again afterwards
    monkeypatch.chdir(Path(__file__).parent)  # where the workers find `wide_mode`
    register_mode(WIDE)


@pytest.mark.oneflow
@pytest.mark.parametrize(
    "speed",
    [
        ["--no-speed"],
        pytest.param(["--budget", "60", "--replicates", "1"], marks=pytest.mark.slow),
    ],
)
def test_a_comparison_runs_a_registered_mode_to_its_verdict(
    wide, tmp_path, capfd, monkeypatch, speed
):
    monkeypatch.setattr(pictures, "render_pictures", lambda records, folder: [])
    run = tmp_path / "run"
    size = ["--model", "lenet", "--epochs", "1", "--steps-per-epoch", "6", "--batch-size", "8"]
    with pytest.raises(SystemExit) as ended:
        main(["compare", "--contender", "wide", *size, *speed, "--out", str(run), "--json"])
    assert ended.value.code in (0, 1, 3), capfd.readouterr().err
    record = load_record(run)
    assert record.document.status == "complete"
    assert [one.mode for one in record.document.contenders] == ["eager", "wide"]
    setups = record.of_kind(SetupEvent)
    assert len({setup.initial_digest for setup in setups}) == 1
    comparison = json.loads((run / "comparison.json").read_text())
    assert comparison["same_batches"] is True
    assert 0 < comparison["loss"]["max_abs"] < 1e-4  # of the rounding of float32
    if speed != ["--no-speed"]:
        assert comparison["speed"]["judgement"]["replicates"] == 1


@pytest.mark.parametrize("given", [{"mode": "eagre"}, {"mode": "graph", "strategy": "tx"}])
def test_an_unknown_mode_is_refused_with_the_known_ones(given):
    with pytest.raises(InputError, match="unknown mode '.*'; (did you mean|known are) ") as info:
        find_mode_of(Contender(name="x", **given))
    assert "\n" not in str(info.value)


def test_a_contender_of_an_unknown_mode_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"begins with 'torch' .*a mode \(eager, graph\)"):
        parse_contender("torch")


@pytest.mark.parametrize(
    "text, said",
    [
        ("wide,dtype=float64", "dtype=float64 cannot be trained as wide"),
        ("wide,allow_fuse_add_to_output=true", "is a switch of nn.Graph and has no effect on wide"),
        ("wide,ranks=2", "wide runs in one process and 2 ranks were given"),
    ],
)
def test_a_contender_may_ask_for_what_its_mode_s_entry_says(wide, text, said):
    assert parse_contender("wide") == Contender(name="wide", mode="wide")
    with pytest.raises(InputError, match=said):
        parse_contender(text)


@pytest.mark.oneflow
def test_a_worker_refuses_a_mode_that_it_does_not_know():
    from oneflow_bench.bench.training.job import create_job
    from oneflow_bench.bench.training.modes import ModeSetting, create_mode

    workload = Workload(model="lenet", data="synthetic", feed="memory")
    setting = ModeSetting(workload, Contender(name="x", mode="lazy"), 1)
    with pytest.raises(InputError, match="unknown mode 'lazy'; known are .*eager.*graph"):
        create_mode(create_job(workload, None, 1, "cpu"), setting)
