"""The pages of the site that are made from the code and from the repository."""

from __future__ import annotations

import re
import runpy
import subprocess
from pathlib import Path

from oneflow_bench.bench.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
SITE = runpy.run_path(str(ROOT / "tools" / "stage_site.py"))


def test_the_reference_has_every_command_with_all_its_flags():
    page = SITE["describe_commands"]()
    for name in COMMANDS:
        assert f"\n### bench {name}\n" in page
    assert "### bench data import\n" in page
    assert page.count("--momentum") >= 5 and "more flags" not in page


def test_a_link_to_a_file_that_the_site_lacks_becomes_text(tmp_path):
    page, shown = tmp_path / "page.md", tmp_path / "shown.md"
    page.write_text("[a](shown.md#b) [c](folder) [d](https://e) ![f](missing.png) [g](#h)")
    text = SITE["keep_known_links"](page, [page, shown])
    assert text == "[a](shown.md#b) c [d](https://e) f [g](#h)"


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    named = set(re.findall(r"(docs/[\w-]+\.md)", text))
    written = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert named == written | {"docs/commands.md", "docs/python.md"}


def test_no_page_asks_the_network_for_its_search():
    hook = runpy.run_path(str(ROOT / "tools" / "site_hook.py"))

    class Page:
        url = "docs/faq.html"

    page = hook["on_post_page"](f'<script src="{hook["SHIM"]}">', Page(), None)
    assert page == '<script src="../assets/javascripts/iframe-worker.js">'
    script = ROOT / "tools" / "site" / "assets" / "javascripts" / "iframe-worker.js"
    assert "MIT licence" in script.read_text()


def test_the_pictures_of_the_pages_are_shown():
    listed = subprocess.run(
        ["git", "ls-files", *SITE["SHOWN"]], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            assert str((page.parent / target).resolve().relative_to(ROOT)) in listed


def test_the_pictures_of_the_docs_are_small_and_shown():
    pictures = {path.name: path for path in (ROOT / "docs" / "pictures").iterdir()}
    assert all(path.stat().st_size < 300_000 for path in pictures.values())
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = [
        re.findall(r"!\[[^\]]*\]\([^)]*pictures/([^)]+)\)", page.read_text()) for page in pages
    ]
    assert set(pictures) == {name for names in shown for name in names}
