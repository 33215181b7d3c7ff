"""The study of planted faults: its catalogue, and one fault planted for real."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def study():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import parity_quality
    finally:
        sys.path.remove(str(BENCHMARKS))
    return parity_quality


@pytest.mark.oneflow
def test_the_catalogue_names_each_fault_once_and_has_kinds_enough(study):
    from oneflow_bench.bench.parity.result import LEVELS

    names = [fault.name for fault in study.FAULTS]
    assert len(set(names)) == len(names)
    assert len({fault.kind for fault in study.FAULTS}) >= 24
    assert all(fault.levels and set(fault.levels) <= set(LEVELS) for fault in study.FAULTS)


@pytest.mark.oneflow
def test_each_kind_of_an_own_model_runs_eagerly_and_its_fault_stays_out_of_eager_mode(
    study, monkeypatch
):
    import oneflow as flow
    from faults import own

    planted = [kind for kind in own.KINDS.values() if not kind.is_control]
    assert own.FROZEN in {kind.cause for kind in planted} and len(planted) < len(own.KINDS)
    assert sum(kind.doors == own.DOORS for kind in planted) >= 80
    for name in set(own.KINDS) - {own._RESNET}:
        monkeypatch.setenv(own.VARIABLE, name)
        model = own.model().train()
        optimizer = own.create_optimizer(model)
        own.loss(model(flow.randn(4, 3, 32, 32)), flow.arange(4)).backward()
        optimizer.step()
        with flow.no_grad():
            assert model.eval()(flow.randn(4, 3, 32, 32)).shape == (4, 10), name


@pytest.mark.parametrize(
    "level, name, named",
    [
        ("forward", "block", True),
        ("eval forward", "block", True),
        ("gradients", "block", False),
        ("forward", "head", False),
        (None, None, False),
    ],
)
def test_a_kind_is_named_by_level_and_tensor(study, level, name, named):
    from faults import doors, own

    kind = own.KINDS["activation skipped"]
    assert doors._is_named(kind, level, name, "block") is named


CAUSE = {
    "random operator": "random operator: the modes draw different numbers (dropout in block). Rem",
    "frozen at trace time": "forward changes block.calls (0 -> 1); a graph keeps the value that it",
    "hooks": "forward hooks of block.conv do not run in a graph. Remedy: call",
    "does not compile": "own:model: forward cannot be compiled at /a/own_state.py:7: `if x:`: P",
}


@pytest.mark.parametrize(
    "kind, status, cause, levels, expected",
    [
        ("layer drop", 1, "frozen at trace time", True, (True, True, True, False)),
        ("layer drop", 1, None, True, (True, True, False, False)),
        ("layer drop", 1, "hooks", True, (True, True, False, True)),
        ("layer drop", 1, None, False, (False, False, None, False)),  # an error is no verdict
        ("layer drop", 0, None, True, (False, False, None, False)),
        ("layer drop", 4, None, True, (False, False, None, False)),
        ("sign turned", 1, "hooks", True, (True, False, None, True)),  # at another level
        ("noise by rand", 3, "random operator", False, (True, True, True, False)),
        ("branch on a tensor", 2, "does not compile", False, (True, True, True, False)),
        ("branch on a tensor", 2, None, False, (True, False, False, False)),
        ("control: convolution", 0, None, False, (True, True, None, False)),
        ("control: convolution", 1, None, True, (False, False, None, False)),
    ],
)
def test_a_row_counts_a_verdict_and_the_causes_by_their_sentences(
    study, monkeypatch, kind, status, cause, levels, expected
):
    from faults import doors, own

    text = CAUSE.get(cause, "a report")
    first = {"level": "loss curve", "name": "losses to step 2"}
    found = json.dumps({"levels": [{"first_different": first}]}) if levels else "{}"
    monkeypatch.setattr(doors, "_run", lambda command, kind: (status, text))
    monkeypatch.setattr(doors, "_read_documents", lambda folder: [found])
    row = doors.run_door(own.KINDS[kind], "check")
    assert tuple(row[k] for k in ("found", "named", "right_cause", "wrong_cause")) == expected


def test_a_gradient_is_named_by_the_module_in_whose_backward_pass_it_parts(study, monkeypatch):
    from faults import doors, own

    first = {"level": "gradients", "name": "stem output gradient"}
    reason = "stem output gradient differs; the modes begin to differ in the backward pass of block"
    for said, named in ((reason, True), ("stem output gradient differs", False)):
        line = json.dumps({"reason": said, "levels": [{"first_different": first}]})
        monkeypatch.setattr(doors, "_run", lambda command, kind, line=line: (1, line))
        assert doors.run_door(own.KINDS["gradient halved"], "assert")["named"] is named


def test_the_confusion_table_counts_by_door_and_lists_what_is_wrong(study):
    from faults.doors import write_confusion

    right = {
        "kind": "layer drop", "door": "check", "verdict": "status 1", "reason": "loss curve: x",
        "found": True, "named": True, "cause": "frozen", "causes": ["frozen"], "control": False,
        "right_cause": True, "wrong_cause": False, "with_script": True, "script": "x.py",
    }  # fmt: skip
    missed = {**right, "kind": "spectral norm", "verdict": "status 0", "found": False,
              "named": False, "causes": [], "right_cause": None, "script": None}  # fmt: skip
    misled = {**right, "door": "assert", "causes": ["hook"], "right_cause": False,
              "wrong_cause": True, "with_script": False, "script": None}  # fmt: skip
    control = {**right, "kind": "control: convolution", "control": True, "cause": None}
    lines = write_confusion([right, missed, misled, control])
    assert lines[2].startswith("2 kinds with a fault, 3 rows. Beside these, 1 of 1 controls")
    assert "| check | 2 | 1 (50.0%) | 1 (50.0%) | 1 of 2 | 1 | 0 | 0 |" in lines
    assert "| assert | 1 | 1 (100.0%) | 1 (100.0%) | 0 of 1 | 0 | 1 | 0 |" in lines
    assert "A script was searched for 2 rows of `bench check`, every 8th kind. 1" in "".join(lines)
    assert any("By assert, 1 cannot be planted: accumulation not averaged." in x for x in lines)
    assert "| spectral norm | check | status 0 | loss curve: x |  | frozen |" in lines
    assert "| layer drop | assert | yes | loss curve: x | hook | frozen |" in lines


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.parametrize("door", ["check", "assert"])
def test_a_fault_of_an_own_model_is_found_by_its_doors(study, door):
    from faults import doors, own

    row = doors.run_door(own.KINDS["activation times a slope"], door)
    assert row["found"] and row["named"] and row["name"] == "block", row["text"]
    assert row["script"] is None or row["script"].endswith("reproduce-block.py")


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_planted_fault_is_found_where_it_is(study):
    fault = next(f for f in study.FAULTS if f.name == "ReLU with a slope/lenet/classifier.3/0.0001")
    row = study.plant(fault)
    assert row["detected"] and row["right_name"] and row["name"] == "classifier.3"
    assert row["isolated_layer"] == "reproduced"


def test_a_study_goes_on_where_it_stopped_and_keeps_failures(study, tmp_path):
    from oneflow_bench.bench.errors import WorkerError

    ran = []

    def run(number):
        ran.append(number)
        if number == 2:
            raise WorkerError("died", "last words")
        return {"verdict": "identical", "reason": "equal"}

    stored = tmp_path / "rows.jsonl"
    study.run_study(stored, [("a", (1,)), ("b", (2,))], run)
    study.run_study(stored, [("a", (1,)), ("b", (2,)), ("c", (3,))], run)
    assert ran == [1, 2, 3]
    rows = study.load_rows(stored)
    assert [row["case"] for row in rows] == ["a", "b", "c"]
    assert rows[1]["error"] == "died" and rows[1]["log_tail"] == "last words"
