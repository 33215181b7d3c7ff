from __future__ import annotations

import shutil

import pytest

from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.checks import check_accumulation, check_cores, choose_val_batch_size
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.data import default_dataset_path, load_dataset, reshard_dataset

SMALL = {"model": "lenet", "readers": 2}


def contender(**fields):
    return Contender(name="x", mode="graph", **fields)


def test_ranks_above_the_cores_are_allowed_on_request_only():
    check_cores(2, 2, oversubscribe=False)
    check_cores(3, 2, oversubscribe=True)
    with pytest.raises(InputError, match="3 ranks on 2 usable cores .*or say --oversubscribe"):
        check_cores(3, 2, oversubscribe=False)
    with pytest.raises(InputError, match="on 1 usable core would"):
        check_cores(2, 1, oversubscribe=False)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"batch_size": 31}, "--batch-size 31 cannot be shared evenly by 2 ranks; give 30 or 32"),
        ({"batch_size": 1}, "--batch-size 1 .*; give 2$"),
        ({"val_batch_size": 45}, "--val-batch-size 45 cannot .* give 44 or 46"),
        ({"batch_size": 6, "accumulation_steps": 2},
         "--accumulation-steps 2 does not divide the batch of each of 2 ranks, 3 images; "
         "give a --batch-size that is a multiple of 4"),
    ],
)  # fmt: skip
def test_batches_that_cannot_be_shared_are_refused_with_what_can(given, words):
    with pytest.raises(InputError, match=words) as info:
        create_plan({**SMALL, **given})
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("readers, size", [(1, 120), (2, 120), (7, 119), (16, 112)])
def test_a_validation_batch_that_was_not_given_can_be_shared(readers, size):
    plan = create_plan({**SMALL, "readers": readers, "batch_size": 10 * readers})
    assert plan.workload.val_batch_size == size
    assert plan.workload.readers == readers


def test_fewer_validation_images_than_readers_are_refused():
    assert choose_val_batch_size(5, 2) == 4
    with pytest.raises(InputError, match="has 3 images and each of 4 ranks needs one"):
        choose_val_batch_size(3, 4)


def test_part_files_that_cannot_be_shared_are_refused_with_the_command(tmp_path):
    folder = tmp_path / "digits"
    shutil.copytree(default_dataset_path(), folder)
    parts = len(load_dataset(folder).train.part_files)
    readers = parts + 1
    given = {**SMALL, "data": str(folder), "readers": readers, "batch_size": 2 * readers}
    with pytest.raises(InputError, match=f"bench data reshard .* --parts {readers} --out"):
        create_plan(given)
    reshard_dataset(folder, readers, tmp_path / "new")
    assert create_plan({**given, "data": str(tmp_path / "new")}).workload.readers == readers
    embedded = create_plan({**given, "data": Workload().data})  # which each run reshards itself
    assert embedded.workload.readers == readers


def test_contenders_own_parts_must_divide_the_batch_of_a_rank():
    check_accumulation(Workload(batch_size=32), [contender(accumulation_steps=4, ranks=2)])
    check_accumulation(Workload(batch_size=6), [contender(accumulation_steps=2)])
    with pytest.raises(InputError, match="contender x: accumulation_steps=2 .* 2 ranks, 3 images"):
        check_accumulation(Workload(batch_size=6), [contender(accumulation_steps=2, ranks=2)])
    with pytest.raises(InputError, match="does not divide the batch, 3 images"):
        check_accumulation(Workload(batch_size=6), [contender(accumulation_steps=2, batch_size=3)])
    with pytest.raises(InputError, match="with --feed graph none is"):
        check_accumulation(Workload(feed="graph"), [contender(accumulation_steps=2)])
