"""A flag that takes several values, separated by commas."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import click

# what click says of a part, in plain words
_WORDS = {"a valid integer range": "a whole number", "a valid float range": "a number"}


class ValueList(click.ParamType):
    """Values of another type, separated by commas."""

    def __init__(self, inner: click.ParamType) -> None:
        self.inner = inner
        self.name = f"{inner.name} list"

    def get_metavar(self, *arguments: Any, **named: Any) -> str:
        return "V1,V2,..."

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> Tuple[Any, ...]:
        if not isinstance(value, str):
            return tuple(value)
        parts = [part.strip() for part in value.split(",")]
        if not all(parts):
            self.fail(f"'{value}' has an empty place; give values separated by commas", param, ctx)
        try:
            converted = [self.inner.convert(part, param, ctx) for part in parts]
        except click.BadParameter as error:
            said = error.message
            for jargon, word in _WORDS.items():
                said = said.replace(jargon, word)
            self.fail(f"in the list '{value}', {said}", param, ctx)
        return tuple(dict.fromkeys(converted))
