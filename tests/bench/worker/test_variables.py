"""Variables that nobody reads are refused before anything is run over them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import List, Tuple

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.worker.environment import KNOWN_VARIABLES, check_variables


@pytest.fixture
def oneflow(tmp_path: Path) -> Tuple[str, Path]:
    """An interpreter that finds a OneFlow of one source and one library."""
    package, libraries = tmp_path / "oneflow", tmp_path / "oneflow.libs"
    package.mkdir()
    libraries.mkdir()
    (package / "__init__.py").write_text('os.getenv("ONEFLOW_FROM_SOURCE")\n')
    (package / "empty.py").touch()
    (libraries / "liboneflow-1.so").write_bytes(b"\0\1ONEFLOW_FROM_LIBRARY\0ONEFLOW_LONGER_NAME\0")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "a warning"\necho "found:{package}/__init__.py"\n')
    python.chmod(0o755)
    return str(python), tmp_path


def refuse(names: List[str], python: str) -> str:
    with pytest.raises(InputError) as caught:
        check_variables(names, python, {})
    return str(caught.value)


def test_what_a_source_or_a_library_reads_is_accepted(oneflow: Tuple[str, Path]) -> None:
    check_variables(["ONEFLOW_FROM_SOURCE", "ONEFLOW_FROM_LIBRARY"], oneflow[0], {})


def test_what_no_file_reads_is_refused_with_the_nearest_name(oneflow: Tuple[str, Path]) -> None:
    said = refuse(["ONEFLOW_ENABLE_ONEDNN_OPT"], oneflow[0])
    assert "env.ONEFLOW_ENABLE_ONEDNN_OPT was given" in said
    assert "did you mean ONEFLOW_ENABLE_ONEDNN_OPTS?" in said
    assert oneflow[0] in said


@pytest.mark.parametrize("name", ["ONEFLOW_LONGER", "ONEFLOW_FROM", "ONEFLOW_NOWHERE"])
def test_a_part_of_a_longer_name_does_not_count(oneflow: Tuple[str, Path], name: str) -> None:
    assert "reads no variable of that name" in refuse([name], oneflow[0])


def test_a_slip_in_another_librarys_variable_is_refused(oneflow: Tuple[str, Path]) -> None:
    assert "did you mean OMP_NUM_THREADS?" in refuse(["OMP_NUM_THREAD"], oneflow[0])


def test_known_variables_and_the_models_own_need_no_search(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no-python")
    check_variables([*KNOWN_VARIABLES, "PLANTED_PRODUCTS", "MY_MODEL_WIDTH", "LANG"], nowhere, {})


@pytest.mark.parametrize("said", ["", "echo nothing to find"])
def test_where_an_interpreter_does_not_say_nothing_is_refused(tmp_path: Path, said: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{said}\n")
    python.chmod(0o755)
    check_variables(["ONEFLOW_NOWHERE"], str(python), {})


@pytest.mark.slow
@pytest.mark.oneflow
def test_the_real_oneflow_reads_what_it_reads() -> None:
    check_variables(["ONEFLOW_DEBUG_KERNEL_SYNC_CHECK"], sys.executable, os.environ)
    assert "ONEFLOW_VM_ENABLE_SCHEDULE_YIELD?" in refuse(
        ["ONEFLOW_VM_ENABLE_SCHEDULER_YIELD"], sys.executable
    )
