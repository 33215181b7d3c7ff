"""What bash, zsh and fish offer after a few letters, by click's own protocol."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import get_completion_class

from oneflow_bench.bench.cli import COMMANDS, bench

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, kind in (("compare-a", "record"), ("eager-b", "record"), ("check-c", "check")):
        folder = Path("results") / name
        folder.mkdir(parents=True)
        (folder / f"{kind}.json").write_text("{}")


def complete(monkeypatch, shell, line):
    """The values that the shell is told."""
    words = line.split(" ")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words) - 1))
    completion = get_completion_class(shell)(bench, {}, "bench", "_BENCH_COMPLETE")
    answer = completion.complete().split("\n")
    if shell == "zsh":  # three lines an item
        return answer[1::3]
    return [line.split(",")[1].split("\t")[0] for line in answer if line]


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_models_flags_and_runs_are_offered(monkeypatch, results, shell):
    assert complete(monkeypatch, shell, "bench comp") == ["compare"]
    assert set(complete(monkeypatch, shell, "bench ")) == set(COMMANDS)
    models = complete(monkeypatch, shell, "bench check --model resnet1")
    assert "resnet18" in models and "resnet152" in models and "lenet" not in models
    assert "--budget" in complete(monkeypatch, shell, "bench compare --bud")
    assert complete(monkeypatch, shell, "bench eager --optimizer adam") == ["adam", "adamw"]
    for command in ("report", "compare", "plot", "eager --resume"):
        assert complete(monkeypatch, shell, f"bench {command} e") == ["eager-b"]
    found = complete(monkeypatch, shell, "bench report ")
    assert found == ["latest", "compare-a", "eager-b"]
    assert complete(monkeypatch, shell, "bench check --from c") == ["check-c"]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_word_that_begins_no_run_is_left_to_the_shell(monkeypatch, results, shell):
    completion = get_completion_class(shell)(bench, {}, "bench", "_BENCH_COMPLETE")
    (item,) = completion.get_completions(["report"], "elsewhere/r")
    assert (item.type, item.value) == ("dir", "elsewhere/r")
