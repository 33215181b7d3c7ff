"""A `TrainingStep` becomes a job that both modes train alike."""

import numpy as np
import oneflow as flow
import own_steps
import pytest

from oneflow_bench.bench.config import STEP_DATA, Contender, Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.training.job import copy_state, create_job
from oneflow_bench.bench.training.modes import ModeSetting, create_mode
from oneflow_bench.bench.training.nest import map_tensors
from oneflow_bench.bench.training.optimizers import read_rates
from oneflow_bench.bench.training.steps.batches import Batches

pytestmark = pytest.mark.oneflow
STEPS = 5


def make(name, **workload):
    work = Workload(model=f"own_steps:{name}", data=STEP_DATA, batch_size=1, **workload)
    return work, create_job(work, None, STEPS, "cpu")


def train(mode, name, **workload):
    """Losses, score and trained weights."""
    work, job = make(name, **workload)
    runner = create_mode(job, ModeSetting(work, Contender(name=mode, mode=mode), STEPS))
    runner.compile_train()
    runner.compile_eval()
    losses = [runner.train_step()[0].numpy().mean() for _ in range(STEPS)]
    batches = [runner.eval_step() for _ in range(job.eval_feed.steps_per_pass)]
    arrays = [map_tensors(lambda tensor: tensor.numpy(), batch) for batch in batches]
    return losses, job.score(arrays, job.eval_feed), copy_state(job.model)


@pytest.mark.parametrize("name, workload", [("tagger", {"accumulation_steps": 2}), ("full", {})])
def test_both_modes_train_and_score_the_same(name, workload):
    eager, graph = (train(mode, name, **workload) for mode in ("eager", "graph"))
    np.testing.assert_allclose(eager[0], graph[0], rtol=1e-6)
    assert eager[0][0] != eager[0][-1]
    assert eager[1].metrics == pytest.approx(graph[1].metrics)
    assert set(eager[1].metrics) == ({"accuracy"} if name == "full" else {"loss"})
    for key, value in eager[2].items():
        np.testing.assert_allclose(value, graph[2][key], rtol=1e-5, atol=1e-6)


def test_the_score_is_that_of_the_step_s_own_function():
    _, job = make("full")
    outputs = []
    for expected in own_steps.create_batches(7):
        batch, _ = job.eval_feed.next_batch()
        assert np.array_equal(batch["next"].numpy(), expected["next"])
        outputs.append((own_steps.evaluate(job.model.eval(), batch)["accuracy"].numpy(), ()))
    score = job.score([({"accuracy": value}, ()) for value, _ in outputs], job.eval_feed)
    assert len(outputs) == job.eval_feed.steps_per_pass == 3
    assert score.metrics["accuracy"] == pytest.approx(np.mean([value for value, _ in outputs]))
    assert score.correct is None and score.loss is None


def test_sized_batches_begin_anew_with_the_next_seed():
    _, job = make("tagger", seed=4)
    taken = [job.train_feed.next_batch()[0]["next"].numpy() for _ in range(6)]
    wanted = [b["next"] for seed in (4, 5) for b in own_steps.create_batches(seed)]
    assert all(np.array_equal(one, other) for one, other in zip(taken, wanted))
    assert not np.array_equal(taken[0], taken[3])


def test_a_tensor_that_is_filled_again_for_each_batch_is_copied():
    reused = flow.zeros(2, 3)

    def create(seed):
        for number in range(4):
            yield reused.fill_(seed + number)

    taken = Batches("mine", lambda seed: iter(create(seed)), 5, "cpu")
    given = [taken.next_batch()[0] for _ in range(4)]
    assert [float(batch.mean().numpy()) for batch in given] == [5, 6, 7, 8]


def test_the_recorded_rate_is_that_of_the_step_s_own_schedule():
    _, job = make("full")
    rates = read_rates(job.optimizer, job.scheduler, range(5))
    assert rates == [0.5, 0.5, 0.25, 0.25, 0.125]
    _, job = make("tagger", lr=0.3, schedule="constant")
    assert read_rates(job.optimizer, job.scheduler, [9]) == [0.3]


def test_a_function_takes_model_arguments():
    _, job = make("wide", model_args={"width": 6})
    assert job.model.words.weight.shape == (own_steps.WORDS, 6)
    with pytest.raises(InputError, match="--model-arg was given and own_steps:tagger is a"):
        make("tagger", model_args={"width": 6})


LINE = own_steps.fail.__code__.co_firstlineno + 2
STEP_LINE = f"{own_steps.__file__}:"


@pytest.mark.parametrize(
    "name, parts",
    [
        ("missing", ["'own_steps' has no object 'missing'; give "]),
        ("number", ["gives an int and a TrainingStep is expected"]),
        ("not_a_step", ["gives a Tagger and a TrainingStep is expected", "--model"]),
        ("no_module", [f"create_module raised ZeroDivisionError at {STEP_LINE}{LINE}"]),
        ("wrong_module", [STEP_LINE, "gave a dict", "oneflow.nn.Module"]),
        ("words", [STEP_LINE, "an array of type <U1 and shape (2,)", "convert it"]),
        ("no_batch", [STEP_LINE, "gave no batch"]),
        ("no_row", [STEP_LINE, "batch float32 (0, 3) has no element"]),
        ("no_tensor", ["a str without a tensor"]),
        ("endless", ["more than 1000 and"]),
    ],
)
def test_an_unusable_step_is_told_in_a_sentence(name, parts):
    with pytest.raises(InputError) as told:
        make(name)
    assert all(part in str(told.value) for part in parts), str(told.value)


def test_a_batch_that_does_not_fit_is_named_with_its_shape_and_type():
    _, job = make("partial")
    for _ in range(3):
        job.train_feed.next_batch()
    with pytest.raises(InputError) as told:
        job.train_feed.next_batch()
    given = "batch[next] int64 (2, 5) was given and was batch[next] int64 (4, 5)"
    assert given in str(told.value) and "in batch 4" in str(told.value)


def test_a_number_that_a_graph_would_keep_is_named_where_it_changes():
    _, job = make("counted")
    for _ in range(2):
        job.train_feed.next_batch()
    with pytest.raises(InputError) as told:
        job.train_feed.next_batch()
    given = "batch['weights'][0] was 3 in the first batch and is 1 in batch 3; a graph keeps the"
    assert given in str(told.value)


def test_a_batch_that_cannot_be_split_is_named():
    with pytest.raises(InputError, match=r"into 3 equal .*batch\[inputs\]\[0\] is int64 \(4, 5\)"):
        make("tagger", accumulation_steps=3)


@pytest.mark.parametrize(
    "name, text",
    [
        ("no_number", r"loss is a Tensor of shape \(4, 5, 11\) and one number.*; take its mean"),
        ("no_metric", "a dict of metrics"),
        ("no_metric_number", r"the metric 'mse' of evaluate is a float \(0\.5\) and one number"),
        ("numbered", r"gave an int and the name of a metric, a string, is expected"),
        ("mixed", r"^loss\['n'\] is an int \(16\) and one number as a tensor is expected"),
        ("array", r"^loss\[1\] is a ndarray of shape \(1,\) and one number"),
        ("bare", r"^loss is a float \(3\.0\) and .*leave out float\(\)"),
    ],
)
def test_a_loss_and_an_evaluation_that_give_no_number_are_refused(name, text):
    work, job = make(name)
    mode = create_mode(job, ModeSetting(work, Contender(name="eager", mode="eager"), STEPS))
    with pytest.raises(InputError, match=text):
        mode.train_step()
        mode.eval_step()


def test_an_accuracy_that_is_no_share_is_refused():
    with pytest.raises(InputError, match="accuracy of evaluate is 87 and a share from 0 to 1"):
        train("eager", "percent")


def test_a_seed_fixes_the_order_of_a_loader_that_another_job_has_used():
    orders = []
    for seed in (3, 3, 4):
        _, job = make("shuffled", seed=seed)
        orders.append([tuple(job.train_feed.next_batch()[0]["number"].numpy()) for _ in range(6)])
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:2] != orders[0][2:4]  # the next pass has the next seed


@pytest.mark.parametrize("given", [{"lr": 0.5}, {"optimizer": "adam"}, {"clip_norm": 1.0}])
def test_a_setting_that_the_own_optimizer_does_not_read_is_refused(given):
    (name,) = given
    flag = "--" + name.replace("_", "-")
    with pytest.raises(InputError, match=f"{flag} .* has no effect beside the create_optimizer of"):
        make("full", **given)
    make("tagger", **given)


def test_an_optimizer_of_the_command_line_trains_a_step_alike_in_both_modes():
    eager, graph = (
        train(mode, "tagger", optimizer="oneflow.optim:Adagrad") for mode in ("eager", "graph")
    )
    np.testing.assert_allclose(eager[0], graph[0], rtol=1e-6)
    assert eager[0][0] != eager[0][-1]
