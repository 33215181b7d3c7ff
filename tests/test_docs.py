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

import click
import pytest

from oneflow_bench.bench.cli import bench as root

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MOST_PAGES = 4  # side by side
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
TEXTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "results").glob("*/README.md")])
PAGES = sorted(path.name for path in DOCS.glob("*.md") if BLOCK.search(path.read_text()))


def test_the_pages_of_the_capabilities_have_commands():
    required = {"recipes.md", "checkpoints.md", "inference.md", "profile.md", "check.md"}
    assert required <= set(PAGES)


def list_anchors(text):
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(page):
    for link in LINK.findall(page.read_text()):
        target, _, anchor = "".join(link).partition("#")
        if "://" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        assert not anchor or anchor in list_anchors(path.read_text()), f"{target}#{anchor}"


def list_blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)


@pytest.mark.slow
@pytest.mark.oneflow
def test_the_model_of_the_readme_is_checked_and_compared(tmp_path):
    model, _ = list_blocks("python")
    (tmp_path / "mymodels.py").write_text(model)
    for command in ("check", "compare --epochs 1 --steps-per-epoch 6 --no-speed"):
        line = [sys.executable, "-m", "oneflow_bench", *command.split()]
        done = subprocess.run(
            [*line, "--model", "mymodels:small", "--image-size", "32", "--data", "synthetic"],
            cwd=tmp_path, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "identical" in done.stdout or "within rounding" in done.stdout


SHOWN = [one for one in TEXTS if one.name != "CHANGELOG.md" and one.parent.name != "adr"]


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_flag_that_a_page_shows_exists(page):
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    for name, rest in re.findall(r"^ *(?:.venv/bin/)?bench ([a-z]+)(.*)$", text, re.M):
        command = root.get_command(None, name)
        words = rest.split("#")[0].split(" -- ")[0].split()
        while isinstance(command, click.Group) and words:
            command = command.get_command(None, words.pop(0))
        known = {flag for option in command.params for flag in option.opts + option.secondary_opts}
        flags = [word.split("=")[0] for word in words if word.startswith("--")]
        assert set(flags) <= known | {"--help"}, (name, rest)


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
