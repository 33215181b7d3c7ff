from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from fakes import STEPS_PER_EPOCH, Clock, FakeWorker, create_writer

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.errors import InputError, Interrupted, WorkerError
from oneflow_bench.bench.measure.execution import keep_record
from oneflow_bench.bench.measure.training_log import NO_BEST
from oneflow_bench.bench.measure.training_phase import (
    EQUAL_STATE,
    EQUAL_STATES,
    INITIAL_WEIGHTS,
    STEP_WEIGHTS,
    Runner,
)
from oneflow_bench.bench.record.checkpoint import training_path
from oneflow_bench.bench.record.events import (
    BlockEvent,
    EndEvent,
    EvalEvent,
    ParametersEvent,
    ScoreEvent,
    SetupEvent,
    StepParametersEvent,
)
from oneflow_bench.bench.record.run import load_record

import_module("oneflow_bench.bench.distributed")  # registers the strategies


@pytest.fixture
def turns():
    return []


class RecordedRunner(Runner):
    """The training alone, in its record."""

    def run(self):
        with keep_record(self._writer):
            super().run()


def run(folder: Path, turns, workers=None, observe=None, keep_equal_states=False, **options):
    clock = Clock()
    workers = workers or {}
    started = {}

    def launch(contender):
        started[contender.name] = FakeWorker(
            contender.name, clock, turns, **workers.get(contender.name, {})
        )
        return started[contender.name]

    arguments = {"observe": observe} if observe else {}
    arguments["keep_equal_states"] = keep_equal_states
    runner = RecordedRunner(create_writer(folder, **options), launch, clock=clock, **arguments)
    return runner, started


def test_both_contenders_do_every_step_once_in_blocks_of_equal_length(tmp_path, turns):
    runner, _ = run(tmp_path / "run", turns)
    runner.run()
    record = load_record(tmp_path / "run")
    lengths = {}
    for name in ("eager", "graph"):
        blocks = record.of_kind(BlockEvent, name)
        steps = [step for b in blocks for step in range(b.first_step, b.first_step + b.steps)]
        assert steps == list(range(2 * STEPS_PER_EPOCH))
        assert [b.kind for b in blocks[:2]] == ["first", "warmup"]
        assert {b.kind for b in blocks[2:]} == {"steady"}
        lengths[name] = [(b.block, b.steps) for b in blocks]
    assert lengths["eager"] == lengths["graph"]
    assert record.document.status == "complete"
    assert len(record.of_kind(SetupEvent)) == len(record.of_kind(EndEvent)) == 2
    assert len(record.of_kind(EvalEvent)) == 4


def test_turns_alternate_and_neither_side_is_always_first(tmp_path, turns):
    runner, _ = run(tmp_path / "run", turns, block_steps=1)
    runner.run()
    order = [name for name, call in turns if call == "train"]
    pairs = [tuple(order[i : i + 2]) for i in range(0, len(order), 2)]
    assert all(set(pair) == {"eager", "graph"} for pair in pairs)
    first = [pair[0] for pair in pairs]
    assert 0.3 < first.count("eager") / len(first) < 0.7


def test_parameter_difference_is_recorded_each_epoch_and_weights_are_not_kept(tmp_path, turns):
    runner, _ = run(tmp_path / "run", turns, {"graph": {"weight": 1.5}})
    runner.run()
    events = load_record(tmp_path / "run").of_kind(ParametersEvent)
    assert [e.max_abs for e in events] == [0.5, 0.5]
    assert events[0].largest_in == "w"
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    "graph, kept",
    [
        ({}, True),
        ({"parts_at": STEPS_PER_EPOCH}, True),  # that of the first epoch
        ({"parts_at": STEPS_PER_EPOCH - 1}, False),
        ({"weight": 1.5}, False),
        ({"momentum": 0.5}, False),
    ],
)
def test_the_state_is_kept_until_losses_weights_or_the_optimizer_part(tmp_path, turns, graph, kept):
    runner, _ = run(tmp_path / "run", turns, {"graph": graph}, keep_equal_states=True)
    Runner.run(runner)
    state = tmp_path / "run" / EQUAL_STATES / "graph" / EQUAL_STATE
    assert state.is_file() == training_path(state).is_file() == kept
    with keep_record(runner._writer):
        pass
    assert not state.parent.parent.exists()


@pytest.mark.parametrize("change", [{"start_epoch": 1}, {"ranks": 2}])
def test_no_state_is_kept_of_what_no_judge_can_start_from(tmp_path, turns, change):
    writer = create_writer(tmp_path / "run")
    ranks = {"ranks": change.pop("ranks", 1)}
    contenders = [one.model_copy(update=ranks) for one in writer.document.contenders]
    writer.document = writer.document.model_copy(update={**change, "contenders": contenders})
    launch = lambda contender: FakeWorker(contender.name, Clock(), turns)  # noqa: E731
    with keep_record(writer):
        Runner(writer, launch, keep_equal_states=True).run()
        assert ("graph", "save") in turns and not (tmp_path / "run" / EQUAL_STATES).exists()


def test_parameters_are_compared_after_every_step_where_asked_for(tmp_path, turns):
    runner, _ = run(
        tmp_path / "run", turns, {"graph": {"weight": 1.5}}, parameter_difference="every-step"
    )
    runner.run()
    record = load_record(tmp_path / "run")
    found = record.of_kind(StepParametersEvent)
    assert [(e.step, e.max_abs) for e in found] == [(s, 0.5) for s in range(2 * STEPS_PER_EPOCH)]
    kinds = [block.kind for block in record.of_kind(BlockEvent, "graph")]
    assert kinds == ["first", *["warmup"] * 4, *["steady"] * (2 * STEPS_PER_EPOCH - 5)]
    assert len(record.of_kind(ParametersEvent)) == 2
    assert not (tmp_path / "run" / STEP_WEIGHTS).exists()


@pytest.mark.parametrize(
    "rule, kept",
    [
        ("best,last", ["best", "epoch-002-accuracy-0.9000", "epoch-004-accuracy-0.8000", "last"]),
        ("last", ["epoch-004-accuracy-0.8000", "last"]),
        ("every:3", ["epoch-003-accuracy-0.9000", "epoch-004-accuracy-0.8000"]),
        ("last,every:2", ["epoch-002-accuracy-0.9000", "epoch-004-accuracy-0.8000", "last"]),
        ("none", None),
    ],
)
def test_the_checkpoints_that_were_asked_for_are_kept(tmp_path, turns, rule, kept):
    workers = {"eager": {"correct": [5, 9, 9, 8]}}
    runner, _ = run(
        tmp_path / "run", turns, workers, names=("eager",), epochs=4, keep_checkpoints=rule
    )
    runner.run()
    folder = tmp_path / "run" / "checkpoints" / "eager"
    if kept is None:
        assert not folder.exists()
        return
    suffixes = (".safetensors", ".training.safetensors")
    names = {f"{name}{suffix}" for name in kept for suffix in suffixes}
    assert {file.name for file in folder.iterdir()} == names
    if "best" in kept:
        best, named = folder / "best.safetensors", folder / f"{kept[1]}.safetensors"
        assert best.stat().st_ino == named.stat().st_ino  # one file on the disk


def test_without_a_validation_loss_or_accuracy_no_checkpoint_is_the_best(tmp_path, turns):
    workers = {"eager": {"correct": [None] * 3}}
    options = {"names": ("eager",), "epochs": 3, "keep_checkpoints": "best,last"}
    run(tmp_path / "run", turns, workers, **options)[0].run()
    names = {file.name for file in (tmp_path / "run" / "checkpoints" / "eager").glob("*")}
    assert {name for name in names if "training" not in name} == {
        "epoch-003.safetensors", "last.safetensors",
    }  # fmt: skip
    log = (tmp_path / "run" / "train.log").read_text()
    assert log.count(NO_BEST) == 3 and "lowest validation loss" not in log


def test_images_of_the_training_and_a_teacher_are_scored_after_it(tmp_path, turns):
    runner, _ = run(tmp_path / "run", turns, names=("eager",))
    runner._workload = runner._workload.model_copy(update={"teacher": "lenet"})
    runner.run()
    scores = load_record(tmp_path / "run").of_kind(ScoreEvent)
    assert [(e.subject, e.accuracy) for e in scores] == [("train", 0.8), ("teacher", 0.8)]
    assert [call for _, call in turns[-3:]] == ["eval", "eval", "end"]


def test_a_failing_worker_ends_the_run_and_what_was_measured_is_kept(tmp_path, turns):
    error = WorkerError("the worker 'graph' died", "last words")
    runner, started = run(tmp_path / "run", turns, {"graph": {"fail_at": ("train", 3, error)}})
    with pytest.raises(WorkerError, match="died"):
        runner.run()
    record = load_record(tmp_path / "run")
    assert record.document.status == "failed"
    assert "died" in record.document.error
    assert len(record.of_kind(BlockEvent, "graph")) == 3
    assert all(worker.killed and worker.closed for worker in started.values())


def test_ctrl_c_kills_all_workers_and_keeps_the_record(tmp_path, turns):
    interrupt = {"fail_at": ("train", 2, KeyboardInterrupt())}
    runner, started = run(tmp_path / "run", turns, {"eager": interrupt})
    with pytest.raises(Interrupted, match="what was measured is in"):
        runner.run()
    assert load_record(tmp_path / "run").document.status == "interrupted"
    assert all(worker.killed for worker in started.values())


def test_progress_reaches_the_total(tmp_path, turns):
    seen = []
    runner, _ = run(tmp_path / "run", turns, observe=lambda *report: seen.append(report))
    runner.run()
    done = [report[1] for report in seen]
    assert done == sorted(done)
    assert seen[-1][1] == seen[-1][2] == 2 * 2 * STEPS_PER_EPOCH


def test_contenders_under_several_interpreters_start_from_the_baselines_weights(tmp_path, turns):
    runner, _ = run(tmp_path / "run", turns, names=("eager", "old", "graph"))
    document = runner._writer.document
    given = {}
    document.contenders[1] = document.contenders[1].model_copy(update={"python": "/old/python"})
    launch = runner._workers._launch

    def note(contender):
        worker = launch(contender)
        ask = worker.ask

        def noting(call, timeout_s, **request):
            if call == "setup":
                given[contender.name] = request["initial_weights"]
                if request["initial_weights"]:
                    assert Path(request["initial_weights"]).exists()
            return ask(call, timeout_s, **request)

        worker.ask = noting
        return worker

    runner._workers._launch = note
    runner.run()
    shared = str((tmp_path / "run" / INITIAL_WEIGHTS).resolve())
    assert given == {"eager": None, "old": shared, "graph": shared}
    assert turns[:2] == [("eager", "setup"), ("eager", "save")]
    setups = load_record(tmp_path / "run").of_kind(SetupEvent)
    assert {s.contender: s.initial_weights for s in setups} == {
        "eager": None, "old": "eager", "graph": "eager",
    }  # fmt: skip
    assert not (tmp_path / "run" / INITIAL_WEIGHTS).exists()


def test_one_interpreter_draws_its_own_weights(tmp_path, turns):
    runner, _ = run(tmp_path / "run", turns)
    runner.run()
    setups = load_record(tmp_path / "run").of_kind(SetupEvent)
    assert [s.initial_weights for s in setups] == [None, None]


NOT_HERE = InputError("not available: tp on 2 ranks: lenet has no wide linear layers")


def run_strategies(folder, turns, names, error=NOT_HERE):
    """eager and strategies in two ranks, of which graph-tp fails at its start."""
    runner, started = run(
        folder, turns, {"graph-tp": {"fail_at": ("setup", 0, error)}}, names=("eager", *names)
    )
    words = {"ddp": ("eager", "ddp"), "graph-tp": ("graph", "tp")}
    contenders = [Contender(name="eager", mode="eager")]
    for name in names:
        mode, strategy = words[name]
        contenders.append(Contender(name=name, mode=mode, ranks=2, strategy=strategy))
    runner._writer.document.contenders = contenders
    return runner, started


def test_a_strategy_that_the_worker_has_not_is_left_out_and_the_others_run(tmp_path, turns):
    runner, started = run_strategies(tmp_path / "run", turns, ("ddp", "graph-tp"))
    runner.run()
    record = load_record(tmp_path / "run")
    assert record.document.status == "complete"
    assert record.contender_names() == ["eager", "ddp"]
    assert record.document.unavailable == {"graph-tp": str(NOT_HERE)}
    assert started["graph-tp"].killed and started["graph-tp"].closed
    assert {block.contender for block in record.of_kind(BlockEvent)} == {"eager", "ddp"}


@pytest.mark.parametrize(
    "names, error",
    [
        (("graph-tp",), NOT_HERE),  # nothing would be left
        (("ddp", "graph-tp"), InputError("the checkpoint does not fit")),
    ],
)
def test_what_is_wrong_with_the_run_itself_ends_it(tmp_path, turns, names, error):
    runner, _ = run_strategies(tmp_path / "run", turns, names, error)
    with pytest.raises(InputError, match=str(error)[:20]):
        runner.run()
    assert load_record(tmp_path / "run").document.status == "failed"
