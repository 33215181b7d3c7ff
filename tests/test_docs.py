"""Every command on a page of the docs is run, in order, in an empty folder.

Pages are run side by side: most of a command's time is the start of OneFlow, which is busy on one
core alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MOST_PAGES = 4  # side by side
PAGES = sorted(path.name for path in DOCS.glob("*.md") if BLOCK.search(path.read_text()))


def test_the_pages_of_the_capabilities_have_commands():
    required = {"recipes.md", "checkpoints.md", "inference.md", "profile.md", "check.md"}
    assert required <= set(PAGES)


def run_page(page, folder):
    script = "set -e\n" + "".join(BLOCK.findall((DOCS / page).read_text()))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    """Futures of the pages whose tests are selected, in their order."""
    items = [item for item in request.session.items if item.path == request.path]
    pages = [item.callspec.params["page"] for item in items if hasattr(item, "callspec")]
    with ThreadPoolExecutor(min(MOST_PAGES, os.cpu_count() or 1)) as pool:
        futures = {p: pool.submit(run_page, p, tmp_path_factory.mktemp("page")) for p in pages}
        yield futures
        for future in futures.values():
            future.cancel()


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work(page, running):
    done = running[page].result()
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
