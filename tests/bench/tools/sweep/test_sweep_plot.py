from __future__ import annotations

import pytest
from PIL import Image
from sweep_cells import create_cell, create_result, create_sweep

from oneflow_bench.bench.tools.sweep import report
from oneflow_bench.bench.tools.sweep.growth import measure_growth
from oneflow_bench.bench.tools.sweep.report import (
    draw_growth,
    draw_speedups,
    plt,
    render_sweep_pictures,
)

SIZES = (1, 2, 4, 8)


def sweep_of(*results):
    cells = [create_cell(batch_size=s, result=result) for s, result in zip(SIZES, results)]
    return create_sweep(*cells)


def texts(figure):
    found = [
        text.get_text()
        for axes in figure.axes
        for text in [*axes.texts, *(axes.get_legend().get_texts() if axes.get_legend() else [])]
    ]
    plt.close(figure)
    return found


def whole():
    return sweep_of(*(create_result(1.1, eager_s=0.002 + 0.001 * size) for size in SIZES))


def test_every_picture_is_drawn_twice_the_same_each_time_and_readable(tmp_path):
    document = whole()
    svgs = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        written = render_sweep_pictures(document, tmp_path / name)
        svgs.append((tmp_path / name / "step_time.svg").read_text())
    assert svgs[0] == svgs[1]
    assert sorted(path.name for path in written) == sorted(
        f"{name}.{kind}"
        for name in ("speedups", "step_time", "peak_memory")
        for kind in ("png", "svg")
    )
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width > 700
                assert len(set(image.convert("L").resize((60, 40)).getdata())) > 10


def test_the_legend_says_floor_and_cost_per_image():
    said = texts(draw_growth(measure_growth(whole()), "step_time_s"))
    assert "eager: 2 ms + 1 ms/image" in said


def test_a_bad_fit_and_a_missing_one_are_said_in_the_picture():
    bad = sweep_of(*(create_result(eager_s=t) for t in (0.01, 0.03, 0.012, 0.014)))
    drawn = texts(draw_growth(measure_growth(bad), "step_time_s"))
    assert any("bad fit" in text for text in drawn)
    few = [one for one in measure_growth(sweep_of(create_result())) if one.mode == "eager"][:1]
    assert texts(draw_growth(few, "step_time_s")) == ["eager: no fit (fewer than 3 batch sizes)"]


def test_failures_have_their_line_and_word_among_the_speedups():
    document = sweep_of(
        create_result(1.1),
        create_result(status="timeout"),
        create_result(2.0, parity="different"),
        None,
    )
    figure = draw_speedups(document)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [
        *(f"lenet batch_size={size}" for size in SIZES), "geometric mean 1.100 (one cell)",
    ]  # fmt: skip
    said = " ".join(texts(figure))
    assert "timeout" in said and "not run yet" in said and "modes differ" in said


@pytest.mark.parametrize(
    "speedups, ticks",
    [
        ([1.0, 1.1], ["0.9", "0.95", "1", "1.05", "1.1", "1.15"]),
        ([0.6, 8.0], ["1", "2", "5"]),
        ([0.001, 900.0], ["0.001", "0.01", "0.1", "1", "10", "100"]),
    ],
)
def test_the_scale_of_the_speedups_is_labelled_in_plain_numbers(speedups, ticks):
    document = sweep_of(*map(create_result, speedups))
    figure = draw_speedups(document)
    low, high = figure.axes[0].get_xlim()
    places = zip(figure.axes[0].get_xticks(), figure.axes[0].get_xticklabels())
    labels = [label.get_text() for place, label in places if low <= place <= high]
    plt.close(figure)
    assert labels == ticks


@pytest.mark.parametrize(
    "results",
    [
        [None],
        [create_result(status="failed")] * 2,
        [create_result(), create_result(0.001), create_result(900.0)],
        [create_result(speedup=1.1, modes={})],
    ],
)
def test_sweeps_cut_short_and_extreme_ones_are_drawn(tmp_path, results):
    document = sweep_of(*results)
    assert render_sweep_pictures(document, tmp_path)


def test_without_batch_sizes_no_growth_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "save_picture", lambda figure, folder, name: [name])
    cell = create_cell("my:gpt", result=create_result(1.2))
    del cell.values["batch_size"]
    assert report.render_sweep_pictures(create_sweep(cell), tmp_path) == ["speedups"]
