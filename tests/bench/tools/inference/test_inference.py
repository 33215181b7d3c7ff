from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress

import numpy as np
import pytest
from command import run_command
from PIL import Image

from oneflow_bench.bench.cli.infer import _kept_if_failed
from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.errors import InputError, WorkerError
from oneflow_bench.bench.record.checkpoint import save_weights
from oneflow_bench.bench.report.blocks import Table, format_markdown
from oneflow_bench.bench.tools.inference.plan import create_inference_plan
from oneflow_bench.bench.tools.inference.run import (
    compare_logits,
    predict,
    report_inference,
    run_inference,
)
from oneflow_bench.bench.tools.inference.worker import InferenceSession, Setup, split_padded

ABOUT = {
    "model": "lenet",
    "num_classes": 3,
    "image_size": 40,
    "classes": ["cat", "dog", "hen"],
    "mean": [1, 2, 3],
    "std": [4, 5, 6],
    "random_crop": False,
}


def checkpoint(folder, about=None):
    path = folder / "w.safetensors"
    save_weights({"w": np.zeros(1, np.float32)}, path, ABOUT if about is None else about)
    return path


def plan_of(folder, about=None, labels=None, top=2, **flags):
    flags.update(load_checkpoint=str(checkpoint(folder, about)), top=top)
    return create_inference_plan({**flags, "iterations": 8, "timeout_s": 5.0}, labels)


def picture(path, value=0):
    Image.new("RGB", (8, 8), (value, 0, 0)).save(path)
    return path


class Worker:
    """Logits that say which picture it is; `bias` is added, as by another mode."""

    def __init__(self, asked, name, bias=0.0, fail=None):
        self.asked, self.name, self.bias, self.fail = asked, name, bias, fail
        self.closed = False

    def ask(self, call, timeout_s, **request):
        self.asked.append((self.name, call))
        if call == self.fail:
            raise WorkerError("it died")
        if call == "setup":
            self.images = np.load(request["images"])
            return {"import_s": 1.0, "init_s": 0.5, "load_s": 0.25, "compile_s": 0.125}
        if call == "time":
            return {"durations_s": [0.01] * request["passes"]}
        if call == "classify":
            red = self.images[:, 0].mean(axis=(1, 2))
            np.save(request["path"], np.stack([red, -red, red * 0 + self.bias], axis=1))
        return {}

    def close(self):
        self.closed = True


def run(folder, paths, biases=(0.0, 0.0), fail=None, top=2):
    asked, workers = [], []

    def launch(contender):
        workers.append(Worker(asked, contender.name, biases[len(workers)], fail))
        return workers[-1]

    contenders = [Contender(name=m, mode=m) for m in ("eager", "graph")[: len(biases)]]
    result = run_inference(plan_of(folder, top=top), paths, contenders, launch, lambda *_: None)
    assert all(worker.closed for worker in workers)
    return result, asked


def test_the_checkpoint_says_what_it_is_of(tmp_path):
    plan = plan_of(tmp_path)
    assert (plan.workload.model, plan.workload.num_classes) == ("lenet", 3)
    assert plan.names == ("cat", "dog", "hen")
    assert plan.scale.image_size == 40
    assert (list(plan.scale.mean), list(plan.scale.std)) == ([1, 2, 3], [4, 5, 6])
    assert plan.scale.resize_ratio == 1.0


def test_a_checkpoint_names_registered_models_only(tmp_path):
    evil = {**ABOUT, "model": "evil:make"}
    with pytest.raises(InputError, match="model = evil:make would run code.*--model evil:make"):
        plan_of(tmp_path, about=evil)
    assert plan_of(tmp_path, about=evil, model="evil:make").workload.model == "evil:make"


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize("value", ["grey", [1, 2], 7, [1, None, 3]])
def test_a_checkpoints_scale_that_is_none_is_one_sentence(tmp_path, name, value):
    with pytest.raises(InputError, match=f"the checkpoint's {name} .*one number for each"):
        plan_of(tmp_path, about={**ABOUT, name: value})


def test_a_checkpoint_that_says_nothing_is_taken_for_imagenet_s(tmp_path):
    plan = plan_of(tmp_path, about={}, model="resnet18")
    assert (plan.workload.num_classes, plan.workload.image_size) == (1000, 224)
    assert plan.names[207] == "golden retriever"
    assert plan.scale.resize_ratio == 256 / 224
    small = plan_of(tmp_path, about={}, model="lenet")
    assert small.names == tuple(f"class {number}" for number in range(10))


@pytest.mark.parametrize(
    "about, labels, flags, message",
    [
        ({}, None, {}, "does not name its model; give --model"),
        (None, None, {"model": "lenets"}, "did you mean lenet"),
        ({**ABOUT, "multi_label": True}, None, {}, "several labels a picture"),
        (None, ("a", "b"), {}, "--labels has 2 names and the model 3 classes"),
        (None, None, {"image_size": 8}, "--image-size 8 is too small for lenet"),
        ({**ABOUT, "model_args": 3}, None, {}, "--model-arg 3 cannot be used"),
        ({**ABOUT, "image_size": "big"}, None, {}, "--image-size big cannot be used"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, about, labels, flags, message):
    with pytest.raises(InputError, match=message):
        plan_of(tmp_path, about, labels, **flags)


def test_pictures_get_the_names_of_their_best_classes(tmp_path):
    paths = [picture(tmp_path / "a.png", 200), picture(tmp_path / "b.png", 0)]
    result, asked = run(tmp_path, paths)
    first = result.predictions[0]
    assert (first.picture, first.mode, first.names) == (str(paths[0]), "eager", ["cat", "hen"])
    assert first.probabilities[0] > 0.99
    assert result.predictions[2].names[0] == "dog"
    assert result.agreement.agrees
    assert result.agreement.bitwise_equal
    assert [t.first_s for t in result.times] == [0.01, 0.01]
    assert result.times[0].steady_s.count == 8
    timed = [name for name, call in asked if call == "time"]
    assert sorted(timed[:2]) == ["eager", "graph"]
    assert timed != sorted(timed)  # in turns


def test_modes_that_differ_are_said_to(tmp_path):
    paths = [picture(tmp_path / "a.png", 200), picture(tmp_path / "b.png", 0)]
    found = run(tmp_path, paths, biases=(0.0, 9.0))[0].agreement
    assert not found.agrees
    assert (found.same_top1, found.pictures) == (1, 2)
    assert found.max_logit_difference == 9.0
    near = compare_logits(np.array([[1.0, 2.0]]), np.array([[1.0, 2.0 + 1e-5]]))
    assert near.agrees
    assert not near.bitwise_equal


def test_the_report_shows_every_picture_in_both_modes(tmp_path):
    paths = [picture(tmp_path / "a.png", 200), picture(tmp_path / "b.png", 0)]
    blocks = report_inference(run(tmp_path, paths, biases=(0.0, 9.0), top=1)[0])
    classes, times = (block for block in blocks if isinstance(block, Table))
    assert classes.columns == ["picture", "class", "eager", "graph"]
    assert [row[:2] for row in classes.rows] == [[str(paths[0]), "cat"], [str(paths[1]), "dog"]]
    assert classes.rows[1][3] == "-"  # the graph's best class is another
    assert ["compile", "125.0", "125.0"] in times.rows
    assert times.rows[-1] == ["steady pass", *["10.0 (10.0 to 10.0)"] * 2]
    text = format_markdown(blocks)
    assert "do not agree. The best class is the same for 1 of 2 pictures." in text


def test_what_is_no_picture_is_left_out_and_named(tmp_path):
    (tmp_path / "x.png").write_text("no")
    result, _ = run(tmp_path, [tmp_path / "x.png", picture(tmp_path / "a.png")], biases=(0.0,))
    assert len(result.predictions) == 1
    assert "x.png cannot be read" in result.skipped[0]
    with pytest.raises(InputError, match="none of the 1 files is a picture"):
        run(tmp_path, [tmp_path / "x.png"])


@pytest.mark.parametrize(
    "biases, agrees, kept",
    [((np.nan,), None, []), ((np.inf, np.inf), True, []), ((0.0, np.nan), False, ["eager"] * 2)],
)
def test_outputs_that_are_not_finite_are_a_sentence_and_no_classes(tmp_path, biases, agrees, kept):
    paths = [picture(tmp_path / "a.png", 200), picture(tmp_path / "b.png", 0)]
    result, _ = run(tmp_path, paths, biases=biases)
    assert [one.mode for one in result.predictions if one.classes] == kept
    assert (result.agreement and result.agreement.agrees) is agrees
    said = format_markdown(report_inference(result))
    assert "the outputs of 2 of 2 pictures are NaN or infinite" in said
    assert "nan" not in said and ("picture | class" in said) == bool(kept)


def test_a_picture_that_is_not_finite_leaves_the_others_comparable():
    ours = np.array([[1.0, 2.0], [np.nan, 0.0]])
    found = compare_logits(ours, ours + 1e-6)
    assert found.agrees and found.max_logit_difference < 1e-5 and not found.bitwise_equal


def test_workers_are_closed_when_one_fails(tmp_path):
    with pytest.raises(WorkerError, match="it died"):
        run(tmp_path, [picture(tmp_path / "a.png")], fail="classify")


def test_logs_stay_where_an_error_names_them(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for failure, stays in ((WorkerError, True), (InputError, False), (None, False)):
        with suppress(Exception), _kept_if_failed() as logs:
            (logs / "eager.log").write_text("why")
            if failure:
                raise failure("it failed")
        assert logs.parent == tmp_path and (logs / "eager.log").exists() == stays


def test_probabilities_do_not_overflow_and_ties_keep_their_order():
    wide = predict("p", "eager", np.array([1e4, -1e4], np.float32), "ab", 2)
    assert wide.probabilities == [1.0, 0.0]
    assert predict("p", "eager", np.zeros(4), "abcd", 3).names == ["a", "b", "c"]


def test_the_last_batch_is_filled():
    batches = split_padded(np.arange(5).reshape(5, 1), 2)
    assert [batch.ravel().tolist() for batch in batches] == [[0, 1], [2, 3], [4, 4]]


BRANCHY = """
import oneflow as flow
from oneflow import nn

class Branchy(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(flow.zeros(1))

    def forward(self, images):
        if images.sum() > 0:
            return images[:, :, 0, 0]
        return images[:, :, 0, 0] * self.w

def create(num_classes):
    return Branchy()
"""


@pytest.mark.oneflow
def test_the_line_of_an_own_model_that_a_mode_refuses_is_named(tmp_path, monkeypatch):
    (tmp_path / "branchy.py").write_text(BRANCHY)
    monkeypatch.syspath_prepend(tmp_path)
    np.save(tmp_path / "images.npy", np.ones((1, 3, 8, 8), np.float32))
    workload = Workload(
        model="branchy:create", load_checkpoint=str(checkpoint(tmp_path)), batch_size=1,
        image_size=8, num_classes=3,
    )  # fmt: skip
    images, contender = str(tmp_path / "images.npy"), Contender(name="graph", mode="graph")
    with pytest.raises(InputError, match=r"branchy.py:11: .*flow.where.*images \(1, 3, 8, 8\)"):
        InferenceSession().setup(Setup(workload=workload, contender=contender, images=images))


def bench(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "oneflow_bench", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "200"},  # no path is folded
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_trained_run_says_what_is_on_a_picture(tmp_path):
    trained = tmp_path / "run"
    done = bench(
        "eager", "--model", "lenet", "--epochs", "1", "--steps-per-epoch", "2", "--out", trained
    )
    assert done.returncode == 0, done.stderr
    for value in range(3):
        picture(tmp_path / f"p{value}.png", 80 * value)
    done = bench("infer", tmp_path / "p*.png", "--load-checkpoint", trained, "--mode", "both",
                 "--batch-size", "2", "--iterations", "2", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result["predictions"]) == 6
    assert result["agreement"]["agrees"]
    assert [times["compile_s"] > 0 for times in result["times"]] == [False, True]
    assert sum(result["predictions"][0]["probabilities"]) > 0.4
    (tmp_path / "broken.png").write_text("no picture")
    done = bench("infer", tmp_path / "p0.png", tmp_path / "broken.png", "--load-checkpoint",
                 trained, "--iterations", "2", "--top", "2")  # fmt: skip
    assert done.returncode == 2
    assert "broken.png cannot be read as a picture" in done.stderr
    assert "p0.png" in done.stdout


@pytest.mark.oneflow
@pytest.mark.parametrize(
    "arguments, words",
    [
        (["absent.png"], "absent.png is no file"),
        (["{picture}", "--labels", "absent.txt"], "labels absent.txt cannot be read"),
        (["{picture}", "--model", "alexnet_cifar"], "does not fit the model"),
        (["{picture}", "--top", "0"], "--top"),
        (["{picture}", "--load-checkpoint", "absent"], "checkpoint absent does not exist"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, arguments, words):
    given = [a.format(picture=picture(tmp_path / "p.png")) for a in arguments]
    given = (
        given
        if "--load-checkpoint" in given
        else [*given, "--load-checkpoint", str(checkpoint(tmp_path))]
    )
    done = run_command("infer", *given)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
