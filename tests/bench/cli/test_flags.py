"""The flags of every command, beside those of version 0.1 in tests/golden/flags.json."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from command import run_command

from oneflow_bench.bench.cli import COMMANDS, REMOVED, bench
from oneflow_bench.bench.cli.options import HELP_ALL, HeadedCommand
from oneflow_bench.bench.config import HEADINGS, Contender, Measuring, Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.fields import SETTINGS, list_settings

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "flags.json").read_text())
# flag of a command -> the sentence that says what replaced it
REMOVED_FLAGS = {
    f"{command} {flag}": "is gone: several machines are a Ray cluster now; give --cluster"
    for command in ("eager", "graph", "compare")
    for flag in ("--nodes", "--node-rank", "--master", "--token")
}
# of the published distillation trainer
REPLACED_FLAGS = {
    "--double-training": "give --load-checkpoint",
    "--pt-teacher": "give --teacher-checkpoint",
    "--pt_teacher": "give --teacher-checkpoint",
    "--restore-file best": "--resume to continue",
}


def find_command(path):
    """The command of a path; `imagefolder` was one, and is now a word that `data import` takes."""
    command = bench
    for name in path.split():
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), name)
    return command


def list_flags(path):
    """Each spelling of a flag and what it takes."""
    options = [one for one in find_command(path).params if isinstance(one, click.Option)]
    return {
        spelling: describe(option)
        for option in options
        for spelling in (*option.opts, *option.secondary_opts)
    }


def describe(option):
    kind = option.type
    if option.is_flag:
        return "flag"
    text = kind.name
    if isinstance(kind, click.Choice):
        text = "|".join(kind.choices)
    elif hasattr(kind, "min"):
        low, high = "(" if kind.min_open else "", ")" if kind.max_open else ""
        text += f" {kind.min}{low} {kind.max}{high}"
    return text + " repeated" * option.multiple + " required" * option.required


@pytest.mark.parametrize("path", sorted(GOLDEN))
def test_every_flag_of_the_first_version_is_still_taken(path):
    if path in REMOVED:
        return
    flags = list_flags(path)
    for line in GOLDEN[path]:
        spellings, takes = line.split(" ", 1)
        for spelling in spellings.split("/"):
            if f"{path} {spelling}" in REMOVED_FLAGS:
                continue
            now = "text" if flags[spelling] in ("integer list", "run") else flags[spelling]
            alone = now[: -len(" list")] if now.endswith(" list") else None  # a list takes one
            optional = takes.replace(" required", "")  # what was required may be left out now
            taken = any(set(one.split("|")) <= set(now.split("|")) for one in (takes, optional))
            taken |= now.startswith("text") and ("|" in takes or takes == "choice list")  # any word
            assert taken or (alone and takes.startswith(alone)), (path, spelling)


@pytest.mark.parametrize("command", sorted(REMOVED))
def test_a_removed_command_says_what_replaced_it(command):
    assert command not in COMMANDS
    done = run_command(command, "--help")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"error: {REMOVED[command]}\n"


@pytest.mark.parametrize("path", sorted(REMOVED_FLAGS))
def test_a_removed_flag_says_what_replaced_it(path):
    command, flag = path.split()
    with pytest.raises(InputError, match=f"^{flag} {REMOVED_FLAGS[path]}"):
        find_command(command).make_context(command, [flag, "2"])


@pytest.mark.parametrize(
    "words, fields",
    [
        ("--regularization", {"loss": "teacher_free"}),
        ("--self-training", {"loss": "self_distillation"}),
        ("--self_training", {"loss": "self_distillation"}),
        ("--label-smoothing", {"label_smoothing": 0.1}),
        ("--label_smoothing", {"label_smoothing": 0.1}),
        ("--label-smoothing 0.2", {"label_smoothing": 0.2}),
        ("-warm 2", {"warmup_epochs": 2.0}),
        ("--warm 2", {"warmup_epochs": 2.0}),
    ],
)
@pytest.mark.parametrize("path", ["compare", "check"])
def test_flags_of_the_published_trainer_set_the_fields(path, words, fields):
    given = find_command(path).make_context(path, [*words.split(), "--epochs", "3"]).params
    assert {name: given[name] for name in fields} == fields and given["epochs"] == 3


@pytest.mark.parametrize("words", sorted(REPLACED_FLAGS))
def test_a_flag_of_the_published_trainer_says_what_replaces_it(words):
    with pytest.raises(InputError, match=f"of the published trainer: .*{REPLACED_FLAGS[words]}"):
        find_command("eager").make_context("eager", words.split())


def test_help_shows_the_usual_flags_and_help_all_shows_all(capsys):
    command = find_command("compare")
    short = command.get_help(click.Context(command, info_name="bench compare"))
    with pytest.raises(click.exceptions.Exit):
        command.make_context("bench compare", ["--help-all"])
    whole = capsys.readouterr().out
    hidden = len(re.findall(r"^  -", whole, re.M)) - len(re.findall(r"^  -", short, re.M))
    assert f"{hidden} more flags: bench compare --help-all" in short and "more flags" not in whole
    assert "--momentum" in whole and "--momentum" not in short


def test_bench_alone_says_what_to_try_first():
    done = subprocess.run([sys.executable, "-m", "oneflow_bench"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "Try first:" in done.stdout and "\nJudge:\n  check " in done.stdout
    lines = done.stdout.splitlines()  # a screen of 80 x 40 has a prompt too
    assert len(lines) < 40 and max(map(len, lines)) <= 80


def test_each_command_is_in_a_file_of_its_name_and_the_two_modes_in_one():
    for name in COMMANDS:
        file = {"eager": "train", "graph": "train"}.get(name, name)
        assert find_command(name).callback.__module__ == f"{bench.__module__}.{file}"
        assert find_command(name).help


def test_the_help_shows_what_the_fields_say():
    command = find_command("compare")
    text = command.get_help(click.Context(command, terminal_width=1000, obj=HELP_ALL))
    for setting in (one for one in SETTINGS.values() if one.heading and one.name != "speed"):
        default = setting.describe_default()
        assert setting.flag in text
        assert (
            f"{setting.description}{' Repeatable.' if setting.kind is dict else ''}"
            + (f" Default: {default}." if default else "")
            in text
        )
    assert "Measure fresh processes after the training, for a speed verdict. Default: on." in text
    headings = [line[:-1] for line in text.splitlines() if line[:-1] in HEADINGS]
    assert headings == list(HEADINGS)


def test_a_command_shows_its_own_defaults():
    for path, flag, default in [
        ("check", "--lr-step", "2"),
        ("check", "--data", "synthetic"),
        ("check", "--batch-size", "4"),
        ("sweep", "--steps-per-epoch", "60"),
        ("profile", "--model", "alexnet"),
        ("profile", "--timeout", "600"),
        ("infer", "--batch-size", "1"),
    ]:
        option = next(one for one in find_command(path).params if flag in one.opts)
        assert option.help.endswith(f" Default: {default}."), (path, flag)


@pytest.mark.parametrize("path", ["eager", "graph", "compare", "versions", "sweep", "check"])
def test_a_flag_that_is_not_given_leaves_the_recipe_and_the_field_to_decide(path):
    given = find_command(path).make_context(path, []).params
    assert given.pop("speed", None) in (None, True)
    assert {name: given[name] for name in given if name in SETTINGS} == dict.fromkeys(
        name for name in given if name in SETTINGS
    )


@pytest.mark.parametrize("model", [Workload, Contender, Measuring])
def test_every_field_says_what_it_is(model):
    for setting in list_settings(model):
        assert setting.description.endswith("."), setting.name
        assert setting.heading is None or setting.heading in HEADINGS


def test_long_commands_have_headings():
    for path in ("eager", "graph", "compare", "check", "baseline update", "sweep", "tune"):
        assert isinstance(find_command(path), HeadedCommand)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--batch-size", "0"], ["'--batch-size': 0 is not in the range x>=1"]),
        (["--lr", "0"], ["'--lr': 0.0 is not in the range x>0"]),
        (["--epochs", "many"], ["'--epochs': 'many' is not a valid integer"]),
        (["--feed", "disk"], ["'--feed'", "'disk'", "'loader', 'graph', 'memory'"]),
        (["--seed", "2147483648"], ["'--seed': 2147483648 is not in the range"]),
        (["--model-arg", "depth"], ["depth is not KEY=VALUE, such as depth=40"]),
        (
            ["--lr-milestones", "1,x"],
            ["'--lr-milestones': in the list '1,x', 'x' is not a whole number"],
        ),
        (["--until", "300%"], ["'--until': 300% is no share between 0 and 1"]),
        (["--budget", "0"], ["'--budget': 0.0 is not in the range x>0"]),
        (["--ranks", "0"], ["'--ranks': 0 is not in the range x>=1"]),
        (["--nesterov=yes"], ["'--nesterov' does not take a value"]),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_the_flag(flags, words):
    with pytest.raises(click.UsageError) as refused:
        bench(["compare", *flags], standalone_mode=False)
    for word in words:
        assert word in refused.value.format_message()
