"""Several ranks on the command line, as far as it is refused or planned before anything runs."""

from __future__ import annotations

import json
import os

import pytest
from command import refused, run_command
from records import create_rank_record, create_speed_events, save_record

QUICK = ["--model", "lenet", "--epochs", "1", "--steps-per-epoch", "6", "--no-speed"]
CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--ranks", CORES + 1], f"{CORES + 1} ranks on {CORES} usable core"),
        (["--ranks", "3", "--oversubscribe"], "--batch-size 32 cannot be shared evenly by 3 ranks"),
        (["--ranks", "2", "--oversubscribe", "--val-batch-size", "45"], "--val-batch-size 45"),
        (["--ranks", "2", "--contender", "graph"], "no contender trains in several ranks"),
        (["--contender", "ddp"], "no number of ranks was given; give --ranks 2"),
        (["--contender", "ddp,ranks=2", "--contender", "graph-dp,ranks=4", "--oversubscribe"],
         "contenders of 2 and 4 ranks"),
        (["--ranks", "0"], "--ranks"),
        (["--ranks", "2", "--device", "cuda"], "device=cuda have never been run"),
        (["--ranks", "2", "--oversubscribe", "--contender", "graph-zero"],
         "graph-zero is not available here"),
        (["--ranks", "2", "--oversubscribe", "--contender", "graph-dp,accumulation_steps=3"],
         "accumulation_steps=3 does not divide the batch of each of 2 ranks, 16 images"),
        (["--weak", "--speed"], "--weak was given and no contender"),
        (["--ranks", "2", "--oversubscribe", "--weak"], "--no-speed"),
        (["--ranks", "2", "--cluster", "127.0.0.1:1"], "no Ray cluster answers at --cluster"),
        (["--cluster", "127.0.0.1:1"], "no contender trains in several ranks"),
        (["--ranks", "2", "--placement", "pack"], "--placement pack was given without --cluster"),
    ],
)  # fmt: skip
def test_what_ranks_cannot_have_is_refused(arguments, words, tmp_path):
    done = run_command("compare", *QUICK, *arguments, "--out", tmp_path / "run")
    refused(done, words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_one_mode_is_refused_alike(mode, tmp_path):
    done = run_command(mode, *QUICK[:-1], "--ranks", CORES + 1, "--out", tmp_path / "run")
    refused(done, f"{CORES + 1} ranks on {CORES} usable core", "--oversubscribe")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", [["versions", "0.8.0", "0.9.0"], ["sweep"], ["check"]])
def test_commands_that_do_not_run_in_ranks_do_not_take_them(command):
    refused(run_command(*command, "--ranks", "2"), "--ranks")


def test_a_stored_run_of_ranks_is_reported_again(tmp_path, no_pictures):
    run = save_record(create_rank_record(("ddp", "graph-tp")), tmp_path / "run")
    done = run_command("compare", run, run, "--out", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert "Strong scaling against eager" in done.stdout
    stored = json.loads((tmp_path / "report" / "comparison.json").read_text())
    assert [one["ranks"]["ranks"] for one in stored] == [2, 2]
    assert "## Strong scaling against eager" in (tmp_path / "report" / "report.md").read_text()


def test_a_weak_run_has_speed_alone_and_is_no_fault(tmp_path, no_pictures):
    record = create_rank_record(reference=False)
    contenders = record.document.contenders
    contenders[0] = contenders[0].model_copy(update={"batch_size": 16})
    record.events = [
        event.model_copy(update={"contender": "ddp"})
        if getattr(event, "contender", None) == "graph"
        else event
        for event in create_speed_events(0.1, 0.125, 0.1)
    ]
    run = save_record(record, tmp_path / "run")
    done = run_command("compare", run, run, "--out", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert "Weak scaling against eager" in done.stdout and "0.80 (" in done.stdout
    assert "Parity: not judged. In weak scaling" in done.stdout
