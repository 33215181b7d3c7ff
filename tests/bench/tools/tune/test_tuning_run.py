from __future__ import annotations

import json

import pytest
from tuning_machine import Machine, create_request, list_files, option, variable

from oneflow_bench.bench.errors import InputError, Interrupted, WorkerError, WorkerTimeout
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.tools.tune.result import load_tuning
from oneflow_bench.bench.tools.tune.run import count_places, run_search
from oneflow_bench.bench.worker.runtime_profile import load_runtime_profile

A, B, C, D = (variable(f"{name}=1") for name in "ABCD")


def search(machine, folder, settings, budget_s=300.0, **more):
    folder.mkdir()
    request = create_request(settings, budget_s, **more)
    profile = folder / "runtime.json"
    document = run_search(request, folder, profile, machine.launchers(), clock=machine.clock)
    return document


def find(mode, name, phase="alone"):
    return next(c for c in mode.of_phase(phase) if name == (c.left_out or c.name))


def test_the_planted_settings_are_found_combined_and_confirmed(tmp_path):
    machine = Machine({"A=1": 1.5, "B=1": 1.2, "D=1": 0.7})
    document = search(machine, tmp_path / "run", {"eager": [A, B, C, D]})
    mode = document.modes[0]
    assert document.status == "complete"
    assert mode.chosen == "A=1 B=1"
    verdicts = {name: find(mode, name).verdict for name in ("A=1", "B=1", "C=1", "D=1")}
    assert verdicts == {
        "A=1": "faster",
        "B=1": "faster",
        "C=1": "equivalent",
        "D=1": "slower",
    }
    together = find(mode, "A=1 B=1", "together").speedup
    assert together.low < 1.8 < together.high
    assert find(mode, "B=1", "left out").verdict == "slower"
    over_stock = find(mode, "B=1", "left out").over_stock
    assert over_stock.ratio == pytest.approx(1.5, rel=0.03)
    confirmed = mode.confirmations[0]
    assert confirmed.verdict == "faster" and confirmed.judgement.speedup.low > 1.7
    assert confirmed.fidelity.verdict == "identical"
    assert len(mode.confirmations) == 2  # and the best alone


def test_the_profile_is_what_was_confirmed_for_each_mode(tmp_path):
    fuse = option("allow_fuse_add_to_output")
    machine = Machine({"A=1": 1.5, "allow_fuse_add_to_output=true": 1.2})
    search(machine, tmp_path / "run", {"eager": [A, B], "graph": [B, fuse]})
    profile = load_runtime_profile(tmp_path / "run" / "runtime.json")
    assert profile.variables.eager == {"A": "1"} and profile.variables.graph == {}
    assert profile.graph_options == {"allow_fuse_add_to_output": True}


def test_what_is_stored_is_what_was_found_and_nothing_is_left_over(tmp_path):
    machine = Machine({"A=1": 1.5})
    document = search(machine, tmp_path / "run", {"eager": [A, B]})
    assert load_tuning(tmp_path / "run") == document
    files = list_files(tmp_path / "run")
    assert files == ["confirm-eager-1", "heats.jsonl", "runtime.json", "tune.json"]
    lines = (tmp_path / "run" / "heats.jsonl").read_text().splitlines()
    assert len(lines) == document.modes[0].heats
    heat = json.loads(lines[0])
    assert heat["base"] == "stock" and len(heat["step_times_s"]["A=1/0"]) >= 4
    record = load_record(tmp_path / "run" / "confirm-eager-1")
    assert record.document.status == "complete"
    assert all(worker.closed and worker.killed for worker in machine.workers[:4])


def test_a_setting_that_adds_nothing_to_the_others_leaves(tmp_path):
    both = {frozenset(["A=1", "B=1"]): 1.5}
    machine = Machine({"A=1": 1.5, "B=1": 1.2}, joint=both)
    mode = search(machine, tmp_path / "run", {"eager": [A, B]}).modes[0]
    assert mode.chosen == "A=1"
    assert "as fast without" in mode.dropped["B=1"]


def test_of_three_winners_one_that_harms_the_others_leaves_the_climb_or_is_left_out(tmp_path):
    joint = {
        frozenset(["A=1", "B=1", "C=1"]): 1.2,
        frozenset(["A=1", "C=1"]): 1.1,
        frozenset(["B=1", "C=1"]): 1.1,
    }
    machine = Machine({"A=1": 1.5, "B=1": 1.3, "C=1": 1.2}, joint=joint)
    mode = search(machine, tmp_path / "run", {"eager": [A, B, C]}).modes[0]
    assert mode.chosen == "A=1 B=1" and "C=1" in mode.dropped
    assert [c.name for c in mode.of_phase("together")][:2] == ["A=1 B=1", "A=1 B=1 C=1"]


def test_of_two_values_of_one_variable_the_faster_is_taken(tmp_path):
    machine = Machine({"A=1": 1.3, "A=2": 1.5})
    mode = search(machine, tmp_path / "run", {"eager": [A, variable("A=2")]}).modes[0]
    assert mode.chosen == "A=2"


def test_a_setting_that_computes_something_else_is_out_with_the_level(tmp_path):
    machine = Machine({"A=1": 2.0, "B=1": 1.2}, errors={"A=1": 1e-3})
    mode = search(machine, tmp_path / "run", {"eager": [A, B]}).modes[0]
    failed = find(mode, "A=1")
    assert failed.verdict == "parity failed" and failed.speedup is None
    assert failed.reason.startswith("loss curve: losses to step 1")
    assert failed.fidelity.loss_difference == pytest.approx(1e-3, rel=0.01)
    assert mode.chosen == "B=1"


def test_rounding_is_told_from_a_difference_by_the_reference_and_the_witnesses(tmp_path):
    machine = Machine({"A=1": 1.5}, errors={"A=1": 3e-7})
    mode = search(machine, tmp_path / "run", {"eager": [A]}).modes[0]
    assert mode.chosen == "A=1"
    assert mode.confirmations[0].fidelity.verdict == "equal within rounding"
    seeds = [r["witness"] for r in machine.requests if "witness" in r]
    references = [r for r in machine.requests if r.get("contender", {}).get("dtype") == "float64"]
    assert len(references) == 1 and len(seeds) <= 2  # once for the mode


def test_an_option_that_compiles_to_the_same_graph_is_not_timed(tmp_path):
    amp = option("enable_amp")
    machine = Machine({"A=1": 1.5}, same_operators=["enable_amp=true"])
    mode = search(machine, tmp_path / "run", {"graph": [amp, A]}).modes[0]
    assert find(mode, "enable_amp=true").verdict == "no effect"
    assert find(mode, "enable_amp=true").heats == 0


@pytest.mark.parametrize("call", ["prepare", "compile", "train", "weights", "measure"])
@pytest.mark.parametrize(
    "error, verdict",
    [
        (WorkerError("it died", "Illegal instruction"), "crashed"),
        (WorkerTimeout("no answer"), "hung"),
        (InputError("no such option"), "refused"),
    ],
)
def test_a_candidate_that_fails_is_a_result(tmp_path, call, error, verdict):
    machine = Machine({"A=1": 1.5}, fail_at={"B=1": (call, 0, error)})
    mode = search(machine, tmp_path / "run", {"eager": [A, B]}).modes[0]
    assert find(mode, "B=1").verdict == verdict and str(error) in find(mode, "B=1").reason
    assert ("Illegal instruction" in find(mode, "B=1").reason) == (verdict == "crashed")
    assert mode.chosen == "A=1"


def test_a_candidate_that_is_many_times_slower_costs_one_double_round(tmp_path):
    machine = Machine({"A=1": 1.5, "B=1": 0.1})
    mode = search(machine, tmp_path / "run", {"eager": [A, B]}).modes[0]
    assert find(mode, "B=1").verdict == "slower" and "times as long" in find(mode, "B=1").reason
    assert find(mode, "B=1").heats == 0


def test_stock_that_fails_ends_the_search_and_writes_no_profile(tmp_path, monkeypatch):
    machine = Machine()
    launch = machine.launch

    def broken(contender):
        worker = launch(contender)
        worker._fail_at = ("compile", 0, WorkerError("no"))
        return worker

    monkeypatch.setattr(machine, "launch", broken)
    with pytest.raises(WorkerError):
        search(machine, tmp_path / "run", {"eager": [A]})
    assert load_tuning(tmp_path / "run").status == "failed"
    assert not (tmp_path / "run" / "runtime.json").exists()
    assert all(worker.killed and worker.closed for worker in machine.workers)


@pytest.mark.parametrize("call, count", [("prepare", 0), ("train", 1), ("measure", 2)])
def test_an_interruption_leaves_no_process_and_no_profile(tmp_path, call, count):
    machine = Machine(fail_at={"A=1": (call, count, KeyboardInterrupt())})
    with pytest.raises(Interrupted, match="no profile was written"):
        search(machine, tmp_path / "run", {"eager": [A]})
    assert load_tuning(tmp_path / "run").status == "interrupted"
    assert not (tmp_path / "run" / "runtime.json").exists()
    assert "values" not in list_files(tmp_path / "run")
    assert all(worker.killed and worker.closed for worker in machine.workers)


def test_the_budget_is_kept_over_both_modes(tmp_path):
    many = [variable(f"V{n}=1") for n in range(15)]
    machine = Machine({"V0=1": 1.5}, noise=0.05)
    document = search(machine, tmp_path / "run", {"eager": many, "graph": many}, budget_s=100.0)
    assert machine.clock.now < 110
    assert [mode.chosen for mode in document.modes] == ["V0=1", "V0=1"]


def test_where_nothing_wins_the_time_for_combining_goes_to_those_who_waited(tmp_path):
    many = [variable(f"V{n}=1") for n in range(30)]
    machine = Machine({"V29=1": 1.5}, noise=0.005, spread=0.001)
    mode = search(machine, tmp_path / "run", {"eager": many}, budget_s=110.0).modes[0]
    assert len(mode.of_phase("alone")) == 30
    assert mode.chosen == "V29=1" and machine.clock.now < 121


def test_a_budget_too_short_for_a_heat_says_so(tmp_path):
    mode = search(Machine(), tmp_path / "run", {"eager": [A]}, budget_s=1.0).modes[0]
    assert find(mode, "A=1").verdict == "not tried"
    assert mode.chosen is None and mode.reason == "no setting looked faster than stock"


def test_nothing_faster_gives_a_profile_that_sets_nothing(tmp_path):
    document = search(Machine(), tmp_path / "run", {"eager": [A, B]})
    assert document.modes[0].chosen is None
    profile = load_runtime_profile(tmp_path / "run" / "runtime.json")
    assert profile.variables.eager == {} and profile.graph_options == {}


def test_places_follow_the_memory():
    assert count_places(100 * 2**30, 2**30) == 24
    assert count_places(10 * 2**30, 2**30) == 5
    assert count_places(2**20, 2**30) == 1
    assert count_places(None, 2**30) == 1
