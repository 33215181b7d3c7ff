from __future__ import annotations

import pytest
from matplotlib.text import Text
from PIL import Image
from records import create_events, create_record

from oneflow_bench.bench.config import STEP_DATA
from oneflow_bench.bench.record.events import BlockEvent, EvalEvent, StepParametersEvent
from oneflow_bench.bench.record.run import RunRecord
from oneflow_bench.bench.report import pictures
from oneflow_bench.bench.report.curves import choose_style, list_series
from oneflow_bench.bench.report.pictures import (
    draw_loss_difference,
    draw_parameter_difference,
    plt,
    render_pictures,
    save_picture,
)

NAMES = [
    "accuracy",
    "eval_epoch_times",
    "loss",
    "loss_difference",
    "overview",
    "parameter_difference",
    "step_times",
    "train_epoch_times",
]


def test_an_accuracy_that_is_not_finite_is_in_the_title():
    events = create_events("eager", correct=None, metrics={"accuracy": None}, epochs=1)
    (series,) = list_series([create_record(events)])
    figure, axes = plt.subplots()
    pictures.PICTURES["accuracy"](axes, [series])
    assert axes.get_title() == "Validation accuracy (not finite, first in epoch 1)"
    plt.close(figure)


@pytest.fixture(scope="module")
def record():
    return create_record(
        create_events("eager", noise=0.02), create_events("graph", loss_shift=1e-8), max_abs=1e-8
    )


@pytest.fixture(scope="module")
def written(record, tmp_path_factory):
    return render_pictures([record], tmp_path_factory.mktemp("pictures"))


def test_every_picture_is_drawn_twice_and_readable(written):
    kinds = {name: ("png", "svg") if name != "overview" else ("png",) for name in NAMES}
    assert sorted(path.name for path in written) == [
        f"{name}.{kind}" for name in NAMES for kind in kinds[name]
    ]
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width > 900
                assert len(set(image.convert("L").resize((60, 40)).getdata())) > 10


def draw(draw_picture, record):
    figure, axes = plt.subplots()
    draw_picture(axes, list_series([record]))
    plt.close(figure)
    return axes


def create_step_record(**events):
    """Of a TrainingStep without an accuracy."""
    record = create_record(create_events("eager", **events), create_events("graph", **events))
    document = record.document
    update = {"model": "my_file:step", "data": STEP_DATA}
    document.workload = document.workload.model_copy(update=update)
    record.events = [
        e.model_copy(update={"correct": None}) if isinstance(e, EvalEvent) else e
        for e in record.events
    ]
    return record


def test_the_loss_of_a_users_own_has_no_unit(record):
    assert draw(pictures.draw_loss, record).get_ylabel() == "loss (nats)"
    assert draw(pictures.draw_loss, create_step_record()).get_ylabel() == "loss"
    assert draw(draw_loss_difference, create_step_record()).get_ylabel() == "absolute difference"


def test_a_step_without_an_accuracy_has_no_picture_of_it(record):
    assert "accuracy" in pictures.choose_pictures(list_series([record]))
    shown = pictures.choose_pictures(list_series([create_step_record()]))
    assert "accuracy" not in shown and "eval_epoch_times" in shown


def test_one_epoch_is_one_tick():
    axes = draw(pictures.PICTURES["train_epoch_times"], create_step_record(epochs=1))
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]


def test_losses_that_are_not_finite_are_said_in_words():
    axes = draw(pictures.draw_loss, create_step_record(loss=None))
    assert not axes.lines and [text.get_text() for text in axes.texts] == ["no loss is finite"]
    record = create_step_record()
    block = next(e for e in record.events if isinstance(e, BlockEvent) and e.first_step == 10)
    block.losses[2] = None
    axes = draw(pictures.draw_loss, record)
    assert axes.get_title() == "Training loss (infinite or not a number, first in step 12)"
    assert len(axes.lines) == 2


def test_the_same_record_gives_the_same_svg(record, written, tmp_path, monkeypatch):
    (first,) = (path for path in written if path.name == "loss.svg")
    monkeypatch.setattr(pictures, "PICTURES", {"loss": pictures.draw_loss})
    render_pictures([record], tmp_path)
    assert (tmp_path / "loss.svg").read_text() == first.read_text()


def test_equal_losses_are_said_in_words_and_others_drawn():
    equal = create_record(create_events("eager"), create_events("graph"))
    other = create_record(create_events("eager"), create_events("graph", loss_shift=1e-8))
    assert "bitwise equal in all 240 steps" in texts_of(equal)
    assert "bitwise equal in all" not in " ".join(texts_of(other))


def test_a_training_that_diverged_is_drawn(tmp_path):
    record = create_record(create_events("eager", loss=None), create_events("graph", loss=None))
    assert "up to step 0, where losses stop being finite" in " ".join(texts_of(record))
    assert all(path.stat().st_size for path in render_pictures([record], tmp_path))
    half = create_record(create_events("eager"), create_events("graph", loss=None))
    assert "stop being finite" in " ".join(texts_of(half))


def test_a_resumed_run_is_drawn_from_where_it_began():
    whole = create_record(create_events("eager"))
    half = [event for event in create_events("eager") if getattr(event, "epoch", 1) == 1]
    series = list_series([whole, create_record(half)])
    steps = [one.steps.tolist() for one in series]
    assert steps[0] == list(range(240))
    assert steps[1] == list(range(120, 240))
    figure, axes = plt.subplots()
    draw_loss_difference(axes, series)
    assert [text.get_text() for text in axes.texts] == ["bitwise equal in all 120 steps"]
    plt.close(figure)


def texts_of(record):
    figure, axes = plt.subplots()
    draw_loss_difference(axes, list_series([record]))
    texts = [text.get_text() for text in axes.texts]
    plt.close(figure)
    return texts


@pytest.mark.parametrize(
    "length, missing",
    [
        *((n, {"accuracy", "train_epoch_times", "eval_epoch_times"}) for n in (0, 1)),
        (2, {"accuracy", "eval_epoch_times"}),
        (40, set()),
    ],
)
def test_a_partial_record_is_drawn_as_far_as_it_goes(tmp_path, monkeypatch, length, missing):
    def lay_out(figure, folder, name):
        figure.draw_without_rendering()
        plt.close(figure)
        return [folder / name]

    monkeypatch.setattr(pictures, "save_picture", lay_out)
    whole = create_record(create_events("eager"))
    drawn = render_pictures([RunRecord(whole.document, whole.events[:length])], tmp_path)
    assert {path.stem for path in drawn} == {*NAMES} - {
        "loss_difference",
        "parameter_difference",
    } - missing


def test_the_parameter_difference_of_every_step_replaces_that_of_every_epoch():
    steps = [
        StepParametersEvent(
            step=step, baseline="eager", contender="graph", max_abs=1e-8, mean_abs=1e-9,
            relative_l2=1e-9, largest_in="w", digests={},
        )
        for step in range(40)
    ]  # fmt: skip
    record = create_record(create_events("eager"), create_events("graph"), more=steps)
    figure, axes = plt.subplots()
    draw_parameter_difference(axes, list_series([record]))
    assert [line.get_xdata().tolist() for line in axes.lines] == 2 * [list(range(1, 41))]
    assert axes.get_xlabel() == "step"
    plt.close(figure)


def test_contenders_of_several_runs_carry_the_runs_name():
    record = create_record(create_events("eager"), create_events("graph"))
    assert [s.label for s in list_series([record])] == ["eager", "graph"]
    assert [s.label for s in list_series([record, record])][0] == "test: eager"


@pytest.mark.slow
def test_nine_contenders_are_drawn_with_all_their_names(tmp_path):
    names = [f"graph-fuse_add_to_output-{number}" for number in range(9)]
    sides = [create_events(name, noise=0.02, loss_shift=n * 1e-8) for n, name in enumerate(names)]
    record = create_record(*sides, max_abs=1e-8)
    written = render_pictures([record], tmp_path)
    svg = (tmp_path / "parameter_difference.svg").read_text()
    assert all(f"<!-- {name}: largest element -->" in svg for name in names[1:])
    with Image.open(tmp_path / "overview.png") as image:
        assert (
            image.size == (2 * (1040 + pictures.GAP), 4 * (585 + pictures.GAP))
            and len(written) == 2 * len(NAMES) - 1
        )


def test_the_first_styles_are_told_apart_without_colour():
    styles = [choose_style(index, True) for index in range(8)]
    assert len({(str(s["linestyle"]), s["linewidth"]) for s in styles}) == 8
    assert len({s["marker"] for s in styles}) == 8
    assert "marker" not in choose_style(0, False)


def test_the_ticks_of_a_log_scale_are_mathematics_and_names_are_not(tmp_path):
    figure, axes = plt.subplots()
    axes.semilogy([1, 2], [1e-9, 1e-7], label="a $b$ name")
    axes.legend()
    save_picture(figure, tmp_path, "curve")
    texts = {text.get_text(): text.get_parse_math() for text in figure.findobj(Text)}
    assert texts["a $b$ name"] is False
    ticks = [shown for text, shown in texts.items() if "mathdefault" in text]
    assert ticks and all(ticks)


def test_blocks_that_other_load_slowed_down_are_marked():
    quick, slowed = create_events("eager", 0.1), create_events("graph", 0.1)
    for record, count in ((create_record(quick), 0), (create_record(quick, slowed), 2)):
        late = [e for e in record.of_kind(BlockEvent, "graph") if e.kind == "steady"][3:5]
        slower = [e.model_copy(update={"duration_s": 1.3 * e.duration_s}) for e in late]
        record.events = [
            slower[late.index(event)] if event in late else event for event in record.events
        ]
        figure, axes = plt.subplots()
        pictures.draw_step_times(axes, list_series([record]))
        marked = [line for line in axes.get_lines() if "of the median" in str(line.get_label())]
        assert [len(line.get_xdata()) for line in marked] == [count] * bool(count)
        plt.close(figure)
