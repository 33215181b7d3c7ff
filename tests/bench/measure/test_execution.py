from __future__ import annotations

import pytest
from fakes import Clock, FakeSpeedWorker, FakeWorker, create_document

from oneflow_bench.bench.config import Contender, Measuring
from oneflow_bench.bench.errors import InputError, Interrupted, WorkerError
from oneflow_bench.bench.measure.execution import execute_plan, execute_speed
from oneflow_bench.bench.plan.plan import SUBSET_FOLDER, create_plan
from oneflow_bench.bench.record.events import BlockEvent, InterimAnalysisEvent, SpeedBlockEvent
from oneflow_bench.bench.record.run import Document, load_record


def execute(folder, fail_at=None, **flags):
    """A run of one contender; the record, and the datasets that its worker was given."""
    clock, seen = Clock(), []

    class Worker(FakeWorker):
        def ask(self, call, timeout_s, **request):
            if call == "setup":
                seen.append(request["dataset"])
            return super().ask(call, timeout_s, **request)

    plan = create_plan({"model": "lenet", "epochs": 1, "steps_per_epoch": 12, **flags})
    document = Document(
        run_id="test",
        command="eager",
        created="2026-01-01T00:00:00+00:00",
        workload=plan.workload,
        measuring=Measuring(block_steps=2),
        contenders=[Contender(name="eager", mode="eager")],
        train_samples=plan.train_samples,
        val_samples=plan.val_samples,
        steps_per_epoch=plan.steps_per_epoch,
    )

    def launch(contender):
        return Worker(contender.name, clock, [], fail_at=fail_at)

    return execute_plan(plan, document, folder, launch, lambda *shown: None), seen


def test_what_is_returned_is_what_is_stored(tmp_path):
    record, _ = execute(tmp_path / "run", data="synthetic")
    assert record.document.status == "complete"
    assert record.events == load_record(tmp_path / "run").events
    assert sum(block.steps for block in record.of_kind(BlockEvent)) == 12


def test_a_subset_is_there_for_the_workers_and_gone_afterwards(tmp_path):
    _, seen = execute(tmp_path / "run", subset_percent=50)
    assert seen == [str(tmp_path / "run" / SUBSET_FOLDER)]
    assert not (tmp_path / "run" / SUBSET_FOLDER).exists()


@pytest.mark.parametrize("flags", [{}, {"subset_percent": 50}])
@pytest.mark.parametrize("readers", [2, 3])
def test_readers_are_given_parts_of_their_own_and_all_is_gone_afterwards(tmp_path, flags, readers):
    from oneflow_bench.data import load_dataset, take_share

    plan = create_plan({"model": "lenet", "batch_size": 12, "readers": readers, **flags})
    run = tmp_path / "run"
    run.mkdir()
    shared = load_dataset(plan.prepare_dataset(run))
    shares = [take_share(shared, reader, readers) for reader in range(readers)]
    assert sum(share.train.num_samples for share in shares) == plan.train_samples
    assert sum(share.val.num_samples for share in shares) == plan.val_samples
    assert [path.name for path in run.iterdir()] == [SUBSET_FOLDER]


def test_part_files_that_readers_cannot_share_are_refused_with_the_remedy():
    from oneflow_bench.data import default_dataset_path

    flags = {"model": "lenet", "batch_size": 12, "readers": 3, "data": str(default_dataset_path())}
    with pytest.raises(InputError, match="run bench data reshard .* --parts 3"):
        create_plan(flags)


def test_refused_before_anything_was_measured_leaves_no_folder(tmp_path):
    with pytest.raises(InputError, match="it does not fit"):
        execute(tmp_path / "run", ("setup", 0, InputError("it does not fit")), data="synthetic")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fail_at",
    [
        ("train", 2, InputError("a loss of one's own gave no scalar")),
        ("setup", 0, WorkerError("the worker died")),
    ],
)
def test_what_was_measured_and_what_crashed_is_kept(tmp_path, fail_at):
    with pytest.raises(type(fail_at[2])):
        execute(tmp_path / "run", fail_at, data="synthetic")
    assert load_record(tmp_path / "run").document.status == "failed"


def test_a_folder_that_is_there_is_refused_and_stays(tmp_path):
    (tmp_path / "kept").touch()
    with pytest.raises(InputError, match="exists already"):
        execute(tmp_path, data="synthetic")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("speed", [True, False])
def test_the_speed_phase_follows_the_training_where_it_is_asked_for(tmp_path, speed):
    clock, shown = Clock(), []

    def launch(contender):
        if contender.name.startswith("speed-"):
            return FakeSpeedWorker(contender.name, clock, [], lambda: 0.01)
        return FakeWorker(contender.name, clock, [])

    plan = create_plan({"model": "lenet", "data": "synthetic"})
    document = create_document(speed=speed, budget_s=1e-3, replicates=1)
    record = execute_plan(
        plan, document, tmp_path / "run", launch, lambda *at: None, lambda *at: shown.append(at)
    )
    assert record.document.status == "complete"
    assert bool(record.of_kind(InterimAnalysisEvent)) == bool(shown) == speed
    kinds = [type(e) for e in record.events if isinstance(e, (BlockEvent, SpeedBlockEvent))]
    assert kinds == sorted(kinds, key=lambda kind: kind is SpeedBlockEvent)
    assert (SpeedBlockEvent in kinds) == speed


def execute_speed_alone(folder, error=None):
    """The speed phase of eager against graph, whose third measured block raises `error`."""
    clock = Clock()
    fail_at = None if error is None else ("measure", 2, error)

    def launch(contender):
        return FakeSpeedWorker(contender.name, clock, [], lambda: 0.01, fail_at=fail_at)

    def prepare_dataset(folder):
        (folder / SUBSET_FOLDER).mkdir()

    document = create_document(speed=True, budget_s=20.0)
    return execute_speed(document, folder, launch, prepare_dataset, clock=clock)


def test_the_speed_phase_alone_is_read_back_and_its_subset_gone(tmp_path):
    record = execute_speed_alone(tmp_path / "run")
    assert record.events == load_record(tmp_path / "run").events
    assert record.document.status == "complete" and record.document.finished
    assert record.of_kind(InterimAnalysisEvent) and not record.of_kind(BlockEvent)
    assert not (tmp_path / "run" / SUBSET_FOLDER).exists()


@pytest.mark.parametrize(
    "error, status, message",
    [
        (WorkerError("it died", "its last line"), "failed", "it died\nits last line"),
        (InputError("it does not fit"), "failed", "it does not fit"),
        (KeyboardInterrupt(), "interrupted", "ended by the user"),
    ],
)
def test_a_speed_phase_that_fails_keeps_its_record(tmp_path, error, status, message):
    raised = Interrupted if isinstance(error, KeyboardInterrupt) else type(error)
    with pytest.raises(raised):
        execute_speed_alone(tmp_path / "run", error)
    document = load_record(tmp_path / "run").document
    assert (document.status, document.error) == (status, message)
    assert not (tmp_path / "run" / SUBSET_FOLDER).exists()
