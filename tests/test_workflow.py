"""The workflows for GitHub Actions: their shape, and that their commands are ones the suite has.

There is no YAML reader among the dependencies, so that the lines themselves are read.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from oneflow_bench.bench.cli.check import check

ROOT = Path(__file__).resolve().parent.parent
PATHS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PATH = ROOT / ".github" / "workflows" / "parity.yml"
LINES = PATH.read_text(encoding="utf-8").splitlines()
each_workflow = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def indent(line):
    return len(line) - len(line.lstrip(" "))


def block_of(name):
    """The lines of `run` in the step of that name, without their indent."""
    start = LINES.index(f"      - name: {name}")
    step = [LINES[start]]
    for line in LINES[start + 1 :]:
        if line.strip() and indent(line) <= 6:
            break
        step.append(line)
    number = next(n for n, line in enumerate(step) if line.strip().startswith("run:"))
    first = step[number].split("run:", 1)[1].strip()
    rest = [line.strip() for line in step[number + 1 :] if line.strip() and indent(line) > 8]
    return [first] if first not in ("|", ">") else rest


@each_workflow
def test_the_lines_are_ones_that_yaml_takes(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        assert "\t" not in line and line == line.rstrip()
        assert indent(line) % 2 == 0
        if line.strip() and not line.strip().startswith("#"):
            assert indent(line) > 8 or re.match(r" *(- )?[\w-]+:( .+)?$", line), line


@each_workflow
def test_the_parts_that_a_workflow_needs_are_there(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    top = [line.rstrip(":").split(":")[0] for line in lines if line and line[0].isalpha()]
    assert top == ["name", "on", "permissions", "concurrency", "jobs"]
    text = "\n".join(lines)
    assert "actions/checkout@" in text and "timeout-minutes:" in text
    used = [line for line in lines if "uses:" in line]
    assert used and all(re.search(r"@[0-9a-f]{40} # v\d", line) for line in used)


def test_the_report_of_a_failed_check_is_kept():
    assert "actions/upload-artifact@" in "\n".join(LINES)
    assert LINES.count("        if: always()") == 2


def test_the_targets_of_the_tests_are_those_of_the_makefile():
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    targets = re.search(r"target: \[(.*)\]", text).group(1).split(", ")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert len(targets) == 3 and all(f"\nmake {target}\n" in script for target in targets)


def test_the_check_is_a_command_of_the_suite():
    command = shlex.split(" ".join(block_of("Check")).replace('${MODELS:+--models "$MODELS"}', ""))
    assert command[:2] == [".venv/bin/bench", "check"]
    known = {flag for option in check.params for flag in option.opts}
    flags = [part for part in command[2:] if part.startswith("--")]
    assert flags == ["--baseline", "--out", "--junit", "--markdown"]
    assert set(flags) <= known and "--models" in known
    assert "results/baselines" in command


@pytest.mark.parametrize("models, given", [("", []), ("vgg*,lenet", ["--models", "vgg*,lenet"])])
def test_the_models_reach_the_check_as_one_word(models, given):
    line = " ".join(block_of("Check")).replace(".venv/bin/bench", "printf '%s\\n'")
    done = subprocess.run(
        ["bash", "-c", line], env={"MODELS": models}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1 : 1 + len(given) + 1] == [*given, "--baseline"]


@pytest.mark.parametrize("report, words", [("# report\n", "# report"), (None, "before it had")])
def test_the_summary_is_written_with_and_without_a_report(tmp_path, report, words):
    (tmp_path / "results").mkdir()
    if report:
        (tmp_path / "results" / "check.md").write_text(report)
    subprocess.run(
        ["bash", "-ec", "\n".join(block_of("Summary"))],
        cwd=tmp_path,
        env={"GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert words in (tmp_path / "summary").read_text()


def test_the_set_up_is_a_target_of_the_makefile():
    (command,) = block_of("Set up")
    target = command.split()[1]
    assert command == f"make {target}"
    assert f"\n{target}:" in (ROOT / "Makefile").read_text()
