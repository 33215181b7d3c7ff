"""Writes the tables of configuration fields into the documentation.

    python tools/field_tables.py            # rewrite the tables of docs/*.md
    python tools/field_tables.py --check    # exit status 1 if one is not what the fields say

A table stands between `<!-- fields: NAME -->` and `<!-- end of fields -->`. NAME is a heading of
the flags' help (Model, Data, Training, Loss), `contender` or `speed`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Iterator, List, Tuple

from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.plan.contenders import FIELDS
from oneflow_bench.bench.plan.fields import SETTINGS, Setting, list_settings

DOCS = Path(__file__).resolve().parent.parent / "docs"
TABLE = re.compile(r"(<!-- fields: (.+?) -->\n).*?(<!-- end of fields -->)", re.DOTALL)
SPEED = ("budget_s", "until", "replicates", "margin", "equivalence", "block_steps")
# how a contender's field is typed, where that is not KEY=VALUE with the field as the key
SPELLINGS = {"env": "env.NAME", "graph_options": "allow_..., enable_..., set_..."}

TAKES = {
    "env": "a text",
    "graph_options": "true, false, a number or a text",
    "runtime": "tuned, stock or a file",
}
IN_A_FILE = {"on": "true", "off": "false"}

Row = Tuple[str, Setting]


def main() -> int:
    is_check = sys.argv[1:] == ["--check"]
    status = 0
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        new = TABLE.sub(lambda found: found[1] + format_table(found[2]) + found[3], text)
        if new != text:
            print(f"{page.name}: {'not what the fields say' if is_check else 'rewritten'}")
            status |= is_check
            if not is_check:
                page.write_text(new, encoding="utf-8")
    return status


def format_table(name: str) -> str:
    """A Markdown table with a line for each field."""
    first = "flag" if name == "speed" else "key"
    lines = [f"| {first} | takes | default | meaning |", "|---|---|---|---|"]
    for spelling, setting in list_rows(name):
        default = setting.describe_default()
        takes = TAKES.get(setting.name) or setting.describe_values()
        cells = (f"`{spelling}`", takes, IN_A_FILE.get(default, default), setting.description)
        lines.append(" | ".join(["", *cells, ""]).strip())
    return "\n".join(lines) + "\n"


def list_rows(name: str) -> Iterator[Row]:
    if name == "speed":
        yield from ((SETTINGS[field].flag, SETTINGS[field]) for field in SPEED)
    elif name == "contender":
        named = {setting.name: setting for setting in list_settings(Contender)}
        yield from ((SPELLINGS.get(key, key), named[key]) for key in list_keys())
    else:
        settings = [one for one in list_settings(Workload) if (one.heading or "Data") == name]
        if not settings:
            raise SystemExit(f"no field has the heading '{name}'")
        yield from ((one.name, one) for one in settings)


def list_keys() -> List[str]:
    """The fields that a contender's text sets, in the order of the fields."""
    return [name for name in Contender.model_fields if name in FIELDS or name in SPELLINGS]


if __name__ == "__main__":
    sys.exit(main())
