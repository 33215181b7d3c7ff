from __future__ import annotations

import errno
import fcntl
import hashlib
import os

import pytest
from records import create_events, create_record, save_record
from sweep_cells import MACHINE, create_cell, create_result, create_sweep

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.tools.sweep.continuing import (
    carry_results,
    find_stored_sweep,
    hold_folder,
)
from oneflow_bench.bench.tools.sweep.document import save_sweep

OWN_STEP = Workload(model="sweep_of_mine:step", data="training-step")


def carry(stored, wanted, folder, timeout_s=60.0, retry=False):
    return carry_results(stored, wanted, folder, timeout_s, retry)


def test_what_is_done_stays_and_what_changed_is_run_again(tmp_path):
    stored = create_sweep(
        create_cell(batch_size=1, result=create_result()),
        create_cell(batch_size=2, result=create_result(), fingerprint="old"),
        create_cell(batch_size=4),
    )
    wanted = create_sweep(*(create_cell(batch_size=size) for size in (1, 2, 4, 8)))
    assert carry(stored, wanted, tmp_path) == 1
    assert [cell.result is not None for cell in wanted.cells] == [True, False, False, False]


@pytest.mark.parametrize(
    "status, timeout_s, retry, kept",
    [
        ("failed", 60.0, False, True),
        ("failed", 60.0, True, False),
        ("timeout", 60.0, False, True),
        ("timeout", 61.0, False, False),  # a longer limit may let it end
        ("done", 61.0, True, True),
    ],
)
def test_a_failure_is_a_result_until_it_is_asked_for_again(
    tmp_path, status, timeout_s, retry, kept
):
    stored = create_sweep(create_cell(result=create_result(status=status)))
    wanted = create_sweep(create_cell())
    carry(stored, wanted, tmp_path, timeout_s, retry)
    assert (wanted.cells[0].result is not None) == kept


def test_a_folder_of_another_sweep_or_machine_or_of_other_things_is_refused(tmp_path):
    stored = create_sweep(create_cell(batch_size=1), create_cell(batch_size=2))
    with pytest.raises(InputError, match="another sweep, with 1 cells .*first: lenet batch_size=2"):
        carry(stored, create_sweep(create_cell(batch_size=1)), tmp_path)
    with pytest.raises(InputError, match=r"another machine \(other cores\)"):
        carry(create_sweep(create_cell(), machine={**MACHINE, "cores": 64}),
              create_sweep(create_cell()), tmp_path)  # fmt: skip
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="holds no sweep"):
        find_stored_sweep(tmp_path)
    assert find_stored_sweep(tmp_path / "new") is None
    save_sweep(tmp_path, stored)
    assert find_stored_sweep(tmp_path) == stored


def create_own_cell(folder, *setups, **changes):
    """A cell of one's own code, with its result and, of the environments, a record."""
    cell = create_cell(
        model=OWN_STEP.model, result=create_result(**{"record": "cells/own", **changes})
    )
    cell.workload = OWN_STEP
    if setups:
        sides = [create_events(mode, 0.1) for mode in ("eager", "graph")]
        for side, environment in zip(sides, setups):
            side[0] = side[0].model_copy(update={"environment": environment})
        save_record(create_record(*sides), folder / "cells" / "own")
    return cell


def goes_on(cell, folder):
    wanted = create_sweep(cell.model_copy(update={"result": None}))
    changed = carry(create_sweep(cell), wanted, folder)
    assert (wanted.cells[0].result is None) == bool(changed)
    return not changed


def test_a_result_of_code_that_has_changed_since_is_run_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "sweep_of_mine.py"
    source.write_text("FACTOR = 1\n")
    code = {"code": {source.name: hashlib.sha256(source.read_bytes()).hexdigest()}}
    cell = create_own_cell(tmp_path, code, code)
    assert goes_on(cell, tmp_path)
    source.write_text("FACTOR = 2\n")
    assert not goes_on(cell, tmp_path)
    source.unlink()
    assert not goes_on(cell, tmp_path)


def test_a_result_of_code_that_no_record_names_is_run_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not goes_on(create_own_cell(tmp_path), tmp_path)
    assert not goes_on(create_own_cell(tmp_path, record=None, status="refused"), tmp_path)
    assert not goes_on(create_own_cell(tmp_path, {}, {}), tmp_path)
    installed = create_own_cell(tmp_path / "installed", {"code": {}}, {"code": {}})
    assert goes_on(installed, tmp_path / "installed")


def test_one_sweep_at_a_time_runs_in_a_folder(tmp_path):
    with hold_folder(tmp_path):
        said = rf"runs there already \(process {os.getpid()}\)"
        with pytest.raises(InputError, match=said), hold_folder(tmp_path):
            pass
        with hold_folder(tmp_path.parent):
            pass
    with hold_folder(tmp_path):
        pass


def test_a_file_system_without_locks_holds_nobody_up(tmp_path, monkeypatch):
    def refuse(descriptor, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold_folder(tmp_path):
        pass
    with pytest.raises(InputError, match="cannot be opened"), hold_folder(tmp_path / "missing"):
        pass
