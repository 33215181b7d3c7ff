from __future__ import annotations

import json

import pytest
from made_checks import (
    create_check,
    create_check_document,
    create_failed_check,
    create_inconclusive_check,
)

from oneflow_bench.bench.errors import InputError, RecordError
from oneflow_bench.bench.parity.baseline import (
    baseline_path,
    create_baseline,
    find_baseline,
    list_baselines,
    load_baseline,
    save_baseline,
)


def create(check=None, **document):
    return create_baseline(create_check_document(**document), check or create_check())


@pytest.fixture
def stored(tmp_path):
    save_baseline(create(), tmp_path / "b" / "lenet.json")
    return tmp_path / "b"


def test_a_baseline_is_read_as_it_was_written(stored):
    baseline = load_baseline(stored / "lenet.json")
    assert baseline == create()
    assert str(baseline.machine) == "A Processor 9000, 2 cores"
    assert [path.name for path in stored.iterdir()] == ["lenet.json"]


def test_a_check_from_a_late_start_gives_no_baseline():
    with pytest.raises(InputError, match="of lenet begins at step 13 and a baseline holds a whole"):
        create(create_check(start_step=12))


def test_a_file_is_for_people_too(stored):
    lines = (stored / "lenet.json").read_text().splitlines()
    assert ' "schema_version": 2,' in lines and '  "graph_ops": 50,' in lines


def test_a_check_without_an_end_makes_no_baseline():
    assert create(create_failed_check()) is None
    assert create(create_check(graph=None)) is None
    assert create(create_inconclusive_check()) is not None


def test_a_baseline_holds_no_folder_of_a_machine():
    workload = create_check().workload.model_copy(
        update={"data": "/home/me/digits", "teacher_checkpoint": "/home/me/t.npz"}
    )
    baseline = create(create_check(workload=workload))
    assert (baseline.workload.data, baseline.workload.teacher_checkpoint) == ("digits", "t.npz")
    assert "/home" not in baseline.model_dump_json()


def test_the_same_data_elsewhere_is_the_same_workload(tmp_path):
    here, there = (
        create_check().workload.model_copy(update={"data": f"/{place}/digits"})
        for place in ("here", "there")
    )
    save_baseline(create(create_check(workload=here)), tmp_path / "lenet.json")
    assert find_baseline(tmp_path, there).model == "lenet"


def test_a_model_of_ones_own_has_a_file_name(tmp_path):
    assert baseline_path(tmp_path, "mine.models:small") == tmp_path / "mine.models-small.json"
    assert baseline_path(tmp_path / "x.json", "lenet") == tmp_path / "x.json"


def test_a_folder_or_a_file_is_listed(stored):
    save_baseline(create(create_check("alexnet")), stored / "alexnet.json")
    assert list_baselines(stored) == ["alexnet", "lenet"]
    assert list_baselines(stored / "lenet.json") == ["lenet"]


def test_an_unknown_baseline_says_how_to_make_one(stored, tmp_path):
    with pytest.raises(
        InputError, match=r"no baseline at .*alexnet\.json .* bench baseline update"
    ):
        find_baseline(stored, create_check("alexnet").workload)
    with pytest.raises(InputError, match="no baseline in .*; make one"):
        list_baselines(tmp_path / "nowhere")


def test_another_workload_is_refused_with_what_is_different(stored):
    workload = create_check().workload.model_copy(update={"batch_size": 8, "seed": 3})
    message = "another workload: it has batch_size 4 and not 8, seed 0 and not 3; give the same"
    with pytest.raises(InputError, match=message):
        find_baseline(stored, workload)


def test_the_baseline_of_another_model_is_refused(stored):
    with pytest.raises(InputError, match="baseline of lenet and alexnet is checked"):
        find_baseline(stored / "lenet.json", create_check("alexnet").workload)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda raw: "{", "is not JSON; the baseline is damaged"),
        (
            lambda raw: json.dumps({**raw, "schema_version": 3}),
            "version 3, this program reads 1, 2",
        ),
        (lambda raw: json.dumps({**raw, "speed": 1}), "not a valid baseline: speed"),
        (lambda raw: json.dumps({**raw, "graph": None}), "not a valid baseline: graph"),
    ],
)
def test_a_damaged_baseline_is_one_sentence(stored, change, message):
    path = stored / "lenet.json"
    raw = json.loads(path.read_text())
    del raw["crc32"]
    path.write_text(change(raw))
    with pytest.raises(RecordError, match=message):
        find_baseline(stored, create_check().workload)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write .*lenet.json .* --baseline"):
        save_baseline(create(), tmp_path / "file" / "lenet.json")
