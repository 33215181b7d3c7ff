from __future__ import annotations

import json
import sys

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.worker import runtime_profile
from oneflow_bench.bench.worker.runtime_profile import (
    ProfileMachine,
    ProfileVariables,
    RuntimeProfile,
    check_profile_machine,
    describe_profile_machine,
    find_oneflow,
    load_runtime_profile,
    save_runtime_profile,
)

HERE = ProfileMachine(processor="Zen 3", cores=2, oneflow="0.9.0")
PROFILE = RuntimeProfile(
    machine=HERE,
    variables=ProfileVariables(eager={"OMP_NUM_THREADS": "2"}, graph={"A": "1"}),
    graph_options={"allow_fuse_add_to_output": True, "set_outputs_buffer_size": 2},
)


@pytest.fixture
def path(tmp_path):
    save_runtime_profile(tmp_path / "runtime.json", PROFILE)
    return tmp_path / "runtime.json"


def test_a_profile_is_read_as_it_was_written(path):
    content = json.loads(path.read_text())
    assert content == {
        "schema": 1,
        "kind": "runtime-profile",
        "machine": {"processor": "Zen 3", "cores": 2, "oneflow": "0.9.0"},
        "variables": {"eager": {"OMP_NUM_THREADS": "2"}, "graph": {"A": "1"}},
        "graph_options": {"allow_fuse_add_to_output": True, "set_outputs_buffer_size": 2},
    }
    profile = load_runtime_profile(path)
    assert profile == PROFILE
    assert profile.graph_options["allow_fuse_add_to_output"] is True
    assert profile.variables_of("eager") == {"OMP_NUM_THREADS": "2"}
    assert profile.variables_of("graph") == {"A": "1"}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.update(schema=2), "schema version 2, this program reads 1"),
        (lambda c: c.update(kind="record"), "kind: Input should be 'runtime-profile'"),
        (lambda c: c.update(colour="red"), "colour: Extra inputs are not permitted"),
        (lambda c: c["variables"].update(lazy={}), "variables.lazy: Extra inputs"),
        (lambda c: c["variables"]["eager"].update(N=1), "variables.eager.N: Input should be a"),
        (lambda c: c["machine"].pop("cores"), "machine.cores: Field required"),
        (lambda c: c["graph_options"].update(a=[1]), "graph_options.a"),
    ],
)
def test_a_profile_with_what_is_not_known_is_refused(path, change, message):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as info:
        load_runtime_profile(path)
    assert info.value.exit_status == 2


def test_a_missing_profile_names_the_words_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no runtime profile at .*; give --runtime tuned, stock"):
        load_runtime_profile(tmp_path / "tuend")


def test_a_failed_write_leaves_the_old_profile(path, monkeypatch):
    before = path.read_text()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match="No space left"):
        save_runtime_profile(path, PROFILE)
    assert path.read_text() == before and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "theirs, words",
    [
        ({"processor": "Skylake"}, "was made for the processor Skylake and not Zen 3;"),
        ({"cores": 8, "oneflow": "0.8.0"}, "8 usable cores and not 2, OneFlow 0.8.0 and not 0.9.0"),
    ],
)
def test_a_profile_of_another_machine_is_refused_with_what_differs(path, theirs, words):
    other = PROFILE.model_copy(update={"machine": HERE.model_copy(update=theirs)})
    with pytest.raises(InputError, match=words):
        check_profile_machine(path, other, HERE)
    check_profile_machine(path, PROFILE, HERE)


def test_this_machine_is_described_without_importing_oneflow(monkeypatch):
    cpu = {"model": "Zen 3", "cores": 2}
    monkeypatch.setattr(runtime_profile, "read_cpu", lambda: cpu)
    monkeypatch.setattr(runtime_profile, "find_oneflow", lambda python: "0.9.0")
    assert describe_profile_machine("python") == HERE
    cpu["model"] = None
    assert describe_profile_machine("python").processor == "unknown"


def test_the_version_is_that_of_the_interpreter_asked(tmp_path):
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 0.8.0\n")
    other.chmod(0o755)
    assert find_oneflow(str(other)) == "0.8.0"
    other.write_text("#!/bin/sh\nexit 1\n")
    assert find_oneflow(str(other)) is None
    assert find_oneflow(str(tmp_path / "none")) is None


@pytest.mark.oneflow
def test_the_version_of_this_interpreter_is_the_one_it_imports():
    import oneflow

    assert find_oneflow(sys.executable) == oneflow.__version__


def test_a_mode_that_a_profile_was_not_made_for_is_refused():
    profile = RuntimeProfile(
        machine={"processor": "p", "cores": 1, "oneflow": "0.9.0"}, variables={"graph": {"A": "1"}}
    )
    assert (profile.variables_of("graph"), profile.variables_of("eager")) == ({"A": "1"}, {})
    with pytest.raises(InputError, match="for eager and graph and none for wide; use --runtime"):
        profile.variables_of("wide")
