from __future__ import annotations

import pytest
from matplotlib.text import Text
from PIL import Image
from records import create_events, create_record

from oneflow_bench.bench.record.events import BlockEvent, StepParametersEvent
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


@pytest.fixture(scope="module")
def record():
    return create_record(
        create_events("eager", noise=0.02), create_events("graph", loss_shift=1e-8), max_abs=1e-8
    )


@pytest.fixture(scope="module")
def written(record, tmp_path_factory):
    return render_pictures([record], tmp_path_factory.mktemp("pictures"))


def test_every_picture_is_drawn_twice_and_readable(written):
    assert sorted(p.name for p in written) == sorted(
        f"{name}.{kind}" for name in NAMES for kind in ("png", "svg")
    )
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width > 900
                assert len(set(image.convert("L").resize((60, 40)).getdata())) > 10


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


@pytest.mark.parametrize("length", [0, 1, 2, 40])
def test_partial_and_single_records_are_drawn_without_differences(tmp_path, monkeypatch, length):
    def lay_out(figure, folder, name):
        figure.draw_without_rendering()
        plt.close(figure)
        return [name]

    monkeypatch.setattr(pictures, "save_picture", lay_out)
    whole = create_record(create_events("eager"))
    drawn = render_pictures([RunRecord(whole.document, whole.events[:length])], tmp_path)
    assert {*drawn} == {*NAMES} - {"loss_difference", "parameter_difference"}


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
        assert image.width == 14 * 130 and len(written) == 2 * len(NAMES)


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
