from __future__ import annotations

import json

import pytest
from fakes import create_writer
from records import create_events, edit_document

from oneflow_bench.bench.errors import InputError, RecordError
from oneflow_bench.bench.record.events import BlockEvent, EvalEvent
from oneflow_bench.bench.record.run import load_record, save_text, write_atomically

SIDE = {"name": "x", "mode": "eager"}


@pytest.fixture
def folder(tmp_path):
    writer = create_writer(tmp_path / "run")
    for event in create_events("eager", blocks=3):
        writer.append(event)
    writer.close()
    return tmp_path / "run"


def test_what_is_written_is_read_back(folder):
    events = load_record(folder).events
    assert events == create_events("eager", blocks=3)
    assert load_record(folder / "record.json").events == events


def test_several_events_are_written_in_their_order_and_at_once(folder, tmp_path):
    writer = create_writer(tmp_path / "other")
    writer.append(*create_events("eager", blocks=3))
    samples = tmp_path / "other" / "samples.jsonl"
    assert samples.read_text() == (folder / "samples.jsonl").read_text()
    writer.append()
    assert samples.read_text() == (folder / "samples.jsonl").read_text()
    writer.close()


def test_a_run_that_was_killed_is_read_up_to_the_kill(folder):
    samples = folder / "samples.jsonl"
    whole = samples.read_text()
    samples.write_text(whole[: int(len(whole) * 0.6)])
    record = load_record(folder)
    assert 0 < len(record.events) < len(create_events("eager", blocks=3))


def test_damage_in_the_middle_is_an_error_with_its_line(folder):
    samples = folder / "samples.jsonl"
    lines = samples.read_text().splitlines(keepends=True)
    lines[1] = '{"event": "block"\n'
    samples.write_text("".join(lines))
    with pytest.raises(RecordError, match="line 2"):
        load_record(folder)


@pytest.mark.parametrize(
    "text, message",
    [
        ("no json", "is not JSON"),
        ("[]", "has no schema_version, so it is not a record; give a folder made by bench"),
        ('{"schema_version": 99}', "schema version 99, this program reads 1"),
        ('{"schema_version": 1}', "not a valid record: run_id"),
    ],
)
def test_an_unreadable_document_is_one_sentence(folder, text, message):
    (folder / "record.json").write_text(text)
    with pytest.raises(RecordError, match=message) as info:
        load_record(folder)
    assert info.value.exit_status == 2


def test_a_changed_digit_and_a_missing_moved_or_doubled_line_are_noticed(folder):
    samples = folder / "samples.jsonl"
    lines = samples.read_text().splitlines(keepends=True)
    changed = [lines[0], lines[1].replace('"cpu_s":0.5', '"cpu_s":0.6'), *lines[2:]]
    for damaged in (
        changed, lines[:1] + lines[2:], [lines[1], lines[0], *lines[2:]], lines[:2] + lines[1:]
    ):  # fmt: skip
        assert damaged != lines
        samples.write_text("".join(damaged))
        with pytest.raises(RecordError, match="line [1-3] is not a sample .* was changed"):
            load_record(folder)


def test_samples_that_a_complete_run_lost_are_told(folder):
    document, samples = folder / "record.json", folder / "samples.jsonl"
    edit_document(document, status="complete")
    lines = samples.read_text().splitlines(keepends=True)
    samples.write_text("".join(lines)[:-1])
    assert len(load_record(folder).events) == len(lines)  # only the newline is gone
    for left in ("".join(lines)[:-9], "".join(lines[:-1]), ""):
        samples.write_text(left)
        with pytest.raises(RecordError, match="lacks samples .* and delete crc32"):
            load_record(folder)
    edit_document(document, status="interrupted")
    assert load_record(folder).events == []


def test_a_record_without_checksums_is_read_and_no_line_may_stand_twice(folder):
    document, samples = folder / "record.json", folder / "samples.jsonl"
    edit_document(document, schema_version=5)
    lines = [event.model_dump_json() + "\n" for event in create_events("eager", blocks=3)]
    samples.write_text("".join(lines))
    assert len(load_record(folder).events) == len(lines)
    samples.write_text("".join(lines[:3] + lines[2:]))
    with pytest.raises(RecordError, match=r"line 4 .*\(an earlier line is the same"):
        load_record(folder)


@pytest.mark.parametrize(
    "kind, change",
    [
        (EvalEvent, {"samples": 0}),
        (EvalEvent, {"correct": 101}),
        (EvalEvent, {"duration_s": -0.1}),
        (BlockEvent, {"steps": 0}),
        (BlockEvent, {"duration_s": 0.0}),
        (BlockEvent, {"duration_s": 1e300}),
        (BlockEvent, {"cpu_s": float("nan")}),
        (BlockEvent, {"losses": [float("inf")]}),
        (BlockEvent, {"epoch": -1}),
    ],
)
def test_values_have_ranges(kind, change):
    values = next(dict(e) for e in create_events("eager", blocks=3) if isinstance(e, kind))
    kind(**values)
    with pytest.raises(ValueError, match=next(iter(change)).split("_")[0]):
        kind(**{**values, **change})


def test_samples_that_are_not_text_are_one_sentence(folder):
    (folder / "samples.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(RecordError, match="line 1 is not a sample"):
        load_record(folder)


def test_a_missing_record_says_what_to_give(tmp_path, folder):
    with pytest.raises(RecordError, match="give a folder made by bench"):
        load_record(tmp_path / "nothing")
    (folder / "samples.jsonl").unlink()
    with pytest.raises(RecordError, match="no samples"):
        load_record(folder)


def test_a_folder_that_exists_or_cannot_be_written_is_refused(folder, tmp_path):
    before = json.loads((folder / "record.json").read_text())
    with pytest.raises(InputError, match="exists already"):
        create_writer(folder)
    assert json.loads((folder / "record.json").read_text()) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write .* --out"):
        create_writer(tmp_path / "file" / "run")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "x.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_text_that_cannot_be_saved_is_bad_input_with_its_remedy(tmp_path):
    save_text(tmp_path / "x", "text", "give another")
    assert (tmp_path / "x").read_text() == "text"
    with pytest.raises(InputError, match=r"cannot write .*\(No such file or directory\); give"):
        save_text(tmp_path / "nowhere" / "x", "text", "give another")


@pytest.mark.parametrize(
    "field, value, said",
    [
        (
            "environment_start",
            {"project": -1},
            "environment_start: .*project is -1: Input should be a valid dictionary",
        ),
        ("environment_end", {"cpu": 1}, "environment_end: .*cpu is 1"),
        ("environment_start", {"load": "high"}, "environment_start: .*load is 'high'"),
        ("environment_start", {"load": [1.0, "high"]}, "environment_start: .*load.1 is 'high'"),
        ("environment_start", {"cpu": {"cores": "two"}}, r"cpu\.cores is 'two': .* valid integer"),
        ("environment_start", {"cpu": {"model": 7}}, r"cpu\.model is 7: .* valid string"),
        ("environment_start", {"cpu": {"flags": "avx2"}}, r"cpu\.flags is 'avx2': .* valid list"),
        ("environment_start", {"project": {"branch": 1}}, r"project\.branch is 1: .* valid string"),
        ("environment_start", {"variables": {"OMP": 2}}, r"variables\.OMP is 2: .* valid string"),
        ("environment_start", {"blas_kernel": {"eager": 3}}, r"blas_kernel\.eager is 3: "),
        ("steps_per_epoch", 0, "steps_per_epoch: .* greater than or equal to 1"),
        ("train_samples", -1, "train_samples: .* greater than or equal to 0"),
        ("created", "yesterday", "created: Value error, Invalid isoformat"),
        ("run_id", "../../home", "run_id: String should match pattern"),
        ("run_id", "a\x1b[2J", "run_id: String should match pattern"),
        ("contenders", [SIDE, SIDE], "contenders: .*two contenders are called x"),
        (
            "contenders",
            [{**SIDE, "name": "../x"}],
            r"contenders: .*'\.\./x' is no name of",
        ),
        ("contenders", [{**SIDE, "name": "<b>"}], "contenders: .*'<b>' is no name of a contender"),
    ],
)
def test_a_document_with_a_value_of_a_wrong_kind_is_damaged(folder, field, value, said):
    path = folder / "record.json"
    edit_document(path, **{field: value})
    with pytest.raises(RecordError, match=said):
        load_record(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"schema_version": 5, "contenders": []}'])
def test_a_record_that_nests_too_deep_or_has_no_contender_is_damaged(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    (tmp_path / "samples.jsonl").touch()
    with pytest.raises(RecordError, match="record"):
        load_record(tmp_path)
