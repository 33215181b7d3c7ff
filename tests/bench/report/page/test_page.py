from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from checked_html import Page
from records import create_events, create_rank_record, create_record, create_speed_events

from oneflow_bench.bench import distributed  # noqa: F401 - registers the blocks of ranks
from oneflow_bench.bench.config import STEP_DATA
from oneflow_bench.bench.record.events import BlockEvent
from oneflow_bench.bench.record.run import RunRecord
from oneflow_bench.bench.report.before_after import build_runs_report as build_runs
from oneflow_bench.bench.report.before_after import compare_record, compare_runs
from oneflow_bench.bench.report.blocks import Heading
from oneflow_bench.bench.report.page.figures import draw_charts, draw_forest
from oneflow_bench.bench.report.page.render import advise, render_page, render_record
from oneflow_bench.bench.report.pictures import PICTURES
from oneflow_bench.bench.report.rows import (
    MEASURED,
    explain,
    list_measurements,
    list_parity,
    list_speed,
)

EVIL = "</script><script>alert(1)</script>"
MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def record():
    return create_record(
        create_events("eager", 0.12, noise=0.01),
        create_events("graph", 0.10, noise=0.01, compile_s=1.0, loss_shift=1e-7),
        max_abs=1e-8,
        more=create_speed_events(0.12, 0.10, 0.12),
    )


@pytest.fixture(scope="module")
def comparison(record):
    return compare_record(record)[0]


@pytest.fixture(scope="module")
def page(record, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    for name in PICTURES:
        (folder / f"{name}.png").write_bytes(b"a picture")
    return render_record(record, sorted(folder.iterdir()))


def read_charts(page):
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.S)
    return json.loads(found.group(1))


def test_a_page_is_whole_and_loads_nothing(page):
    read = Page(page)
    assert read.list_requests() == []
    assert not re.search(r"@import|url\((?!data:)|fetch\(|XMLHttpRequest|WebSocket", page)
    assert "default-src 'none'" in page
    assert len(page.encode()) < MOST_BYTES


def test_a_page_can_be_read_without_a_script(page, comparison):
    read = Page(page)
    for words in (
        "Not judged", "Faster, which counts once it is faithful", "Control: eager against",
        "recorded losses differ from step 1 on", "train step, ms", "peak memory",
        "compilation pays for itself", "bench compare", "processor",
    ):  # fmt: skip
        assert words in read.text, words
    images = read.of("img")
    assert len(images) == len(read.of("figure")) == 7
    assert all(image["alt"] and image["src"].startswith("data:image/png") for image in images)


def test_every_heading_is_below_the_title_and_every_header_has_a_scope(page):
    read = Page(page)
    assert len(read.of("h1")) == 1
    assert all(header.get("scope") for header in read.of("th"))
    assert {"lang": "en"} in read.of("html")
    assert all(region["tabindex"] == "0" for region in read.of("div") if region.get("role"))


def test_names_of_users_are_text(record, comparison):
    document = record.document.model_copy(deep=True)
    contenders = [document.contenders[0], document.contenders[1].model_copy(update={"name": EVIL})]
    document.contenders = contenders
    document.error = EVIL
    document.run_id = "r\udce4d"  # bytes that are no text
    renamed = [
        event.model_copy(update={"contender": EVIL})
        if getattr(event, "contender", "") == "graph"
        else event
        for event in record.events
    ]
    shown = render_record(RunRecord(document, renamed), [])
    assert "<script>alert" not in shown
    assert read_charts(shown)[0]["curves"][1]["label"] == EVIL
    assert EVIL in Page(shown).text
    assert shown.encode()


def test_a_run_of_one_mode_has_no_verdict(tmp_path):
    alone = create_record(create_events("eager"))
    read = Page(render_record(alone, []))
    assert "The same model?" not in read.text and "Measurements" not in read.text
    assert "train steps" in read.text and "Training loss" in read.text


def test_a_run_that_failed_says_so_first():
    failed = create_record(create_events("eager"), create_events("graph"))
    failed.document.status, failed.document.error = "failed", "graph ended: <signal 9>"
    failed.events = []
    text = Page(render_record(failed, [])).text
    assert text.index("failed") < text.index("The same model?")
    assert "graph ended: <signal 9>" in text


def test_ranks_have_their_blocks_on_the_page():
    read = Page(render_record(create_rank_record(), []))
    assert "ddp" in read.text and "scaling" in read.text


def test_two_stored_runs_have_a_page(record):
    found = compare_runs(record, record)
    read = Page(render_page([record, record], build_runs(found), found.comparisons))
    assert "(before)" in read.text and read.list_requests() == []


def test_every_number_says_how_it_is_measured(comparison):
    sides = (comparison.baseline, comparison.contender)
    labels = [label for side in sides for label in list_measurements(side)]
    labels += [
        *list_speed(comparison),
        *list_parity(comparison),
        "energy of the baseline, J a step",
    ]
    labels.append("processor time of the controller")
    assert [label for label in labels if not explain(label)] == []
    assert [key for key in MEASURED if not any(label.startswith(key) for label in labels)] == []
    assert explain("a row of another table") == ""


@pytest.mark.parametrize(
    "parity, speed, expected, words",
    [
        ("identical", "faster", False, ["Train with graph."]),
        ("identical", "slower", False, ["Train with eager.", "bench tune"]),
        ("equal within rounding", "equivalent", False, ["Choose either."]),
        ("different", "faster", False, ["Do not train with graph", "bench check"]),
        ("different", "faster", True, ["OneFlow is known to differ", "Train with graph."]),
        ("not judged", "inconclusive", False, ["bench check --model", "--budget"]),
        ("inconclusive", "slower", False, ["Parity is open", "Train with eager."]),
    ],
)
def test_each_pair_of_verdicts_has_a_next_step(comparison, record, parity, speed, expected, words):
    update = {"parity": parity, "speed_verdict": speed, "parity_expected": expected}
    told = " ".join(advise(comparison.model_copy(update=update), record.document))
    assert all(word in told for word in words), told


def test_the_next_step_is_a_command_that_works_for_a_training_step(comparison, record):
    one = comparison.model_copy(update={"parity": "different"})
    document = record.document.model_copy(deep=True)
    step = {"model": "my_file:late", "data": STEP_DATA}
    document.workload = document.workload.model_copy(update=step)
    assert "`bench check my_file:late`" in advise(one, document)[0]


@pytest.mark.parametrize("limit, flag", [(24, ""), (2, " --replicates 3")])
def test_too_few_processes_have_a_command_that_adds_some(limit, flag):
    few = create_speed_events(0.1, 0.1, 0.1, replicates=1)
    folder = Path("results/my run")
    made = create_record(create_events("eager"), create_events("graph"), folder=folder, more=few)
    made.document.measuring = made.document.measuring.model_copy(update={"replicates": limit})
    (one,) = compare_record(made)
    told = advise(one, made.document)[-1]
    assert re.search(rf"`bench compare --continue .results/my run. --budget \d+{flag}`", told), told
    assert ("--budget" in one.speed_reason) == (not flag)


def test_without_a_speed_phase_there_is_no_forest(comparison, record):
    one = comparison.model_copy(update={"speed": None, "speed_verdict": "inconclusive"})
    assert draw_forest([one], 0.01) is None
    assert "with its speed phase" in advise(one, record.document)[-1]


def test_the_forest_keeps_the_order_of_the_ratios(comparison):
    forest = draw_forest([comparison], 0.01)
    ours, control = forest.rows
    assert control.is_control and not ours.is_control
    assert forest.margin[0] < forest.one < forest.margin[1] < ours.at
    assert ours.whiskers[0] < ours.interval[0] < ours.at < ours.interval[1] < ours.whiskers[1]
    for row in forest.rows:
        assert row.whiskers[0] > 0 and row.whiskers[1] < 100
    assert all(0 < at < 100 for at, _ in forest.ticks) and len(forest.ticks) > 1


def test_a_chart_holds_what_the_picture_shows(record):
    charts = {chart["name"]: chart for chart in draw_charts([record])}
    loss, difference = charts["loss"], charts["loss_difference"]
    assert [curve["label"] for curve in loss["curves"]] == ["eager", "graph"]
    assert loss["curves"][0]["x"][:3] == [0, 1, 2] and len(loss["curves"][0]["y"]) == 240
    assert difference["log"] and difference["curves"][0]["marks"]
    assert len(charts["step_times"]["curves"]) == 2  # and not the boxes beside them
    assert {chart["curves"][0]["style"] for chart in (loss, difference)} == {0, 1}


def test_a_million_steps_are_thinned():
    losses = np.linspace(2.0, 0.0, 1_000_000).tolist()
    losses[500_000] = None
    sides = []
    for name, shift in (("eager", 0.0), ("graph", 1e-7)):
        first, *rest = create_events(name)
        block = next(event for event in rest if type(event) is BlockEvent)
        shifted = [None if loss is None else loss + shift for loss in losses]
        long = block.model_copy(update={"losses": shifted, "steps": len(losses)})
        sides.append([first, long, rest[-1]])
    page = render_page([create_record(*sides)], [Heading("long")])
    assert len(page.encode()) < 500_000
    loss = read_charts(page)[0]["curves"][0]
    assert 1000 < len(loss["x"]) <= 3000
    assert loss["x"][0] == 0 and loss["x"][-1] == 999_999
    assert None in loss["y"]
