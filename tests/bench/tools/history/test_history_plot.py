from __future__ import annotations

import pytest
from histories import create_run, create_runs
from PIL import Image

from oneflow_bench.bench.tools.history import METRICS
from oneflow_bench.bench.tools.history.report import (
    SHOWN_SERIES,
    draw_series,
    plt,
    render_history_pictures,
)
from oneflow_bench.bench.tools.history.series import build_history


def texts_of(series, metric):
    figure, axes = plt.subplots()
    draw_series(axes, metric, 2, series)
    texts = [text.get_text() for text in axes.texts] + [axes.get_title(loc="left")]
    plt.close(figure)
    return texts


def test_a_picture_a_metric_twice_and_readable(tmp_path):
    history = build_history(create_runs([0.08] * 6 + [0.1] * 6), list(METRICS))
    written = render_history_pictures(history, tmp_path)
    assert sorted(path.name for path in written) == sorted(
        f"history-{metric}.{suffix}" for metric in METRICS for suffix in ("png", "svg")
    )
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width > 900
                assert len(set(image.convert("L").resize((60, 40)).getdata())) > 10


def test_changes_and_differences_are_written_in_the_panel():
    runs = [create_run(0, cores=1), *create_runs([0.08] * 6 + [0.1] * 6, first_day=1)]
    series = build_history(runs, list(METRICS)).series[1]
    texts = texts_of(series, "train_step_time_s")
    assert any(text.startswith("79.8 to ") and text.endswith(" %)") for text in texts)
    assert "not joined with series 1: cores 2 rather than 1" in texts[-1]


def test_a_single_run_and_only_what_there_is_is_drawn(tmp_path):
    history = build_history([create_run(0, graph_step_time_s=None)], list(METRICS))
    names = {path.stem for path in render_history_pictures(history, tmp_path)}
    assert names == {"history-train_step_time_s", "history-peak_rss_bytes", "history-accuracy"}


@pytest.mark.slow
def test_of_very_many_series_the_newest_are_drawn(tmp_path):
    runs = [create_run(day, cores=day + 1) for day in range(SHOWN_SERIES + 2)]
    render_history_pictures(build_history(runs, ["accuracy"]), tmp_path)
    text = (tmp_path / "history-accuracy.svg").read_text()
    assert f"{SHOWN_SERIES} newest of {SHOWN_SERIES + 2} series" in text
