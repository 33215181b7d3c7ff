"""`bench check` and `bench baseline`, with a made-up check in place of OneFlow."""

from __future__ import annotations

import json
import signal

import pytest
from made_checks import (
    create_check,
    create_check_document,
    create_different_check,
    create_failed_check,
    create_inconclusive_check,
    create_side,
    create_speedup,
)

from oneflow_bench.bench.cli import main
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.parity import run as parity_run
from oneflow_bench.bench.parity.baseline import load_baseline
from oneflow_bench.bench.parity.result import load_check, save_check

GOOD = {"graph_ops": 50, "compile_s": 0.5, "peak_rss_bytes": 450 * 2**20}


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder: (exit status, stdout, stderr). `checks` says what a model
    gives, and `bench.ran` which were run."""

    class Resolver:
        def find_kernel(self, contender, python):
            return "Haswell"

    def check_model(plan, folder, timeout_s, observe):
        run.ran.append(plan.workload.model)
        given = run.checks.get(plan.workload.model) or create_check(plan.workload.model)
        if isinstance(given, BaseException):
            raise given
        return given.model_copy(update={"workload": plan.workload})

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return end.value.code, printed.out, printed.err

    run.checks, run.ran = {}, []
    monkeypatch.setattr(parity_run, "check_model", check_model)
    monkeypatch.setattr(parity_run, "RuntimeResolver", Resolver)
    monkeypatch.setattr(parity_run, "describe_machine", lambda: create_check_document().machine)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


def test_a_check_leaves_its_document_and_report(bench, tmp_path):
    status, out, _ = bench("check", "--models", "lenet,vgg1[13]", "--out", "run")
    assert status == 0
    assert bench.ran == ["lenet", "vgg11", "vgg13"]
    assert [found.model for found in load_check(tmp_path / "run").checks] == bench.ran
    assert "Exit status 0" in out and out.endswith("check and report: run\n")
    assert "# Check of 3 models" in (tmp_path / "run" / "report.md").read_text()


def test_the_default_is_one_small_model(bench):
    assert bench("check", "--out", "run")[0] == 0
    assert bench.ran == ["alexnet_cifar"]


def test_flags_reach_the_workload(bench, tmp_path):
    bench("check", "--model", "lenet", "--batch-size", "8", "--optimizer", "adam", "--out", "run")
    workload = load_check(tmp_path / "run").checks[0].workload
    assert (workload.batch_size, workload.optimizer, workload.lr) == (8, "adam", 0.01)


@pytest.mark.parametrize(
    "checks, status",
    [
        ({"vgg11": create_different_check("vgg11")}, 1),
        ({"vgg11": create_inconclusive_check("vgg11")}, 3),
        ({"vgg11": create_failed_check("vgg11")}, 4),
        ({"vgg11": create_failed_check("vgg11"), "lenet": create_inconclusive_check("lenet")}, 4),
        ({"vgg11": create_failed_check("vgg11"), "lenet": create_different_check("lenet")}, 1),
        ({"vgg11": InputError("it takes no classes")}, 4),
    ],
)
def test_the_worst_model_is_the_exit_status_and_of_a_stored_check_too(bench, checks, status):
    bench.checks = checks
    assert bench("check", "--models", "lenet,vgg11", "--out", "run")[0] == status
    bench.ran.clear()
    assert bench("check", "--from", "run")[0] == status
    assert bench.ran == []


def test_models_that_turn_out_unusable_are_bad_input_and_leave_no_folder(bench, tmp_path):
    bench.checks = {"lenet": InputError("it takes no classes")}
    status, out, err = bench("check", "--model", "lenet", "--out", "run")
    assert (status, out, err) == (2, "", "error: it takes no classes\n")
    bench.checks["vgg11"] = InputError("it takes no images")
    assert bench("check", "--models", "lenet,vgg11", "--out", "both")[0] == 2
    assert not (tmp_path / "run").exists() and not (tmp_path / "both").exists()
    bench.checks = {}
    assert bench("check", "--model", "lenet", "--out", "run")[0] == 0  # the mended command
    document = load_check(tmp_path / "run")
    document.checks[0] = document.checks[0].model_copy(
        update={"unusable": True, "error": "it takes no classes"}
    )
    save_check(document, tmp_path / "run")
    status, out, _ = bench("check", "--from", "run")
    assert status == 2 and "it takes no classes" in out


def test_ctrl_c_keeps_what_was_checked(bench, tmp_path):
    bench.checks = {"vgg11": KeyboardInterrupt()}
    status, _, err = bench("check", "--models", "lenet,vgg11", "--out", "run")
    assert status == 130 and "the models checked until then are in run" in err
    assert [found.model for found in load_check(tmp_path / "run").checks] == ["lenet"]


def test_an_update_and_a_check_against_it_agree(bench, tmp_path):
    status, out, _ = bench("baseline", "update", "--models", "lenet,vgg11", "--out", "run")
    assert status == 0
    assert "results/baselines/lenet.json" in out and "The first baseline: identical" in out
    bench.ran.clear()
    status, out, _ = bench("check", "--baseline", "results/baselines", "--out", "again")
    assert (status, bench.ran) == (0, ["lenet", "vgg11"])
    assert "Same as the baseline: 30 metrics of 2 models." in out


def test_a_regression_is_exit_status_1_and_an_update_shows_and_takes_it(bench, tmp_path):
    path = tmp_path / "results" / "baselines" / "lenet.json"
    bench("baseline", "update", "--model", "lenet", "--out", "a")
    bench.checks = {"lenet": create_check(graph=create_side(**{**GOOD, "graph_ops": 52}))}
    status, out, _ = bench("check", "--baseline", path, "--out", "b")
    assert status == 1 and "+2 operators" in out
    status, out, _ = bench("baseline", "update", "--from", "b")
    assert status == 0
    assert ["graph", "operators", "50", "52", "+2", "operators"] in [
        line.split() for line in out.splitlines()
    ]
    assert load_baseline(path).graph.graph_ops == 52
    assert bench("check", "--baseline", path, "--out", "c")[0] == 0


@pytest.mark.parametrize(
    "check, status, word",
    [
        (create_different_check("lenet"), 1, "is different"),
        (create_inconclusive_check("lenet"), 3, "is inconclusive"),
        (create_failed_check("lenet"), 4, "is failed"),
    ],
)
def test_no_baseline_is_made_of_what_is_not_right(bench, tmp_path, check, status, word):
    bench("baseline", "update", "--models", "lenet,vgg11", "--out", "a")
    before = (tmp_path / "results" / "baselines" / "lenet.json").read_bytes()
    bench.checks = {"lenet": check}
    found, _, err = bench("baseline", "update", "--out", "b")
    assert found == status
    assert f"lenet: the check {word}; its baseline is kept" in err
    assert (tmp_path / "results" / "baselines" / "lenet.json").read_bytes() == before


def test_a_damaged_baseline_can_be_made_anew(bench, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "lenet.json").write_text("{")
    status, _, err = bench("baseline", "update", "--model", "lenet", "--baseline", "b")
    assert status == 0 and "could not be read" in err
    assert load_baseline(tmp_path / "b" / "lenet.json").model == "lenet"


def test_json_is_all_that_is_on_stdout(bench, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    bench.checks = {"lenet": create_different_check("lenet")}
    status, out, err = bench("check", "--model", "lenet", "--json", "--out", "run")
    assert json.loads(out)["exit_status"] == status == 1
    assert err.startswith("::error title=bench check%3A lenet::")
    bench.checks = {}
    _, out, _ = bench("baseline", "update", "--model", "lenet", "--json", "--out", "more")
    assert json.loads(out)[0]["model"] == "lenet"


@pytest.mark.parametrize(
    "asked, variable, shown",
    [([], "true", True), ([], "", False), (["github"], "", True), (["none"], "true", False)],
)
def test_annotations_are_for_github(bench, monkeypatch, tmp_path, asked, variable, shown):
    monkeypatch.setenv("GITHUB_ACTIONS", variable)
    save_check(create_check_document(create_failed_check()), tmp_path)
    flags = ["--annotations", *asked] if asked else []
    assert ("::error title=" in bench("check", "--from", ".", *flags)[1]) == shown


def test_reports_for_ci_are_written(bench, tmp_path):
    save_check(create_check_document(create_check(), create_different_check()), tmp_path)
    files = ["--junit", "check.xml", "--markdown", "check.md"]
    assert bench("check", "--from", "check.json", *files)[0] == 1
    assert '<testsuite name="vgg11"' in (tmp_path / "check.xml").read_text()
    assert (tmp_path / "check.md").read_text().startswith("# Check of 2 models")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--models", "alexnt"], "did you mean alexnet"),
        (["--models", "no-such*"], "no model's name fits"),
        (["--models", "lenet", "--model", "lenet"], "leave one out"),
        (["--models", "lenet,alexnet", "--image-size", "32"], "too small for alexnet"),
        (["--models", "lenet", "--baseline", "nowhere"], "no baseline at nowhere/lenet.json"),
        (["--baseline", "nowhere"], "there is no baseline in nowhere"),
        (["--baseline", "kept", "--models", "lenet", "--seed", "7"], "seed 0 and not 7"),
        (["--baseline", "kept/lenet.json", "--models", "vgg11"], "is the baseline of lenet"),
        (["--baseline", "other"], "schema version 9"),
        (["--baseline", "kept", "--models", "vgg11"], "no baseline at kept/vgg11.json"),
        (["--junit", "nowhere/x.xml"], "--junit nowhere/x.xml cannot be written"),
        (["--markdown", "kept"], "--markdown kept cannot be written"),
        (["--from", "nowhere"], "no check at nowhere/check.json"),
        (["--from", "kept", "--lr", "0.1"], "--lr steers a new run"),
        (["--out", "kept"], "exists already"),
        (["--annotations", "gitlab"], "--annotations"),
        (["--device", "cuda"], "--device"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_run(bench, tmp_path, arguments, words):
    bench("baseline", "update", "--model", "lenet", "--baseline", "kept", "--out", "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "lenet.json").write_text('{"schema_version": 9}')
    before = sorted(tmp_path.rglob("*"))
    bench.ran.clear()
    status, out, err = bench("check", *arguments)
    assert (status, out, bench.ran) == (2, "", [])
    assert words in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--models", "lenet,vgg11", "--baseline", "x.json"], "is one file and 2 models"),
        (["--model", "lenet", "--baseline", "file"], "neither a folder nor a .json file"),
        (["--from", "nowhere"], "no check at"),
        (["--from", "nowhere", "--models", "lenet"], "--models steers a new run"),
    ],
)
def test_an_update_refuses_bad_input(bench, tmp_path, arguments, words):
    (tmp_path / "file").write_text("")
    status, _, err = bench("baseline", "update", *arguments)
    assert (status, bench.ran) == (2, []) and words in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_speed_is_measured_with_its_budget_only_where_it_is_asked_for(bench, monkeypatch):
    budgets = []

    def measure(plan, folder, measuring, observe):
        budgets.append((plan.workload.model, measuring.budget_s, measuring.timeout_s))
        return create_speedup()

    monkeypatch.setattr("oneflow_bench.bench.cli.check.measure_speedup", measure)
    status, out, _ = bench("check", "--model", "lenet")
    assert status == 0 and not budgets and "Speed of graph" not in out
    status, out, _ = bench("check", "--models", "lenet,cnn", "--speed", "--budget", 7)
    assert status == 0 and budgets == [("lenet", 7.0, 600.0), ("cnn", 7.0, 600.0)]
    assert "Speed of graph mode" in out and "1.200" in out
    status, out, _ = bench("baseline", "update", "--model", "lenet", "--speed", "--out", "second")
    assert status == 0 and budgets[-1] == ("lenet", 60.0, 600.0)
    stored = ("--baseline", "results/baselines", "--out", "third")
    status, out, _ = bench("check", "--model", "lenet", *stored)
    assert status == 0 and "this check has no speedup; give it --speed" in " ".join(out.split())


def test_a_budget_without_speed_is_refused(bench):
    status, _, err = bench("check", "--model", "lenet", "--budget", 7)
    assert status == 2 and "--budget limits the measuring of --speed" in err
