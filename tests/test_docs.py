"""Every command on a page of the docs is run, in order, in an empty folder.

Pages are run side by side: most of a command's time is the start of OneFlow, which is busy on one
core alone.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
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


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.timeout(900)
def test_the_commands_of_the_readme_work_in_their_order(tmp_path):
    (tmp_path / "mymodels.py").write_text(list_blocks("python")[0])
    (tmp_path / "recipe.toml").write_text('model = "lenet"\n')
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for words in list_commands((ROOT / "README.md").read_text()):
        if words[0] == "compare":  # the same commands with a shorter training
            words += ["--epochs", "1", "--steps-per-epoch", "2", "--no-speed"]
            if "--model" in words:
                words += ["--data", "synthetic", "--image-size", "32", "--batch-size", "4"]
        elif words[0] == "eager" and "--resume" not in words:
            words += ["--steps-per-epoch", "6"]
        done = run_words(words, tmp_path)
        told = words[0] == "doctor" and done.returncode == 1  # a slow setting of this machine
        assert done.returncode == 0 or told, (words, done.stderr)


def run_words(words, folder):
    return subprocess.run(
        [sys.executable, "-m", "oneflow_bench", *words],
        cwd=folder, env={**os.environ, "BROWSER": "true"}, capture_output=True, text=True,
    )  # fmt: skip


SHOWN = [one for one in TEXTS if one.name != "CHANGELOG.md" and one.parent.name != "adr"]


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_shows_is_one_that_the_suite_takes(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in list_commands(page.read_text()):
        context, command = None, root
        while isinstance(command, click.Group):
            name = words.pop(0)
            command = command.get_command(context, name)
            context = click.Context(command, info_name=name)
        command.make_context(name, words)  # raises for a flag or a value that it does not take


def list_commands(text):
    """The words of each command line of `bench`, without redirections and what follows them."""
    lines = re.findall(
        r"^ *(?:.venv/bin/)?bench ([a-z]+ .*|[a-z]+)$", re.sub(r"\\\n\s*", " ", text), re.M
    )
    return [
        shlex.split(re.split(r" [>|&]", re.sub(r"\$\w+", "1", line))[0], comments=True)
        for line in lines if "`" not in line  # else it is a sentence
    ]  # fmt: skip


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
