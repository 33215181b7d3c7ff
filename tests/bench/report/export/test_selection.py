from __future__ import annotations

import pytest
from records import create_events, create_record

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record.events import BlockEvent
from oneflow_bench.bench.record.run import RunRecord
from oneflow_bench.bench.report.export.selection import list_scalars, select_contenders


def test_all_contenders_are_named_and_one_asked_for_is_not(record):
    both = select_contenders([record], None)
    assert [one.benchmark_name("step") for one in both] == [
        "alexnet_cifar/step/eager",
        "alexnet_cifar/step/graph",
    ]
    (graph,) = select_contenders([record], "graph")
    assert graph.contender.name == "graph"
    assert graph.benchmark_name("step") == "alexnet_cifar/step"


def test_several_runs_are_told_apart_by_folder_or_by_id(record, tmp_path):
    def at(folder, run_id):
        document = record.document.model_copy(update={"run_id": run_id})
        return RunRecord(document, record.events, tmp_path / folder)

    by_folder = select_contenders([at("a", "x"), at("b", "x")], "eager")
    assert [one.run for one in by_folder] == ["a", "b"]
    by_id = select_contenders([at("1/run", "x"), at("2/run", "y")], "eager")
    assert [one.run for one in by_id] == ["x", "y"]
    with pytest.raises(InputError, match="run x was given more than once"):
        select_contenders([at("a", "x"), at("a", "x")], None)


def test_an_unknown_contender_is_refused_with_those_there_are(record):
    with pytest.raises(InputError, match="no contender tuned; give --contender one of eager, g"):
        select_contenders([record], "tuned")


def test_the_scalars_are_those_of_the_record(record):
    graph = select_contenders([record], None)[1]
    scalars = {scalar.name: scalar for scalar in list_scalars(graph)}
    assert scalars["train_step_time_s"].value == pytest.approx(0.08, rel=0.02)
    assert scalars["train_step_time_s"].low < scalars["train_step_time_s"].high
    assert scalars["eval_step_time_s"].value == pytest.approx(0.1)
    assert scalars["compile_s"].value == 0.5
    assert scalars["peak_rss_bytes"].value == 400 * 2**20
    assert scalars["validation_error"].value == pytest.approx(0.1)


def test_a_record_cut_short_gives_what_it_holds():
    whole = create_record(create_events("eager", compile_s=0.5))
    (only_setup,) = select_contenders([RunRecord(whole.document, whole.events[:1])], None)
    assert [scalar.name for scalar in list_scalars(only_setup)] == ["compile_s"]
    with pytest.raises(InputError, match="no steady blocks of eager"):
        only_setup.list_step_times()


def test_only_steady_blocks_have_a_step_time_to_export(record):
    (graph,) = select_contenders([record], "graph")
    first, *steady = record.of_kind(BlockEvent, "graph")
    assert graph.blocks == [first, *steady] and first.kind == "first"
    assert graph.list_step_times() == [block.duration_s / block.steps for block in steady]
