from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from golden import assert_golden, shown
from records import create_events, create_record, create_speed_events

from oneflow_bench.bench.record.events import SetupEvent
from oneflow_bench.bench.record.run import RunRecord
from oneflow_bench.bench.report.before_after import compare_record
from oneflow_bench.bench.report.blocks import format_markdown
from oneflow_bench.bench.report.commands import describe_detectable
from oneflow_bench.bench.report.compare import (
    build_report,
    build_run_report,
    conclude,
    dump_comparisons,
    list_measurements,
    list_parity,
    list_speed,
)
from oneflow_bench.bench.report.comparison import (
    compare_contenders,
    summarize_contender,
)

LONG = "graph-fuse_add_to_output"
PICTURES = [Path("x/loss_difference.png"), Path("x/loss_difference.svg")]


def compare(*names, speed=None, max_abs=0.0, **third):
    sides = [
        create_events("eager", 0.12, noise=0.01),
        create_events("graph", 0.10, noise=0.01, compile_s=1.0),
        *(create_events(name, 0.10, noise=0.01, **third) for name in names),
    ]
    events = create_speed_events(0.12, 0.10, 0.12) if speed is None else speed
    record = create_record(*sides, max_abs=max_abs, more=events)
    return compare_record(record)


@pytest.fixture
def several():
    return compare(LONG, loss_shift=0.1, correct=80)


def terminal(comparisons, width=100, **given):
    return shown(build_report(comparisons, **given), width)


def markdown(comparisons, **given):
    return format_markdown(build_report(comparisons, **given))


def test_the_report_of_one_contender_is_as_stored():
    assert_golden("compare-report.md", markdown(compare(), pictures=PICTURES))


def test_the_report_of_several_contenders_is_as_stored(several):
    assert_golden("compare-several-report.md", markdown(several, pictures=PICTURES))


def test_a_report_has_both_answers_and_their_evidence():
    for text in (terminal(compare()), markdown(compare())):
        assert "Parity: identical. The losses of all 240 steps are bitwise equal." in text
        assert "Speed: faster. graph runs at 1." in text
        assert "whole 95 % interval is beyond 1 %" in text.replace("\n", " ")
        for label in ("control: the baseline", "sequential interval", "warm-up steps of the cont"):
            assert label in text
        for label in ("train images per second", "peak memory, MiB", "smallest detectable"):
            assert label in text


def test_an_inconclusive_run_says_what_it_could_have_detected_and_what_to_do():
    (one,) = compare(speed=create_speed_events(0.1, 0.1, 0.1, spread=0.07))
    speed = conclude(one)[1]
    assert speed.startswith("Speed: inconclusive. graph runs at ")
    assert "Identical processes differ by " in speed and "would have been detected." in speed
    told = re.search(
        r"`bench compare --continue test` would detect (\d+) % with `--budget (\d+)`", speed
    )
    assert told and int(told[1]) in (10, 5) and int(told[2]) > 8  # 8.1 s were measured
    assert "would have been detected" not in conclude(compare()[0])[1]


def test_a_difference_above_100_percent_is_no_practical_size():
    (one,) = compare(speed=create_speed_events(0.1, 0.1, 0.1, spread=0.07))
    judgement = one.speed.judgement.model_copy(update={"smallest_effect": 240327.9})
    speed = one.speed.model_copy(update={"judgement": judgement})
    text = describe_detectable(speed, "bench compare --continue results/a")
    assert "so no difference of practical size would have been detected." in text
    assert "24032" not in text


def test_step_times_that_contradict_the_verdict_say_what_they_are_of():
    said = "step times in the table are of the training"
    assert said not in terminal(compare()).replace("\n", " ")
    text = terminal(compare(speed=create_speed_events(0.1, 0.2, 0.1)), 200)
    assert said in text and "verdict of graph is of fresh processes" in text


def test_a_speed_phase_that_died_is_not_taken_for_one_that_was_not_asked_for():
    record = create_record(create_events("eager"), create_events("graph"))
    for asked in (True, False):
        measuring = record.document.measuring.model_copy(update={"speed": asked})
        record.document.measuring = measuring
        (one,) = compare_record(record)
        assert ("speed phase ended before its first" in one.speed_reason) == asked
        assert ("--no-speed" in one.speed_reason) == (not asked)


def test_a_run_of_too_few_processes_says_that_no_detectable_difference_is_known():
    (one,) = compare(speed=create_speed_events(0.1, 0.1, 0.1, replicates=1))
    speed = conclude(one)[1]
    assert "(no interval). Too few processes were measured" in speed
    assert speed.endswith("the smallest detectable difference is unknown.")


def test_a_verdict_that_cannot_be_reached_has_a_reason():
    record = create_record(create_events("eager"), create_events("graph", blocks=1))
    one = compare_contenders(record, "eager", record, "graph").model_copy(update={"speedup": None})
    text = terminal([one])
    assert "Speed: inconclusive." in text and " times the speed" not in text


def test_a_small_difference_is_shown_as_what_it_is():
    record = create_record(create_events("eager"), create_events("graph", loss_shift=3e-9))
    rows = list_parity(compare_contenders(record, "eager", record, "graph"))
    assert rows["largest loss difference"] == "3e-09"
    assert list_parity(compare()[0])["largest loss difference"] == "0 (bitwise equal)"
    rows = list_parity(compare(max_abs=3e-9)[0])
    assert rows["parameter difference, epoch 2"].startswith("3e-09 largest, ")


def test_markdown_links_the_pictures_as_png():
    text = markdown(compare(), pictures=PICTURES)
    assert "![loss difference](loss_difference.png)" in text and ".svg" not in text


def test_the_values_of_a_contender_have_their_units(several):
    rows = list_measurements(several[0].contender)
    assert rows["train step, ms"].startswith("100.") or rows["train step, ms"].startswith("99.")
    assert rows["compile, s"] == "1.00" and rows["peak memory, MiB"] == "400"
    speed = list_speed(several[0])
    assert speed["speedup, training"].startswith("1.") and "95 %" in speed["speedup, training"]
    assert speed["loader alone, ms a step"] == "1.00"
    assert speed["processes of each side"] == "4" and speed["interim analyses"] == "1"


def test_metrics_of_several_labels_are_in_percent_and_others_as_they_are(several):
    def list_own(**metrics):
        rows = list_measurements(several[0].contender.model_copy(update={"metrics": metrics}))
        return {name: value for name, value in rows.items() if "mAP" in name or "label" in name}

    assert list_own(mAP=0.25) == {"mAP": "0.25"}
    labels = {"mAP": 0.2424, "accuracy of label 0": 0.9, "accuracy of label 1": None}
    assert list(list_own(**labels).items())[:2] == [
        ("mAP, %", "24.2"),
        ("accuracy of label 0, %", "90.0"),
    ]


def test_a_run_without_a_training_has_no_empty_tables():
    record = create_record(create_events("eager"), create_events("graph"))
    record.events = create_speed_events(0.12, 0.10, 0.12)
    text = terminal(compare_record(record), 200)
    assert "Speed against eager" in text and "Speed: faster." in text
    assert "Parity: not judged. No training of both contenders was recorded; `bench" in text
    assert "Parity with eager" not in text and "loss" not in text


def test_many_epochs_show_their_last_accuracies():
    summary = summarize_contender(
        create_record(create_events("eager", blocks=2, epochs=7)), "eager"
    )
    assert list_measurements(summary)["accuracy by epoch, %"] == "... 90.0 90.0 90.0 90.0 90.0"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_width_hides_a_name_or_a_verdict(several, width):
    text = terminal(several, width)
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    assert "inconclusive" in text.split("Measurements")[0]  # whole, in the table
    words = text.replace("\n", "")
    for name, verdict in (("graph", "identical"), (LONG, "not judged")):
        assert f"Parity of {name}: {verdict}. " in words.replace(f"of {name}", f"of {name}")
    assert "Speed of graph: faster. graph runs at 1.2" in text.replace("\n", " ")


def test_a_note_on_the_machine_is_said_once_with_a_remedy():
    events = create_speed_events(0.12, 0.10, 0.12, major_faults=100)
    for comparisons in (compare(speed=events), compare("third", speed=events)):
        for text in (terminal(comparisons, 200), markdown(comparisons)):
            assert text.count("pages were read from disk") == 1 and "--batch-size" in text


def test_the_report_has_the_overview_and_every_comparison(several):
    text = markdown(several)
    assert text.startswith(
        "# alexnet\\_cifar: graph, graph-fuse\\_add\\_to\\_output against eager\n"
    )
    name = LONG.replace("_", "\\_")
    assert f"|  | eager | graph | {name} |" in text and f"|  | graph | {name} |" in text
    assert "| speedup, training | 1." in text and "share the processes of the baseline" in text


def test_one_contender_has_no_overview():
    pair = compare()
    assert markdown(pair).startswith("# alexnet\\_cifar: graph against eager\n")
    assert "share the processes" not in markdown(pair)
    assert json.loads(dump_comparisons(pair))["parity"] == "identical"


def test_several_contenders_are_a_list_in_json(several):
    first, second = json.loads(dump_comparisons(several))
    assert (first["contender"]["name"], second["contender"]["name"]) == ("graph", LONG)
    assert second["parity"] == "not judged" and "check" not in second


def test_a_run_that_was_cut_short_is_reported_so(several):
    whole = create_record(create_events("eager"), create_events("graph"))
    whole.document.status = "interrupted"
    partial = RunRecord(whole.document, whole.events[:3])
    cut = [one.model_copy(update={"status": ["interrupted"]}) for one in several]
    for comparisons in (compare_record(partial), cut):
        for text in (terminal(comparisons, 200), markdown(comparisons)):
            assert "Not every run is complete (interrupted)." in text
    assert "Speed: inconclusive" in terminal(compare_record(partial))


def test_two_records_carry_the_caveat():
    left, right = create_record(create_events("eager")), create_record(create_events("graph"))
    assert "did not take turns" in conclude(compare_contenders(left, "eager", right, "graph"))[1]


def test_a_single_run_has_its_table():
    summary = summarize_contender(create_record(create_events("eager")), "eager")
    text = shown(build_run_report(summary))
    assert text.startswith("alexnet_cifar: eager\n") and "90.0 90.0" in text


def test_versions_are_said_where_they_differ():
    record = create_record(create_events("eager"), create_events("old"))
    versions = {"eager": "0.9.0", "old": "0.8.0"}
    for number, event in enumerate(record.events):
        if isinstance(event, SetupEvent):
            about = {"oneflow": versions[event.contender], "python": "3.10.1"}
            record.events[number] = event.model_copy(update={"environment": about})
    comparisons = compare_record(record)
    for text in (markdown(comparisons), terminal(comparisons)):
        assert "eager: OneFlow 0.9.0, Python 3.10.1." in text
        assert "old: OneFlow 0.8.0, Python 3.10.1." in text
    assert "OneFlow" not in terminal(compare())
