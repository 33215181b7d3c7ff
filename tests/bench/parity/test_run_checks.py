from __future__ import annotations

import json

import pytest
from made_checks import create_check, create_check_document, create_different_check

from oneflow_bench.bench.errors import InputError, Interrupted, WorkerError
from oneflow_bench.bench.parity import run as parity_run
from oneflow_bench.bench.parity.result import load_check
from oneflow_bench.bench.parity.run import create_check_document as create_empty
from oneflow_bench.bench.parity.run import run_checks
from oneflow_bench.bench.plan.check_plan import create_check_plans

MODELS = ("lenet", "vgg11", "resnet18")


class Script:
    """A `check_model` that gives what is planned for each model; an error is raised."""

    def __init__(self, folder, **planned):
        self.folder, self.planned, self.seen = folder, planned, []

    def __call__(self, plan, folder, timeout_s, observe):
        model = plan.workload.model
        assert folder == self.folder / model and folder.is_dir() and timeout_s == 5.0
        observe("forward", 1, 2)
        stored = json.loads((self.folder / "check.json").read_text())
        self.seen.append(len(stored["checks"]))
        given = self.planned.get(model) or create_check(model, workload=plan.workload)
        if isinstance(given, BaseException):
            raise given
        return given


def run(folder, models=MODELS, observe=lambda message, done, total: None, **planned):
    document = create_check_document()
    script = Script(folder, **planned)
    run_checks(create_check_plans(models, {}), document, folder, 5.0, observe, script)
    return document, script


def test_each_model_is_on_disk_before_the_next_begins(tmp_path):
    document, script = run(tmp_path)
    assert [check.model for check in load_check(tmp_path).checks] == list(MODELS)
    assert load_check(tmp_path) == document
    assert script.seen == [0, 1, 2]


def test_progress_says_which_model_of_how_many(tmp_path):
    said = []
    run(tmp_path, observe=lambda *what: said.append(what))
    assert said == [(f"({number}/3) forward", 1, 2) for number in (1, 2, 3)]


def test_a_worker_that_fails_is_noted_and_the_next_model_is_checked(tmp_path):
    document, _ = run(tmp_path, vgg11=WorkerError("graph died", "last words"))
    first, failed, last = document.checks
    assert failed.error == "graph died\nlast words"
    assert (failed.model, failed.verdict, failed.steps) == ("vgg11", "inconclusive", 6)
    assert first.error is last.error is None
    assert load_check(tmp_path) == document


def test_a_model_that_turns_out_unusable_is_noted_beside_others(tmp_path):
    document, _ = run(tmp_path, vgg11=InputError("it takes no classes"))
    assert [check.error for check in document.checks] == [None, "it takes no classes", None]


def test_bad_input_is_raised_where_no_model_can_be_used(tmp_path):
    with pytest.raises(InputError, match="first"):
        run(tmp_path, models=("lenet", "vgg11"), lenet=InputError("first"), vgg11=InputError("2"))
    with pytest.raises(InputError, match="alone"):
        run(tmp_path, models=("lenet",), lenet=InputError("alone"))


def test_a_full_disk_is_an_error_of_that_model(tmp_path):
    document, _ = run(tmp_path, vgg11=OSError(28, "No space left on device"))
    assert "No space left" in document.checks[1].error


@pytest.mark.parametrize("how", [KeyboardInterrupt(), Interrupted("ended by the user")])
def test_what_was_checked_before_ctrl_c_is_kept(tmp_path, how):
    with pytest.raises(Interrupted, match="ended by the user"):
        run(tmp_path, vgg11=how)
    assert [check.model for check in load_check(tmp_path).checks] == ["lenet"]


def test_the_script_is_named_from_the_runs_folder(tmp_path):
    check = create_different_check()
    check.origin.script = "reproduce.py"
    document, _ = run(tmp_path, vgg11=check)
    assert document.checks[1].origin.script == "vgg11/reproduce.py"


def test_a_new_document_says_what_it_was_made_on(monkeypatch):
    class Resolver:
        def find_kernel(self, contender, python):
            return "Haswell"

    monkeypatch.setattr(parity_run, "RuntimeResolver", Resolver)
    plans = create_check_plans(["lenet", "vgg11"], {})
    document = create_empty(plans[:1])
    assert document.run_id.startswith("check-lenet-")
    assert create_empty(plans).run_id.startswith("check-2-models-")
    assert (document.blas_kernel, document.oneflow, document.checks) == ("Haswell", "0.9.0", [])
    assert document.machine["cpu"]["cores"] >= 1
    json.loads(document.model_dump_json())
