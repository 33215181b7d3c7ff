from __future__ import annotations

import os
import sys

import pytest
from doctor_measurements import create_machine
from doctor_workers import FakeDoctor, FakeResolver

from oneflow_bench.bench.errors import InputError, WorkerError
from oneflow_bench.bench.tools.doctor import probe, run
from oneflow_bench.bench.tools.doctor.installation import INSTALLATION_CHECKS
from oneflow_bench.bench.tools.doctor.probe import check_interpreter, create_probe_launcher
from oneflow_bench.bench.tools.doctor.run import diagnose
from oneflow_bench.bench.tools.doctor.runtime_checks import RUNTIME_CHECKS


@pytest.fixture
def script(tmp_path):
    def write(text):
        path = tmp_path / "python"
        path.write_text("#!/bin/sh\n" + text + "\n")
        path.chmod(0o755)
        return str(path)

    return write


@pytest.mark.parametrize(
    "text, said",
    [
        ("exit 3", "is no Python interpreter"),
        ("echo hello", "is no Python interpreter"),
        ("echo 2.7.18", "is Python 2.7.18"),
        ("echo 3.6.9", "give --python the path of a Python 3.7 or later"),
    ],
)
def test_what_is_no_usable_interpreter_is_refused(script, text, said):
    with pytest.raises(InputError, match=said):
        check_interpreter(script(text))


def test_an_interpreter_that_is_not_there_or_says_nothing_is_refused(script, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="No such file"):
        check_interpreter(str(tmp_path / "none"))
    with pytest.raises(InputError, match="Permission denied"):
        check_interpreter(str(tmp_path))
    monkeypatch.setattr(probe, "STARTING_S", 0.05)
    with pytest.raises(InputError, match="did not print its version within"):
        check_interpreter(script("exec sleep 5"))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(run, "WINDOW_S", 0.01)
    monkeypatch.setattr(run, "CLOSING_S", 0.0)


def examine(doctor, root, **flags):
    return diagnose(
        sys.executable, "tuned", 20.0, lambda *progress: None, root, doctor.launch,
        FakeResolver({}, "Haswell"), **flags,
    )  # fmt: skip


def test_a_diagnosis_holds_every_check_once(quick, tmp_path):
    diagnosis = examine(FakeDoctor(), tmp_path)
    names = [check.name for check in diagnosis.checks]
    assert len(names) == len(set(names)) == 18
    assert type(diagnosis).model_validate_json(diagnosis.model_dump_json()) == diagnosis


@pytest.mark.parametrize(
    "fail, status",
    [
        ({}, 0),
        ({"import": {"import_oneflow": {"error": "ImportError: no"}}}, 1),
        ({"examined": {"measure_memory": WorkerError("died", "", -11)}}, 1),
        ({"huge_pages": {"build_model": WorkerError("died", "", -11)}}, 3),
    ],
)
def test_the_exit_status_says_what_was_found(quick, tmp_path, monkeypatch, fail, status):
    cores = len(os.sched_getaffinity(0))  # of which tuned sets as many threads
    machine = create_machine(online_cores=cores, usable_cores=cores, physical_cores=max(2, cores))
    monkeypatch.setattr(run, "read_machine", lambda root: machine)
    monkeypatch.setattr(run, "CHECKS", [*INSTALLATION_CHECKS, *RUNTIME_CHECKS])  # judged elsewhere
    assert examine(FakeDoctor(fail=fail), tmp_path).exit_status == status


def test_a_real_worker_without_oneflow_says_so(script, tmp_path):
    bare = script(f'exec "{sys.executable}" -S "$@"')
    worker = create_probe_launcher(bare, tmp_path / "logs")("bare", {"PATH": "/bin"})
    try:
        assert worker.ask("identify", 30.0)["executable"]
        assert "No module named 'oneflow'" in worker.ask("import_oneflow", 30.0)["error"]
        assert "numpy" in worker.ask("measure_numpy_product", 30.0)["error"]
        assert worker.ask("no_such_call", 30.0)["error"].startswith("AttributeError")
    finally:
        worker.close()
