"""Copies what the site shows to build/site-pages, and writes the references from the code.

The folders stay as they are in the repository, so that one link serves both. A link to a folder or
to a file that the site does not show becomes its name in the text.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import List

import click

from oneflow_bench import __all__ as PUBLIC
from oneflow_bench.bench.cli import GROUPS, bench
from oneflow_bench.bench.cli.options import HELP_ALL

ROOT = Path(__file__).resolve().parent.parent
PAGES, CONFIGURATION = ROOT / "build" / "site-pages", ROOT / "build" / "mkdocs.yml"
SHOWN = (
    *(":(glob)*.md", ":(glob)docs/**/*.md", ":(glob)results/**/*.md", ":(glob)results/**/*.png"),
    *(":(glob)results/**/*.svg", ":(glob)docs/**/*.png", "LICENSE", "benchmarks/README.md"),
)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def main() -> None:
    shutil.rmtree(PAGES, ignore_errors=True)
    named = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *SHOWN],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = [ROOT / name for name in named.stdout.splitlines()]
    for file in files:
        copy = PAGES / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".md":
            copy.write_text(keep_known_links(file, files), encoding="utf-8")
        else:
            shutil.copy(file, copy)
    (PAGES / "docs" / "commands.md").write_text(describe_commands(), encoding="utf-8")
    names = [f"::: oneflow_bench.{name}\n" for name in PUBLIC if not name.startswith("__")]
    (PAGES / "docs" / "python.md").write_text("# Python\n\n" + "\n".join(names), encoding="utf-8")
    decisions = sorted(file.relative_to(ROOT) for file in files if file.parent.name == "adr")
    listed = "".join(f"\n      - {file}" for file in decisions)
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").replace(" ADRS", listed)
    for folder in ("site-pages", "site", "lint"):
        text = text.replace(f"build/{folder}", folder)
    text = text.replace("tools/", "../tools/")
    CONFIGURATION.write_text(text, encoding="utf-8")


def keep_known_links(page: Path, files: List[Path]) -> str:
    def write(match: re.Match) -> str:
        target = match[3].partition("#")[0]
        shown = not target or "://" in target or (page.parent / target).resolve() in files
        return match[0] if shown else match[2]

    return LINK.sub(write, page.read_text(encoding="utf-8"))


def describe_commands() -> str:
    lines = ["# Commands\n", "Each page is the output of `--help-all`.\n"]
    for heading, names in GROUPS.items():
        lines.append(f"## {heading}\n")
        for name in names:
            lines += describe_command(bench.get_command(None, name), f"bench {name}")  # type: ignore[arg-type]
    return "\n".join(lines)


def describe_command(command: click.Command, path: str) -> List[str]:
    context = click.Context(command, info_name=path, obj=HELP_ALL, max_content_width=100)
    lines = [f"### {path}\n", f"```text\n{command.get_help(context)}\n```\n"]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            lines += describe_command(command.get_command(context, name), f"{path} {name}")
    return lines


if __name__ == "__main__":
    main()
