from __future__ import annotations

import json
import math

import numpy as np
import pytest

from oneflow_bench.bench.cli.check import check
from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.errors import InputError, WorkerError
from oneflow_bench.bench.plan.check_plan import create_check_plans
from oneflow_bench.bench.report.blocks import format_markdown
from oneflow_bench.bench.tools.health.run import (
    BY_HEART,
    HEALTH_DEFAULTS,
    HealthDocument,
    ModelHealth,
    examine_models,
    judge_health,
    report_health,
)
from oneflow_bench.bench.tools.health.worker import (
    HealthRequest,
    HealthSession,
    ModeHealth,
    find_dead_share,
)

FIRST, GRADIENTS, DEAD, HEART = (
    "first loss over ln(classes)",
    "smallest gradient over largest",
    "most dead units of a layer",
    "batch by heart",
)
HEALTHY = {
    "mode": "eager", "losses": [math.log(10), 1.0, 0.2], "loss_weights": 1.0,
    "gradient_norms": {"a": 1.0, "b": 0.1}, "dead_shares": {"relu": 0.1},
}  # fmt: skip


def judge(workload=None, **changes):
    found = judge_health(workload or Workload(), ModeHealth(**{**HEALTHY, **changes}))
    return {one.aspect: (one.healthy, one.value) for one in found}


def test_a_healthy_model_is_judged_in_four_aspects():
    assert judge() == {
        FIRST: (True, "1.00"),
        GRADIENTS: (True, "1.0e-01"),
        DEAD: (True, "10 %"),
        HEART: (True, "in 2 steps"),
    }


@pytest.mark.parametrize(
    "changes, aspect, value",
    [
        ({"losses": [7.2, 0.1]}, FIRST, "3.13"),
        ({"losses": [None]}, FIRST, "not finite"),
        ({"losses": [0.5, 0.01]}, FIRST, "0.22"),
        ({"gradient_norms": {"a": 1.0, "b": 1e-6}}, GRADIENTS, "1.0e-06 (b)"),
        ({"gradient_norms": {"a": 1.0, "b": None}}, GRADIENTS, "b: not finite"),
        ({"gradient_norms": {"a": 0.0}}, GRADIENTS, "0.0e+00 (a)"),
        ({"dead_shares": {"a": 0.2, "b": 0.8}}, DEAD, "80 % (b)"),
        ({"losses": [2.3, 2.2, 2.1]}, HEART, "loss 2.1 after 3 steps"),
        ({"losses": [2.3, None]}, HEART, "not finite at step 2"),
    ],
)
def test_each_aspect_can_be_unhealthy(changes, aspect, value):
    assert judge(**changes)[aspect] == (False, value)


def test_heads_count_with_their_weights_and_some_losses_are_not_judged():
    two_heads = {"losses": [1.3 * math.log(10), 0.1], "loss_weights": 1.3}
    assert judge(**two_heads)[FIRST] == (True, "1.00")
    for workload in (Workload(loss="mine:focal"), Workload(load_checkpoint="w.safetensors")):
        assert judge(workload)[FIRST] == (None, "not judged; the first loss is 2.3")
    assert judge(dead_shares={})[DEAD] == (None, "no ReLU")
    own = Workload(loss="label_smoothing", label_smoothing=0.1)
    assert judge(own, losses=[2.3, 0.6])[HEART] == (None, "not judged; loss 0.6 after 2 steps")
    assert judge(own, losses=[2.3, 2.4])[HEART] == (False, "loss 2.4 after 2 steps")


def test_a_unit_is_dead_if_it_is_zero_for_all_samples_and_pixels():
    output = np.zeros((2, 4, 3, 3), np.float32)
    output[1, 0, 2, 2] = 1.0
    assert find_dead_share(output) == 0.75
    assert find_dead_share(output[:, :, 2, 2]) == 0.75


class Worker:
    """Answers with a healthy model, or fails."""

    def __init__(self, mode, fails):
        self.mode, self.fails = mode, fails

    def ask(self, call, timeout_s, **request):
        assert (call, request["steps"], request["by_heart"]) == ("examine", 100, BY_HEART)
        if self.fails:
            raise WorkerError("it died")
        return {**HEALTHY, "mode": self.mode}

    def close(self):
        pass


def test_a_failed_worker_is_noted_and_the_next_model_is_examined(tmp_path, monkeypatch):
    plans = create_check_plans(["lenet", "cnn"], {"data": "synthetic", **HEALTH_DEFAULTS})
    fails = iter([True, False, False])

    def launch(contender):
        return Worker(contender.mode, next(fails))

    monkeypatch.setattr(
        "oneflow_bench.bench.tools.health.run.create_launcher", lambda *arguments: launch
    )
    document = examine_models(plans, tmp_path, 10.0, lambda message, done, total: None)
    assert [one.healthy for one in document.models] == [False, True]
    assert document.exit_status == 4
    stored = HealthDocument.model_validate_json((tmp_path / "health.json").read_text())
    assert stored == document
    text = format_markdown(report_health(document))
    assert "# lenet: not examined\n\nit died" in text and "## cnn: healthy" in text
    assert "| batch by heart | in 2 steps | in 2 steps | yes |" in text
    sick = judge_health(Workload(), ModeHealth(**{**HEALTHY, "losses": [9.0]}))
    document.models.append(ModelHealth(workload=Workload(), findings=sick))
    assert document.exit_status == 1


@pytest.mark.parametrize("flag", ["--speed", "--baseline x", "--junit x.xml", "--from x"])
def test_flags_of_parity_are_refused(flag):
    arguments = ["--health", "--model", "lenet", *flag.split()]
    with pytest.raises(InputError, match=f"^{flag.split()[0]} is about parity and --health"):
        check.main(arguments, standalone_mode=False)


def examine(model, mode):
    (plan,) = create_check_plans(
        [f"unhealthy_models:{model}"], {"image_size": 8, **HEALTH_DEFAULTS}
    )
    request = HealthRequest(
        workload=plan.workload, contender=Contender(name=mode, mode=mode), steps_per_epoch=40,
        steps=40, by_heart=BY_HEART,
    )  # fmt: skip
    found = HealthSession().examine(request)
    json.dumps(found.model_dump(mode="json"), allow_nan=False)
    return {one.aspect for one in judge_health(plan.workload, found) if one.healthy is False}


@pytest.mark.oneflow
@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize(
    "model, aspect",
    [("loud", FIRST), ("dead", DEAD), ("detached", GRADIENTS), ("blind", HEART)],
)
def test_what_keeps_a_model_from_training_is_seen_in_both_modes(model, aspect, mode):
    assert aspect in examine(model, mode)


@pytest.mark.oneflow
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_healthy_model_is_healthy_in_both_modes(mode):
    assert examine("healthy", mode) == set()
