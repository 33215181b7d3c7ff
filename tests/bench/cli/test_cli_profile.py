"""`bench profile --limits` as a user runs it."""

from __future__ import annotations

import json
import sys

import pytest
from command import refused, run_command

from oneflow_bench.bench.tools.profile.document import load_limits

FAKE_TORCH = """#!{python} -S
import json, os, sys
if sys.argv[1] == "-c":
    print("both are there")
    sys.exit()
replies = os.fdopen(int(sys.argv[sys.argv.index("--reply-fd") + 1]), "w")
for line in sys.stdin:
    request = json.loads(line)
    answer = {{
        "setup": {{"torch": "2.0", "python": "3.9.0", "threads": 2}},
        "compile": {{"error": "there is no compiler"}},
        "train": {{"losses": [2.0] * request.get("steps", 0)}},
        "measure": {{"duration_s": 0.01 * request.get("steps", 0), "cpu_s": 0.01}},
    }}.get(request["call"], {{}})
    if request["call"] == "setup":
        assert all(os.path.exists(request[name]) for name in ("weights", "inputs"))
    replies.write(json.dumps({{"ok": True, **answer}}) + "\\n")
    replies.flush()
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run of OneFlow with a made-up PyTorch beside it."""
    folder = tmp_path_factory.mktemp("limits")
    python = folder / "python"
    python.write_text(FAKE_TORCH.format(python=sys.executable))
    python.chmod(0o755)
    brief = ["--model", "lenet", "--batch-size", "4", "--blocks", "2", "--loss-steps", "3"]
    done = run_command(
        "profile",
        "--limits",
        *brief,
        "--iterations",
        "2",
        "--torch-python",
        python,
        "--out",
        folder / "run",
    )
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stdout


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_step_is_counted_timed_and_held_to_the_floor(measured):
    folder, printed = measured
    found = load_limits(folder)
    # 28 x 28 x 6 x 75 + 10 x 10 x 16 x 150 + 400 x 120 + 120 x 84 + 84 x 10 for each of 4 images
    assert sum(layer.macs for layer in found.layers) == 4 * 651720
    assert sum(layer.num_params for layer in found.layers) == 62006
    assert all(rate > 1e8 for ceiling in found.ceilings for rate in ceiling.rates)
    eager, graph = found.steps[:2]
    assert (eager.name, graph.name) == ("eager", "graph")
    assert len(eager.step_time_s) == len(graph.step_time_s) == 2
    assert graph.compile_s > 0
    assert "share, one core" in printed and "matrix product" in printed
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "profile.json", "layers.txt", "trace.json", "logs", "layers.png", "layers.svg",
        "roofline.png", "roofline.svg",
    }  # fmt: skip
    assert "classifier.4" in (folder / "layers.txt").read_text()
    assert "share of limit" in printed


@pytest.mark.slow
@pytest.mark.oneflow
def test_pytorch_stands_beside_and_what_it_cannot_is_said(measured):
    folder, printed = measured
    found = load_limits(folder)
    losses = {each.name: each for each in found.loss_runs}
    assert len(losses["eager"].losses) == 3
    assert losses["graph"].max_relative_difference < 1e-5
    assert losses["torch eager"].max_relative_difference > 0.05
    assert losses["torch compiled"].error == "there is no compiler"
    assert {r.contender for r in found.ratios} == {"graph", "torch eager"}
    assert "torch compiled: there is no compiler" in printed


@pytest.mark.slow
@pytest.mark.oneflow
def test_stored_limits_serve_a_later_profile_of_the_same_step(measured, tmp_path):
    folder, _ = measured
    brief = ["--model", "lenet", "--iterations", "1", "--limits", folder, "--out", "run"]
    done = run_command("profile", "--batch-size", "4", *brief, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "share of limit" in done.stdout and "ceilings" not in done.stdout
    assert (tmp_path / "run" / "roofline.png").exists()
    words = "--limits is of --batch-size 4 and this run has 5"
    refused(run_command("profile", "--batch-size", "5", *brief[:-1], "other", cwd=tmp_path), words)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--limits", "--model", "nothing_like_it"], ["unknown model"]),
        (["--limits", "--image-size", "8"], ["--image-size 8 is too small"]),
        (["--limits", "--blocks", "0"], ["--blocks"]),
        (
            ["--limits", "--torch-python", "nowhere/python"],
            ["nowhere/python cannot be started (No such file"],
        ),
        (["--limits", "--torch-python", ""], ["an empty value was given (beside --torch-python)"]),
        (["--limits", "--torch-python", "/"], ["cannot be started (Permission denied)"]),
        (["--limits", "--data", "nowhere"], ["--data nowhere was given with --limits"]),
        (["--limits", "--device", "cuda"], ["--device cuda was given with --limits"]),
        (["--limits", "--loss-steps", "3"], ["--loss-steps was given without --torch-python"]),
        (["--limits", "nowhere"], ["no profile at nowhere", "bench profile --limits"]),
        (["--blocks", "3"], ["--blocks was given", "add --limits"]),
        (["--mode", "both"], ["--mode both was given", "add --limits"]),
        (["--limits", "nowhere", "--torch-python", "x"], ["--torch-python was given"]),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_leaves_nothing(tmp_path, arguments, words):
    refused(run_command("profile", *arguments, "--out", "run", cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


def test_an_interpreter_without_pytorch_is_one_sentence(tmp_path):
    arguments = ["--model", "lenet", "--limits", "--torch-python", sys.executable, "--out", "run"]
    said = refused(run_command("profile", *arguments, cwd=tmp_path), "No module named 'torch'")
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_limits_that_are_damaged_are_one_sentence(tmp_path):
    (tmp_path / "limits.json").write_text(json.dumps({"schema_version": 99}))
    refused(run_command("profile", "--limits", tmp_path, cwd=tmp_path), "has schema version 99")


@pytest.mark.parametrize("name, now", [("limits", "bench profile --limits"),
                                       ("scaling", "benchmarks/calculate_scaling.py")])  # fmt: skip
def test_a_removed_command_says_what_replaced_it(tmp_path, name, now):
    for arguments in ([], ["--model", "lenet"], ["--help"]):
        said = refused(run_command(name, *arguments, cwd=tmp_path), f"`bench {name}` is now", now)
        assert len(said.splitlines()) == 1
