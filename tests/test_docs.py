"""Every command on a page of the docs is run, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(path.name for path in DOCS.glob("*.md") if BLOCK.search(path.read_text()))


def test_the_pages_of_the_capabilities_have_commands():
    required = {"recipes.md", "checkpoints.md", "inference.md", "profile.md", "check.md"}
    assert required <= set(PAGES)


@pytest.mark.oneflow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work(page, tmp_path):
    script = "set -e\n" + "".join(BLOCK.findall((DOCS / page).read_text()))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
