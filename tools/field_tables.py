"""Writes the table of a contender's fields into the documentation.

    python tools/field_tables.py            # rewrite the table in docs/*.md
    python tools/field_tables.py --check    # exit status 1 if it is not what the fields say

The table stands between `<!-- fields of a contender -->` and `<!-- end of fields -->`. The fields
of a recipe are flags, which `bench compare --help-all` lists.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.plan.contenders import FIELDS
from oneflow_bench.bench.plan.fields import list_settings

DOCS = Path(__file__).resolve().parent.parent / "docs"
TABLE = re.compile(r"(<!-- fields of a contender -->\n).*?(<!-- end of fields -->)", re.DOTALL)
# how a field is typed, where that is not KEY=VALUE with the field as the key
SPELLINGS = {"env": "env.NAME", "graph_options": "allow_..., enable_..., set_..."}
TAKES = {
    "env": "a text",
    "graph_options": "true, false, a number or a text",
    "runtime": "tuned, stock or a file",
}


def main() -> int:
    is_check = sys.argv[1:] == ["--check"]
    status = 0
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        new = TABLE.sub(lambda found: found[1] + format_table() + found[2], text)
        if new != text:
            print(f"{page.name}: {'not what the fields say' if is_check else 'rewritten'}")
            status |= is_check
            if not is_check:
                page.write_text(new, encoding="utf-8")
    return status


def format_table() -> str:
    """A Markdown table with a line for each field that a contender's text sets, in their order."""
    lines = ["| key | takes | default | meaning |", "|---|---|---|---|"]
    for setting in list_settings(Contender):
        if setting.name in FIELDS or setting.name in SPELLINGS:
            spelling = SPELLINGS.get(setting.name, setting.name)
            takes = TAKES.get(setting.name) or setting.describe_values()
            cells = (f"`{spelling}`", takes, setting.describe_default(), setting.description)
            lines.append(" | ".join(["", *cells, ""]).strip())
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
