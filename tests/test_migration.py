"""The page that shows what replaces each published script: every line of it is run."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "migration.md").read_text()
SECTIONS = {
    part.partition("\n")[0]: part.partition("\n")[2]
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
}
MOST_LINES = 13  # of Python, imports left out

# runs the blocks of Python and then the expressions, each section in names of its own
DRIVER = """
import json, sys
failed = []
for title, block, expressions in json.load(open("python.json")):
    names = {}
    try:
        exec(compile(block, title, "exec"), names)
        for text in expressions:
            if eval(text, names) is None:
                failed.append(f"{title}: {text} is None")
    except Exception as error:
        failed.append(f"{title}: {type(error).__name__}: {error}")
sys.exit("\\n".join(failed) or None)
"""


def find_blocks(section, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def list_rows(section):
    """(observable, commands, expressions) of each row of a section's table."""
    rows = re.findall(r"^\| ([^|]+) \|([^|]*)\|([^|]*)\|$", section, re.MULTILINE)
    found = [(name, *(re.findall(r"`([^`]+)`", cell) for cell in cells)) for name, *cells in rows]
    return [row for row in found if row[0] != "observable"]


def test_each_kind_of_published_script_has_a_section():
    # one for both modes of inference, and one for an architecture and the times of its layers
    assert len(SECTIONS) == 8


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_has_a_command_a_few_lines_of_python_and_a_table(title):
    section = SECTIONS[title]
    assert len(find_blocks(section, "bash")) == 1
    (block,) = find_blocks(section, "python")
    lines = [line for line in block.splitlines() if line.strip()]
    assert len([one for one in lines if not one.startswith(("import ", "from "))]) <= MOST_LINES
    ast.parse(block)
    rows = list_rows(section)
    assert len(rows) >= 4 and all(commands or expressions for _, commands, expressions in rows)


def test_the_check_has_eleven_series_and_seven_pictures():
    names = [name for name, *_ in list_rows(SECTIONS["Check eager mode against the graph"])]
    numbers = [number for name in names for number in re.findall(r"\d+", name)]
    assert sorted(map(int, numbers)) == list(range(1, 12))
    assert len([name for name in names if name.startswith("picture")]) == 7


def run(command, folder):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.timeout(3600)
def test_every_line_of_the_page_works(tmp_path):
    for title, section in SECTIONS.items():
        lines = [find_blocks(section, "bash")[0]]
        lines += [command for _, commands, _ in list_rows(section) for command in commands]
        done = run(["bash", "-e", "-c", "\n".join(lines)], tmp_path)
        assert done.returncode == 0, f"{title}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    python = []
    for title, section in SECTIONS.items():
        expressions = [one for *_, cell in list_rows(section) for one in cell]
        python.append((title, find_blocks(section, "python")[0], expressions))
    (tmp_path / "python.json").write_text(json.dumps(python))
    done = run([sys.executable, "-c", f"import sys; sys.path.insert(0, '.')\n{DRIVER}"], tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
