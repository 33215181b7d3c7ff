from __future__ import annotations

import math

import pytest
from fakes import Clock, create_document

from oneflow_bench.bench.measure.training_log import MOST_SILENT_S, TrainingLog
from oneflow_bench.bench.record.events import BlockEvent, EvalEvent


def create_block(first_step, steps, contender="eager", loss=2.0):
    return BlockEvent(
        contender=contender, epoch=first_step // 20, block=0, turn=0, kind="steady", steps=steps,
        started_s=0.0, duration_s=0.5 * steps, cpu_s=1.0, first_step=first_step,
        losses=[loss] * steps, lr=[0.1] * steps, labels_digest="d",
    )  # fmt: skip


def create_eval(correct, epoch=0, contender="eager"):
    return EvalEvent(
        contender=contender, epoch=epoch, duration_s=1.0, steps=1, samples=10, correct=correct,
        loss=None,
    )  # fmt: skip


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines():
    return []


@pytest.fixture
def open_log(tmp_path, clock, lines):
    logs = []

    def create(**options):
        document = create_document(**{"names": ("eager",), "log_every": 5, **options})
        logs.append(TrainingLog(tmp_path, document, lambda *told: lines.append(told), clock))
        return logs[-1]

    yield create
    for log in logs:
        log.close()


def test_each_step_that_is_due_has_a_line_and_a_block_shows_its_last(open_log, lines, tmp_path):
    log = open_log()
    log.add(create_block(0, 12))
    assert [kind for _, kind in lines] == ["step", "step", "status"]
    assert lines[1][0].startswith("eager: epoch 1/2, step 10/20, loss 2.0000, lr 0.1, 64 images/s")
    stored = (tmp_path / "train.log").read_text().splitlines()
    assert [line[9:] for line in stored] == [line for line, _ in lines[:2]]


def test_a_line_has_the_mean_loss_since_the_last_one(open_log, lines):
    log = open_log()
    log.add(create_block(0, 5, loss=2.0))
    log.add(create_block(5, 3, loss=1.0))
    log.add(create_block(8, 2, loss=3.0))
    assert [line.split("loss ")[1][:6] for line, kind in lines if kind == "step"] == [
        "2.0000", "1.8000",
    ]  # fmt: skip


def test_slow_steps_are_not_silent(open_log, lines, clock):
    log = open_log(log_every=1000)
    log.add(create_block(0, 1))
    clock.now = MOST_SILENT_S + 1
    log.add(create_block(1, 1))
    log.add(create_block(2, 1))
    assert [kind for _, kind in lines] == ["status", "step", "status"]


def test_a_line_tells_the_last_and_the_best_accuracy_and_the_time_left(open_log, lines, clock):
    log = open_log(epochs=4)
    log._start_s = 0.0
    clock.now = 30.0
    for epoch, correct in enumerate((4, 9, 7)):
        log.add(create_block(20 * epoch, 20))
        log.add(create_eval(correct, epoch))
    line, kind = lines[-1]
    assert kind == "epoch"
    assert line == (
        "eager: epoch 3/4 validated, loss nan, accuracy 70.00 %, best 90.00 % (epoch 2), 0:10 left"
    )


def test_an_accuracy_that_is_not_finite_is_told_and_stored(open_log, lines, tmp_path):
    log = open_log()
    broken = create_eval(None).model_copy(update={"metrics": {"accuracy": None}})
    for event in (create_block(0, 20), broken, create_eval(9, epoch=1)):
        log.add(event)
    assert "accuracy not finite, no best epoch" in lines[-2][0]
    assert "accuracy 90.00 %, best 90.00 % (epoch 2)" in lines[-1][0]
    assert (tmp_path / "accuracy.txt").read_text() == "nan\n0.9\n"


def test_numbers_are_one_a_line_and_each_contender_has_its_files(open_log, tmp_path):
    log = open_log(names=("eager", "graph"))
    log.add(create_block(0, 2, loss=0.1))
    log.add(create_block(0, 1, "graph", loss=None))
    log.add(create_eval(9))
    # they can be read before the end
    assert (tmp_path / "losses-eager.txt").read_text() == "0.1\n0.1\n"
    assert math.isnan(float((tmp_path / "losses-graph.txt").read_text()))
    assert (tmp_path / "accuracy-eager.txt").read_text() == "0.9\n"
