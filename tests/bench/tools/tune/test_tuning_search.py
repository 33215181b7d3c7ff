from __future__ import annotations

import json

import pytest
import simulated_searches
from tuning_machine import Machine, create_request, list_files, option, variable

from oneflow_bench.bench.errors import InputError, Interrupted, WorkerError, WorkerTimeout
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.tools.tune import phase
from oneflow_bench.bench.tools.tune import search as search_module
from oneflow_bench.bench.tools.tune.candidates import Setting
from oneflow_bench.bench.tools.tune.report import load_tuning
from oneflow_bench.bench.tools.tune.search import run_search
from oneflow_bench.bench.worker.runtime_profile import load_runtime_profile

A, B, C, D = (variable(f"{name}=1") for name in "ABCD")
KERNEL, SLOW_KERNEL = (variable(f"OPENBLAS_CORETYPE={name}") for name in ("Haswell", "Zen"))
ONEDNN = variable("ONEFLOW_ENABLE_ONEDNN_OPTS=0")


def search(machine, folder, settings, budget_s=300.0, **more):
    folder.mkdir()
    request = create_request(settings, budget_s, **more)
    profile = folder / "runtime.json"
    return run_search(
        request,
        folder,
        profile,
        machine.launch,
        clock=machine.clock,
        judge=machine.judge,
    )


def search_eager(machine, folder, settings, budget_s=300.0):
    return search(machine, folder, {"eager": settings}, budget_s).modes[0]


def find(mode, name, phase=None):
    """The last result of a setting, or that of one phase."""
    return [c for c in mode.candidates if c.name == name and phase in (None, c.phase)][-1]


def test_the_planted_kernel_and_onednn_gains_are_found_joined_and_confirmed(tmp_path):
    others = [variable(f"V{number}=1") for number in range(12)]
    gains = {KERNEL.name: 1.25, SLOW_KERNEL.name: 1.15, ONEDNN.name: 1.12, "V0=1": 0.9}
    settings = [KERNEL, ONEDNN, *others[:6], SLOW_KERNEL, *others[6:]]
    mode = search_eager(Machine(gains), tmp_path / "run", settings, 150.0)
    assert mode.chosen == f"{KERNEL.name} {ONEDNN.name}"
    assert {c.verdict for c in mode.of_phase("alone")} == {"screened"}
    assert find(mode, KERNEL.name, "alone").speedup.ratio == pytest.approx(1.25, rel=0.03)
    taken = find(mode, KERNEL.name, "round 1")
    assert taken.verdict == "faster" and taken.base == "stock" and taken.replicates >= 3
    joined = find(mode, ONEDNN.name, "round 2")
    assert joined.verdict == "faster" and joined.base == KERNEL.name
    assert joined.speedup.low < 1.12 < joined.speedup.high
    assert "was taken in its place" in mode.dropped[SLOW_KERNEL.name]
    (confirmed,) = mode.of_phase("confirmation")
    assert confirmed.verdict == "faster" and confirmed.speedup.low > 1.35
    assert confirmed.fidelity.verdict == "identical"


def test_all_settings_share_a_round_if_it_takes_them(tmp_path):
    machine = Machine({"A=1": 1.5, "B=1": 1.2, "D=1": 0.7})
    mode = search_eager(machine, tmp_path / "run", [A, B, C, D])
    verdicts = {name: find(mode, name, "round 1").verdict for name in ("A=1", "B=1", "C=1", "D=1")}
    assert verdicts == {"A=1": "faster", "B=1": "faster", "C=1": "equivalent", "D=1": "slower"}
    assert [c.name for c in mode.of_phase("round 2")] == ["B=1"]  # the others have left
    assert mode.chosen == "A=1 B=1" and mode.unfinished == []


def test_the_profile_holds_the_confirmed_settings_of_each_mode(tmp_path):
    fuse = option("allow_fuse_add_to_output")
    machine = Machine({"A=1": 1.5, "allow_fuse_add_to_output=true": 1.2})
    search(machine, tmp_path / "run", {"eager": [A, B], "graph": [B, fuse]})
    profile = load_runtime_profile(tmp_path / "run" / "runtime.json")
    assert profile.variables.eager == {"A": "1"} and profile.variables.graph == {}
    assert profile.graph_options == {"allow_fuse_add_to_output": True}


def test_everything_is_stored_and_nothing_is_left_over(tmp_path):
    machine = Machine({"A=1": 1.5})
    document = search(machine, tmp_path / "run", {"eager": [A, B]})
    assert load_tuning(tmp_path / "run") == document
    files = list_files(tmp_path / "run")
    assert files == ["eager-1-round-1", "eager-2-confirmation", "runtime.json", "tune.json"]
    record = load_record(tmp_path / "run" / "eager-1-round-1")
    assert record.document.status == "complete"
    assert record.contender_names() == ["base", "setting-0", "setting-1"]
    assert document.modes[0].of_phase("confirmation")[0].folder == "eager-2-confirmation"
    assert document.modes[0].phases == 2
    assert all(worker.closed for worker in machine.workers)


def test_every_result_is_stored_as_it_ends(tmp_path):
    seen = []
    (tmp_path / "run").mkdir()

    def show(mode, candidate):
        stored = json.loads((tmp_path / "run" / "tune.json").read_text())
        seen.append(stored["modes"][0]["candidates"][-1]["name"] == candidate.name)

    machine = Machine({"A=1": 1.5})
    request, profile = create_request({"eager": [A, B]}), tmp_path / "p.json"
    launchers = machine.launch
    run_search(
        request,
        tmp_path / "run",
        profile,
        launchers,
        show=show,
        clock=machine.clock,
        judge=machine.judge,
    )
    assert len(seen) >= 2 and all(seen)


def test_a_setting_that_adds_nothing_to_the_others_is_not_taken(tmp_path):
    both = {frozenset(["A=1", "B=1"]): 1.5}
    machine = Machine({"A=1": 1.5, "B=1": 1.2}, joint=both)
    mode = search_eager(machine, tmp_path / "run", [A, B])
    assert mode.chosen == "A=1"
    assert find(mode, "B=1", "round 2").verdict == "equivalent"


def test_a_setting_that_harms_the_others_is_not_taken(tmp_path):
    joint = {frozenset(["A=1", "B=1", "C=1"]): 1.2, frozenset(["A=1", "C=1"]): 1.1}
    machine = Machine({"A=1": 1.5, "B=1": 1.3, "C=1": 1.2}, joint=joint)
    mode = search_eager(machine, tmp_path / "run", [A, B, C])
    assert mode.chosen == "A=1 B=1"
    assert find(mode, "C=1").verdict == "slower" and find(mode, "C=1").base == "A=1"


@pytest.mark.parametrize("others", [0, 12])
def test_of_two_values_of_one_variable_the_faster_is_taken(tmp_path, others):
    machine = Machine({"A=1": 1.3, "A=2": 1.5})
    settings = [A, variable("A=2"), *(variable(f"V{number}=1") for number in range(others))]
    mode = search_eager(machine, tmp_path / "run", settings)
    assert mode.chosen == "A=2" and mode.dropped["A=1"] == "A=2 was taken in its place"


def test_the_feed_is_searched_like_any_setting(tmp_path):
    feed = Setting(name="--feed graph", family="feed", why="w", feed="graph", modes=("eager",))
    machine = Machine({})
    mode = search_eager(machine, tmp_path / "run", [feed])
    asked = [request["workload"] for request in machine.requests]
    assert {workload["feed"] for workload in asked} == {"memory", "graph"}
    fed = [w["feed"] for w in asked if w["feed"] == "graph"]
    assert len(fed) >= 4  # the check and the replicates
    assert find(mode, "--feed graph").verdict in ("equivalent", "inconclusive")


def test_a_setting_that_computes_something_else_is_faster_and_not_taken(tmp_path):
    machine = Machine({"A=1": 2.0, "B=1": 1.2}, errors={"A=1": 1e-3})
    mode = search_eager(machine, tmp_path / "run", [A, B])
    failed = find(mode, "A=1")
    assert (failed.verdict, failed.phase) == ("parity failed", "round 1")
    assert failed.reason == "different; as planted"
    assert failed.fidelity.loss_difference == pytest.approx(1e-3, rel=0.01)
    assert mode.chosen == "B=1" and machine.judged == ["A=1", "B=1"]


def test_a_setting_that_is_grossly_wrong_is_not_timed(tmp_path):
    machine = Machine({"A=1": 2.0}, errors={"A=1": 0.5})
    mode = search_eager(machine, tmp_path / "run", [A])
    assert find(mode, "A=1").verdict == "parity failed" and find(mode, "A=1").speedup is None
    assert mode.chosen is None and machine.judged == []


def test_a_rounding_is_taken_and_judged_once(tmp_path):
    machine = Machine({"A=1": 1.5}, errors={"A=1": 3e-7})
    mode = search_eager(machine, tmp_path / "run", [A])
    assert mode.chosen == "A=1" and machine.judged == ["A=1"]
    assert mode.of_phase("confirmation")[0].fidelity.verdict == "equal within rounding"


@pytest.mark.parametrize("error, chosen", [(1e-3, "A=1"), (3e-7, "A=1 B=1")])
def test_a_combination_is_judged_before_it_is_taken(tmp_path, error, chosen):
    """Each alone computes what stock computes; together they may not."""
    machine = Machine({"A=1": 1.5, "B=1": 1.2})
    machine.joint_errors = {frozenset(["A=1", "B=1"]): error}
    mode = search_eager(machine, tmp_path / "run", [A, B])
    assert mode.chosen == chosen
    verdict = "parity failed" if chosen == "A=1" else "faster"
    assert find(mode, "B=1", "round 2").verdict == verdict


def test_stock_that_does_not_repeat_itself_is_said(tmp_path):
    machine = Machine({"A=1": 1.5})
    launch, started = machine.launch, []

    def launch_another(contender):
        worker = launch(contender)
        started.append(worker)
        if len(started) == 2 and contender.dtype == "float32":  # stock, the second time
            worker._find_error = lambda: 1e-7
        return worker

    machine.launch = launch_another
    document = search(machine, tmp_path / "run", {"eager": [A]})
    assert "stock in eager mode trained other bits" in document.warnings[0]
    assert document.modes[0].chosen == "A=1"


def test_an_option_that_compiles_to_the_same_graph_is_not_timed(tmp_path):
    amp = option("enable_amp")
    machine = Machine({"A=1": 1.5}, same_operators=["enable_amp=true"])
    mode = search(machine, tmp_path / "run", {"graph": [amp, A]}).modes[0]
    assert find(mode, "enable_amp=true").verdict == "no effect"
    assert find(mode, "enable_amp=true").replicates == 0


@pytest.mark.parametrize("call", ["prepare", "compile", "train", "save", "end", "probe", "measure"])
@pytest.mark.parametrize(
    "error, verdict",
    [
        (WorkerError("it died", "Illegal instruction"), "crashed"),
        (WorkerTimeout("no answer"), "hung"),
        (InputError("no such option"), "refused"),
    ],
)
def test_a_setting_whose_worker_fails_is_a_result(tmp_path, call, error, verdict):
    """Also in the middle of a speed phase, which is repeated for each setting alone."""
    machine = Machine({"A=1": 1.5}, fail_at={"B=1": (call, 0, error)})
    mode = search_eager(machine, tmp_path / "run", [A, B])
    assert find(mode, "B=1").verdict == verdict and str(error) in find(mode, "B=1").reason
    assert ("Illegal instruction" in find(mode, "B=1").reason) == (verdict == "crashed")
    assert mode.chosen == "A=1"
    assert all(worker.closed for worker in machine.workers)


def test_a_setting_that_is_many_times_slower_is_not_timed(tmp_path):
    mode = search_eager(Machine({"A=1": 1.5, "B=1": 0.1}), tmp_path / "run", [A, B])
    assert find(mode, "B=1").verdict == "slower" and "times as long" in find(mode, "B=1").reason
    assert find(mode, "B=1").replicates == 0


def break_base(machine, count):
    """The base of speed phases dies in its measure turn number `count`."""
    launch = machine.launch

    def dying(contender):
        worker = launch(contender)
        if "baseline" in contender.name:
            worker._fail_at = ("measure", count, WorkerError("it died"))
        return worker

    return dying


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


@pytest.mark.parametrize("title, verdict", [("round-1", "crashed"), ("confirmation", "faster")])
def test_a_base_that_dies_in_a_speed_phase_confirms_nothing(tmp_path, title, verdict):
    machine = Machine({"A=1": 1.5})
    measure = search_module.SpeedPhases.measure

    def measure_or_break(self, name, *arguments):
        if name == title:
            self.launch = break_base(machine, 3)
        return measure(self, name, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_module.SpeedPhases, "measure", measure_or_break)
        mode = search_eager(machine, tmp_path / "run", [A])
    assert mode.chosen is None and find(mode, "A=1", "round 1").verdict == verdict
    assert [c.verdict for c in mode.of_phase("confirmation")] in ([], ["crashed"])
    folder = next((tmp_path / "run").glob(f"eager-*-{title}"))
    assert load_record(folder).document.status == "failed"


def test_the_confirmation_in_fresh_processes_can_overturn_the_rounds(tmp_path):
    """A gain that the processes of the rounds had, and no others, is not written."""
    machine = Machine({"A=1": 1.3})
    measure = search_module.SpeedPhases.measure

    def measure_without(self, title, *arguments):
        if title == "confirmation":
            machine.speedups = {}
        return measure(self, title, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_module.SpeedPhases, "measure", measure_without)
        mode = search_eager(machine, tmp_path / "run", [A, B])
    assert find(mode, "A=1", "round 1").verdict == "faster"
    assert mode.chosen is None and mode.settings == []
    assert mode.of_phase("confirmation")[0].verdict in ("equivalent", "inconclusive")
    assert mode.reason.startswith("the selected settings were not confirmed faster")
    profile = load_runtime_profile(tmp_path / "run" / "runtime.json")
    assert profile.variables.eager == {}


@pytest.mark.parametrize("call, count", [("prepare", 0), ("train", 0), ("measure", 2)])
def test_an_interruption_keeps_the_results_and_leaves_no_process_and_no_profile(
    tmp_path, call, count
):
    machine = Machine(errors={"B=1": 0.5}, fail_at={"A=1": (call, count, KeyboardInterrupt())})
    many = [B, C, D, variable("E=1"), A]
    with pytest.raises(Interrupted, match="no profile was written"):
        search(machine, tmp_path / "run", {"eager": many})
    document = load_tuning(tmp_path / "run")
    assert document.status == "interrupted"
    assert find(document.modes[0], "B=1").verdict == "parity failed"
    assert not (tmp_path / "run" / "runtime.json").exists()
    assert "values" not in list_files(tmp_path / "run")
    assert all(worker.killed and worker.closed for worker in machine.workers)


def test_the_budget_is_kept_over_both_modes(tmp_path):
    many = [variable(f"V{n}=1") for n in range(15)]
    machine = Machine({"V0=1": 1.5}, noise=0.05)
    document = search(machine, tmp_path / "run", {"eager": many, "graph": many}, budget_s=160.0)
    assert machine.clock.now < 175
    assert [mode.chosen for mode in document.modes] == ["V0=1", "V0=1"]


def test_settings_without_time_are_not_tried_and_named(tmp_path):
    many = [variable(f"V{n}=1") for n in range(60)]
    machine = Machine({"V3=1": 1.5})
    mode = search_eager(machine, tmp_path / "run", many, 100.0)
    verdicts = [find(mode, setting.name, "alone").verdict for setting in many]
    tried = verdicts.index("not tried")
    assert 4 < tried < 60 and set(verdicts[tried:]) == {"not tried"}
    assert mode.chosen == "V3=1" and machine.clock.now < 110
    assert "V1=1" in mode.unfinished  # screened, and not timed beside V3=1


def test_the_time_that_a_round_does_not_need_goes_to_the_next_settings(tmp_path):
    many = [variable(f"V{n}=1") for n in range(20)]
    machine = Machine({}, noise=0.002, spread=0.0005)
    mode = search_eager(machine, tmp_path / "run", many, 400.0)
    assert {find(mode, setting.name).verdict for setting in many} == {"equivalent"}
    assert mode.unfinished == [] and mode.reason == "no setting was faster than stock"


def test_if_no_round_has_time_the_best_of_the_screening_is_confirmed(tmp_path, monkeypatch):
    monkeypatch.setattr(phase.SpeedPhases, "count_places", lambda self, left_s, process_bytes: 0)
    many = [variable(f"V{n}=1") for n in range(10)]
    mode = search_eager(Machine({"V3=1": 1.5}), tmp_path / "run", many)
    assert {c.phase for c in mode.candidates} == {"alone", "confirmation"}
    assert mode.chosen == "V3=1"
    assert "V0=1" in mode.unfinished and "V3=1" not in mode.unfinished


def test_a_short_search_gives_its_only_round_the_time(tmp_path):
    """Checks overestimate the cost of a process; a search must not end with its time unused."""
    machine = Machine({"A=1": 1.5})
    mode = search_eager(machine, tmp_path / "run", [A, B], 45.0)
    assert mode.chosen == "A=1" and machine.clock.now < 50


def test_a_budget_too_short_for_anything_says_so(tmp_path):
    mode = search_eager(Machine(), tmp_path / "run", [A], 1.0)
    assert find(mode, "A=1").verdict == "not tried"
    assert mode.chosen is None and mode.reason == "no setting was faster than stock"


def test_nothing_faster_gives_a_profile_that_sets_nothing(tmp_path):
    document = search(Machine(), tmp_path / "run", {"eager": [A, B]})
    assert document.modes[0].chosen is None
    profile = load_runtime_profile(tmp_path / "run" / "runtime.json")
    assert profile.variables.eager == {} and profile.graph_options == {}


def test_rounds_follow_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(phase, "read_available_bytes", lambda: 8 * 2**20)
    many = [variable(f"V{n}=1") for n in range(12)]
    mode = search_eager(Machine({"V9=1": 1.4}), tmp_path / "run", many)
    assert mode.chosen == "V9=1"
    names = [n for n in list_files(tmp_path / "run") if "round" in n]
    sizes = [len(load_record(tmp_path / "run" / n).contender_names()) - 1 for n in names]
    assert max(sizes) == 3  # of 5.6 processes, two are the base's and the control's


def test_equal_settings_do_not_get_into_the_profile():
    """In a simulation with all that `bench tune` decides; results/simulations has more of it."""
    equal = dict.fromkeys(simulated_searches.EQUAL, 1.0)
    rates = simulated_searches.measure_rates(10, equal, budget_s=180.0)
    assert rates["wrong"] == 0 and rates["selected"] <= 0.1


def test_a_gain_is_found_among_equal_settings():
    speedups = {**dict.fromkeys(simulated_searches.EQUAL, 1.0), "FAST": 1.08}
    rates = simulated_searches.measure_rates(5, speedups, spread=0.005)
    assert rates == {"selected": 0, "wrong": 0, "found": 1, "slower": 0}
