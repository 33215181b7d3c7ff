"""action.yml: its scripts are run with programs that pretend to be bench and gh."""

from __future__ import annotations

import re
import subprocess
import textwrap
from pathlib import Path

import click
import pytest

from oneflow_bench.bench.cli.check import check

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "action.yml").read_text(encoding="utf-8")


def script_of(name):
    """The lines of `run` in the step of that name."""
    step = TEXT.split(f"    - name: {name}\n", 1)[1].split("\n    - ", 1)[0]
    return textwrap.dedent(step.split("      run: |\n", 1)[1])


@pytest.fixture
def runner(tmp_path):
    """Runs a step with variables: (exit status, the folder with what it wrote)."""

    def pretend(name, script):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >> {tmp_path / name}.words\n{script}\n')
        path.chmod(0o755)

    def run(step, **variables):
        given = {
            "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
            "RUNNER_TEMP": str(tmp_path),
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            "GITHUB_REPOSITORY": "owner/name",
            **variables,
        }
        command = ["bash", "-e", "-o", "pipefail", "-c", script_of(step)]
        return subprocess.run(command, env=given, check=False, timeout=30).returncode

    run.pretend, run.folder = pretend, tmp_path
    return run


def test_the_inputs_reach_the_check_each_as_one_word(runner):
    runner.pretend("bench", f"echo '# report' > {runner.folder}/check.md; exit 3")
    assert runner("Check", MODELS="vgg*,my net", ARGUMENTS="", BASELINE="base lines") == 3
    words = (runner.folder / "bench.words").read_text().splitlines()
    assert words[:5] == ["check", "--models", "vgg*,my net", "--baseline", "base lines"]
    assert set(word for word in words if word.startswith("--")) <= {
        flag for option in check.params if isinstance(option, click.Option) for flag in option.opts
    }
    assert (runner.folder / "output").read_text() == "status=3\n"
    assert (runner.folder / "summary").read_text() == "# report\n"


def test_the_arguments_are_words_and_no_report_is_said(runner):
    runner.pretend("bench", "exit 2")
    assert runner("Check", MODELS="", ARGUMENTS="--model my_*:small --steps 2", BASELINE="") == 2
    words = (runner.folder / "bench.words").read_text().splitlines()
    assert words[:6] == ["check", "--model", "my_*:small", "--steps", "2", "--out"]
    assert "ended with 2 before it had a report" in (runner.folder / "summary").read_text()


@pytest.mark.parametrize("has_comment", [True, False])
def test_the_comment_is_written_once_and_then_changed(runner, has_comment):
    (runner.folder / "check.md").write_text("x" * 70000)
    answer = 0 if has_comment else 1
    runner.pretend("gh", f'case "$*" in *--edit-last*) exit {answer};; esac')
    assert runner("Comment", NUMBER="7", GH_TOKEN="") == 0
    said = (runner.folder / "gh.words").read_text()
    assert said.count("comment\n7\n") == (1 if has_comment else 2)
    assert (runner.folder / "comment.md").stat().st_size < 65536


def test_scripts_hold_no_expression_and_actions_are_pinned():
    scripts = [script_of(name) for name in ("Check", "Comment")]
    assert not any("${{" in script for script in scripts)
    used = re.findall(r"uses: (.*)", TEXT)
    assert len(used) >= 3 and all(re.search(r"@(v1|[0-9a-f]{40} # v\d)", one) for one in used)
    assert all(line == line.rstrip() and "\t" not in line for line in TEXT.splitlines())
    steps = TEXT.split("  steps:\n")[1]
    assert steps.count("shell: bash") == steps.count("run:")
