from __future__ import annotations

import io

import pytest
from histories import create_run, create_runs
from rich.console import Console

from oneflow_bench.bench.config import STEP_DATA, Workload
from oneflow_bench.bench.report.blocks import print_blocks
from oneflow_bench.bench.tools.history import METRICS
from oneflow_bench.bench.tools.history.report import (
    SHOWN_POINTS,
    draw_line,
    mark_verdict,
    report_history,
)
from oneflow_bench.bench.tools.history.series import build_history


def rendered(runs, metrics=tuple(METRICS)):
    console = Console(file=io.StringIO(), width=80)
    print_blocks(report_history(build_history(runs, list(metrics)), console.encoding), console)
    return console.file.getvalue()


def sparkline(times, encoding="utf-8", metric="train_step_time_s"):
    runs = [create_run(day, graph_step_time_s=time) for day, time in enumerate(times)]
    (series,) = build_history(runs, [metric]).series
    return draw_line(series.curves[-1], encoding)


def test_a_step_of_the_user_has_no_batch_size_and_no_pictures():
    run = create_run(0)
    run.document.workload = Workload(model="ed:mlp", data=STEP_DATA)
    text = rendered([run])
    assert "ed:mlp on training-step; contenders: eager, graph" in text


def test_the_whole_report_of_a_change():
    text = rendered(create_runs([0.08] * 6 + [0.1] * 6), ["train_step_time_s", "parity"])
    assert [line.rstrip() for line in text.splitlines()[:12]] == [
        "series 1 of 1: 12 runs, 2026-01-01 to 2026-01-12",
        "alexnet_cifar on embedded-digits, batch 32, 32 px; contenders: eager, graph",
        "Example CPU, 2 cores, 8 GiB; OneFlow unknown",
        "",
        "metric          contender  first   last  runs, oldest first",
        "─" * 59,
        "train step, ms  eager      100.0  100.1  ▅▄▄▅▅▅▄▅▅▅▄▅",
        "train step, ms  graph       80.8   99.4  ▁▁▁▁▁▁|██████",
        "parity          graph          =      =  ============",
        "",
        "changed: train step, ms of graph, 79.8 to 99.9 (+25.2 %) from run-06 on",
        "",
    ]
    assert "parity: = identical, ~ equal within rounding, x different, ? other" in text
    assert max(map(len, text.splitlines())) <= 80


def test_series_are_set_apart_in_words_and_single_runs_say_so():
    text = rendered([create_run(0), create_run(1, cores=4)])
    assert "series 2 of 2: 1 run, 2026-01-02 to 2026-01-02" in text
    assert "not joined with series 1: cores 4 rather than 2" in text
    assert text.count("One run: there is no other to compare it with yet") == 2


def test_many_differences_are_wrapped():
    other = create_run(1, cores=4)
    changed = {"lr": 0.5, "momentum": 0.25, "weight_decay": 0.125, "batch_size": 64}
    other.document.workload = other.document.workload.model_copy(update=changed)
    text = rendered([create_run(0), other])
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    assert "not joined with series 1: batch_size 64 rather than 32; lr 0.5 rather than" in words
    assert "cores 4 rather than 2" in words


def test_a_metric_that_no_run_has_is_said():
    text = rendered([create_run(0, graph_step_time_s=None)], ["speedup"])
    assert "These runs hold none of the metrics asked for" in text


def test_left_out_runs_are_listed():
    stopped = create_run(1)
    stopped.document.status = "failed"
    assert "left out: run-01: it is failed, not complete" in rendered([create_run(0), stopped])


def test_noise_stays_flat_and_only_the_newest_runs_are_shown():
    assert set(sparkline([0.08] * 6)) <= set("▄▅")
    long = sparkline([0.08] * (SHOWN_POINTS + 5))
    assert long.startswith("...") and len(long) == 3 + SHOWN_POINTS


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "no-such-encoding"])
def test_without_unicode_the_bars_are_ascii(encoding):
    line = sparkline([0.08] * 4 + [0.12] * 4, encoding)
    assert line.isascii() and line.index("|") == 4


def test_verdicts_have_marks_of_their_own():
    verdicts = ["identical", "equal within rounding", "different", "not judged"]
    assert "".join(map(mark_verdict, verdicts)) == "=~x?"
    runs = [create_run(0), create_run(1, loss_shift=1e-7)]
    (series,) = build_history(runs, ["parity"]).series
    assert draw_line(series.curves[0], "utf-8") == "=|?"
