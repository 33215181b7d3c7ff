from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.contenders import BLASES
from oneflow_bench.bench.worker import blas
from oneflow_bench.bench.worker.blas import EXPECTED, PRELOAD, create_preload, find_blas


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    """An environment with an interpreter; nothing else of this machine is looked at."""
    for folder in ("bin", "lib/openblas-pthread"):
        (tmp_path / "env" / folder).mkdir(parents=True)
    (tmp_path / "env/bin/python").touch()
    every = blas.list_folders
    monkeypatch.setattr(
        blas, "list_folders", lambda *given: [p for p in every(*given) if tmp_path in p.parents]
    )
    return tmp_path / "env"


def find(name, prefix, **environment):
    return find_blas(name, str(prefix / "bin/python"), environment)


def test_every_name_of_a_contender_has_its_package():
    assert set(blas.PACKAGES) == set(BLASES)


def test_a_blas_is_found_in_the_environment_of_the_interpreter(prefix):
    library = prefix / "lib/libmkl_rt.so.2"
    library.touch()
    assert find("mkl", prefix) == library


def test_a_blas_is_found_in_conda(prefix, tmp_path):
    library = tmp_path / "conda/lib/libopenblas.so.0"
    library.parent.mkdir(parents=True)
    library.touch()
    assert find("openblas", prefix, CONDA_PREFIX=str(tmp_path / "conda")) == library


def test_openblas_with_threads_comes_first(prefix):
    for name in ("libopenblas.so.0", "openblas-pthread/libopenblas.so.0"):
        (prefix / "lib" / name).touch()
    assert find("openblas", prefix) == prefix / "lib/openblas-pthread/libopenblas.so.0"


@pytest.mark.parametrize("name, command", [("mkl", "-m pip install mkl"), ("openblas", "apt")])
def test_the_error_tells_the_file_the_folders_and_the_remedy(prefix, name, command):
    with pytest.raises(InputError) as raised:
        find(name, prefix)
    said = str(raised.value)
    assert blas.PACKAGES[name].patterns[0] in said and str(prefix / "lib") in said
    assert command in said and "give its path" in said


def test_a_path_is_taken_as_it_is_if_the_linker_can_read_it(prefix):
    (prefix / "lib/libblis.so.4").touch()
    assert find(str(prefix / "lib/libblis.so.4"), prefix) == prefix / "lib/libblis.so.4"
    with pytest.raises(InputError, match="is not there"):
        find(str(prefix / "lib/none.so"), prefix)
    (prefix / "lib/my blas.so").touch()
    with pytest.raises(InputError, match="spaces and colons"):
        find(str(prefix / "lib/my blas.so"), prefix)


def test_the_blas_is_loaded_before_the_libraries_of_the_user():
    made = create_preload(Path("/b.so"), {PRELOAD: "/mine.so", "A": "1"})
    assert made == {"A": "1", PRELOAD: "/b.so:/mine.so", EXPECTED: "/b.so"}


def find_library(name):
    ctypes.CDLL(name)
    lines = Path("/proc/self/maps").read_text().splitlines()
    return next(line.split(None, 5)[5] for line in lines if f"/{name.split('.')[0]}." in line)


def check_in_process(library, expected, function):
    """The error of the check in a process that preloads a library; None without one."""
    code = (
        "import os\n"
        "from oneflow_bench.bench.errors import InputError\n"
        "from oneflow_bench.bench.worker import blas\n"
        f"blas.FUNCTION = {function!r}\n"
        "try:\n    blas.check_preload(os.environ)\n"
        "except InputError as error:\n    print(error)\n"
    )
    environment = {**os.environ, PRELOAD: str(library), EXPECTED: str(expected)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip() or None


def test_a_worker_tells_whether_the_expected_library_answers(tmp_path):
    maths = find_library("libm.so.6")
    assert check_in_process(maths, maths, "cos") is None
    assert "it has no cblas_nothing" in check_in_process(maths, maths, "cblas_nothing")
    text = tmp_path / "text.so"
    text.write_text("no library")
    assert "the linker did not load it" in check_in_process(text, text, "cblas_nothing")
    assert f"{maths} is before it" in check_in_process(maths, text, "cos")


def test_a_process_without_an_expected_library_is_not_checked():
    blas.check_preload({})
