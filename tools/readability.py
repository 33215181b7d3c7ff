"""How hard the README and the docs are to read: Flesch's reading ease and words a sentence.

    pip install textstat==0.7.4
    python tools/readability.py

Code, tables, links' targets and headings are left out. The program ends with 1 if a page is below
the limits of CONTRIBUTING.md. Flesch, A new readability yardstick, J. Appl. Psych. 32, 1948.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import textstat

ROOT = Path(__file__).resolve().parent.parent
LEAST_EASE, MOST_WORDS = 50.0, 20.0


def read_prose(text: str) -> str:
    """The sentences of a Markdown page; a list item or a paragraph ends a sentence."""
    text = re.sub(r"<!--.*?-->|^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    lines = [
        line for line in text.splitlines()
        if not re.match(r"\s*\||#| {4}\S|-{3}", line)
    ]  # fmt: skip
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines))
    prose = []
    for part in parts:
        # a name in backticks is one short word, whatever its characters
        words = re.sub(r"`[^`]*`", "name", re.sub(r"^\s*(?:[-*]|\d+\.) ", "", part))
        words = " ".join(re.sub(r"[*_]", "", words).split()).rstrip(":;")
        if words:
            prose.append(words if words.endswith((".", "?", "!")) else words + ".")
    return "\n".join(prose)


def main() -> int:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    totals = [0.0, 0.0, 0.0]
    hard = []
    print(f"{'page':32}{'words':>8}{'ease':>8}{'words a sentence':>18}")
    for page in pages:
        prose = read_prose(page.read_text(encoding="utf-8"))
        words = textstat.lexicon_count(prose)
        ease, length = textstat.flesch_reading_ease(prose), textstat.avg_sentence_length(prose)
        print(f"{page.relative_to(ROOT)!s:32}{words:8}{ease:8.1f}{length:18.1f}")
        totals = [totals[0] + words, totals[1] + words * ease, totals[2] + words * length]
        if ease < LEAST_EASE or length > MOST_WORDS:
            hard.append(page.name)
    print(f"{'all':32}{totals[0]:8.0f}{totals[1] / totals[0]:8.1f}{totals[2] / totals[0]:18.1f}")
    print(f"below the limits: {', '.join(hard)}" if hard else "every page is within the limits")
    return 1 if hard else 0


if __name__ == "__main__":
    sys.exit(main())
