from __future__ import annotations

import shutil

import numpy as np
import pytest
from fakes import create_document
from records import edit_document

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.record.checkpoint import TrainingState, save_training_state, save_weights
from oneflow_bench.bench.record.run import RecordWriter
from oneflow_bench.data import default_dataset_path, load_dataset

STATE = {"w": np.zeros(1, np.float32)}


@pytest.fixture
def run(tmp_path):
    """A run of one epoch on data that were then moved from `before` to `after`."""
    shutil.copytree(default_dataset_path(), tmp_path / "before")
    plan = create_plan({"data": str(tmp_path / "before"), "model": "lenet", "epochs": 1})
    document = create_document(("eager",))
    document.environment_start = {"data_checksum": plan.dataset.checksum}
    RecordWriter(tmp_path / "run", document).close()
    weights = tmp_path / "run" / "checkpoints" / "eager" / "last.safetensors"
    save_weights(STATE, weights, {})
    state = TrainingState(
        optimizer=STATE,
        step=plan.steps_per_epoch,
        epoch=1,
        workload=plan.workload.model_dump(),
        steps_per_epoch=plan.steps_per_epoch,
    )
    save_training_state(state, weights)
    (tmp_path / "before").rename(tmp_path / "after")
    return tmp_path / "run"


@pytest.mark.parametrize("what", [".", "checkpoints/eager/last.safetensors"])
def test_moved_data_are_known_by_their_checksum(run, what):
    flags = {"resume": str(run / what), "epochs": 2}
    with pytest.raises(InputError, match="data are not in .*before; give --data"):
        create_plan(flags)
    plan = create_plan({**flags, "data": str(run.parent / "after")})
    assert plan.start_epoch == 1 and plan.workload.data == str(run.parent / "after")


def test_other_data_and_a_record_without_a_checksum_are_refused(run):
    flags = {"resume": str(run), "epochs": 2, "data": str(run.parent / "after")}
    index = run.parent / "after" / "index.json"
    index.rename(run.parent / "index.json")  # the same files, and so the same checksum
    assert load_dataset(run.parent / "after").checksum == create_plan(flags).dataset.checksum
    (run.parent / "index.json").rename(index)
    for environment, reason in (
        ({"data_checksum": "0"}, "checksum is"),
        ({"other": "0"}, "holds no checksum"),
    ):
        edit_document(run / "record.json", environment_start=environment)
        with pytest.raises(InputError, match=reason):
            create_plan(flags)
