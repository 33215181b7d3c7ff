"""The parity phase, with a judge that notes which steps of which contenders it is asked for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from records import create_events, create_record

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.measure import parity_phase
from oneflow_bench.bench.measure.parity_phase import MOST_JUDGED, count_needed, judge_training
from oneflow_bench.bench.measure.training_phase import EQUAL_STATE, EQUAL_STATES
from oneflow_bench.bench.parity.causes import DepartedError
from oneflow_bench.bench.parity.result import Origin, load_check
from oneflow_bench.bench.parity.run import create_check_launcher
from oneflow_bench.bench.parity.tensors import ContenderPair
from oneflow_bench.bench.record import checkpoint
from oneflow_bench.bench.record.side import Side
from oneflow_bench.bench.report.parity import find_check


def save_state(folder, step, name="graph"):
    """The state after `step` updates, in which a contender had the baseline's bits."""
    path = folder / EQUAL_STATES / name / EQUAL_STATE
    checkpoint.save_weights({"w": np.ones(2)}, path, {})
    state = checkpoint.TrainingState(
        optimizer={}, step=step, epoch=1, workload={}, steps_per_epoch=step
    )
    checkpoint.save_training_state(state, path)
    return path


def judge(folder, monkeypatch, *sides, error=None, max_abs=0.0, departs=False, **document):
    """Run the phase on a made-up training; the record and the pairs that were judged."""
    record, pairs = create_record(*sides, max_abs=max_abs), []
    record.document = record.document.model_copy(update=document)
    record.folder = folder

    def check_pair(pair, folder, timeout_s, observe, launch):
        pairs.append(pair)
        observe("lenet, graph: train", 1, 2)
        if departs and pair.start is not None:
            raise DepartedError("graph mode did not repeat its losses")
        if error is not None:
            raise error
        found = parity_phase.describe_failure(pair, ValueError("made up"))
        origin = Origin(level="loss", name="loss", kind="loss", shape=[], script="reproduce.py")
        return found.model_copy(update={"error": None, "origin": origin})

    shown = []
    monkeypatch.setattr(parity_phase, "load_record", lambda folder: record)
    monkeypatch.setattr(parity_phase, "check_pair", check_pair)
    writer = SimpleNamespace(folder=folder)
    judge_training(writer, None, create_check_launcher(folder), lambda *at: shown.append(at))
    assert shown == [("parity of lenet, graph: train", 1, 2)] * len(pairs)
    return record, pairs


@pytest.mark.parametrize(
    "shift_from, blocks, steps",
    [
        (1000, 24, 6),  # bits are equal: few steps
        (2, 24, 6),
        (7, 24, 10),  # the eighth step differs; two more
        (230, 48, MOST_JUDGED),
        (0, 1, 5),  # all that were trained
    ],
)
def test_a_training_is_judged_to_just_past_its_first_difference(
    tmp_path, monkeypatch, shift_from, blocks, steps
):
    graph = create_events("graph", loss_shift=1e-6, shift_from=shift_from, blocks=blocks, epochs=1)
    eager = create_events("eager", blocks=blocks, epochs=1)
    _, (pair,) = judge(tmp_path, monkeypatch, eager, graph)
    assert (pair.baseline.name, pair.contender.name, pair.steps) == ("eager", "graph", steps)


def test_weights_that_differ_after_an_epoch_count_though_all_losses_are_equal(
    tmp_path, monkeypatch
):
    sides = [create_events(name, blocks=4, epochs=2) for name in ("eager", "graph")]
    record, pairs = judge(tmp_path, monkeypatch, *sides, max_abs=1e-9, steps_per_epoch=20)
    assert pairs[0].steps == 22


def create_late_sides():
    graph = create_events("graph", loss_shift=1e-6, shift_from=30, blocks=24, epochs=1)
    return create_events("eager", blocks=24, epochs=1), graph


def test_a_training_that_parts_late_is_judged_from_the_last_equal_state(tmp_path, monkeypatch):
    path = save_state(tmp_path, 25)
    record, (pair,) = judge(tmp_path, monkeypatch, *create_late_sides())
    losses = Side(record, "graph").list_losses()
    assert pair.steps == 8  # the 31st step differs; two more
    assert pair.start.step == 25 and pair.start.losses["graph"] == losses[25:]
    assert pair.create_workload(pair.contender).resume == str(path) and not pair.workload.resume


def test_a_late_start_that_does_not_repeat_the_training_is_given_up(tmp_path, monkeypatch):
    save_state(tmp_path, 25)
    record, pairs = judge(tmp_path, monkeypatch, *create_late_sides(), departs=True)
    assert [(pair.steps, pair.start is None) for pair in pairs] == [(8, False), (33, True)]
    reason = find_check(record, "eager", "graph").reason
    assert reason.endswith("did not repeat its losses, so the run was judged from its first step")


def test_a_state_is_not_used_where_the_training_parts_early(tmp_path, monkeypatch):
    save_state(tmp_path, 5)
    early = create_events("graph", loss_shift=1e-6, shift_from=9, blocks=24, epochs=1)
    eager = create_events("eager", blocks=24, epochs=1)
    assert judge(tmp_path, monkeypatch, eager, early)[1][0].start is None


def test_every_contender_is_judged_and_found_by_its_name(tmp_path, monkeypatch):
    sides = [create_events(name) for name in ("eager", "graph", "fused")]
    record, pairs = judge(tmp_path, monkeypatch, *sides)
    assert [pair.contender.name for pair in pairs] == ["graph", "fused"]
    assert find_check(record, "eager", "fused").origin.script == "parity/fused/reproduce.py"
    assert find_check(record, "graph", "fused") is None
    assert len(load_check(tmp_path).checks) == 2


def test_a_failed_worker_is_a_result_of_its_contender(tmp_path, monkeypatch):
    sides = create_events("eager"), create_events("graph")
    record, _ = judge(tmp_path, monkeypatch, *sides, error=WorkerError("it died", "last words"))
    assert find_check(record, "eager", "graph").error == "it died\nlast words"


def test_contenders_that_no_judge_can_run_are_left_out(tmp_path, monkeypatch):
    sides = create_events("eager"), create_events("graph")
    ranks = [Contender(name="eager", mode="eager"), Contender(name="graph", mode="graph", ranks=2)]
    assert judge(tmp_path, monkeypatch, *sides, contenders=ranks)[1] == []
    assert not (tmp_path / "check.json").exists()


@pytest.mark.parametrize(
    "theirs, needed",
    [([1, 2, 3], None), ([1, 2.1, 3], 2), ([1.1, 2, None], 3), ([1.1, 2, 4], 3), ([], None)],
)
def test_the_steps_needed_reach_the_first_difference_and_a_loss_of_one_side(theirs, needed):
    assert count_needed([1, 2, 3], theirs) == needed


def test_a_pair_is_eager_and_graph_unless_said():
    pair = ContenderPair(workload=None, steps_per_epoch=2, steps=6, dataset=None)
    assert (pair.baseline.mode, pair.contender.mode) == ("eager", "graph")
