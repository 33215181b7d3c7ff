"""Fields of a document that reports and paths are made of."""

from __future__ import annotations

import re
from datetime import datetime
from typing import List

from pydantic import AfterValidator, Field
from typing_extensions import Annotated

from ..config import Contender

_CONTENDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")


def _check_time(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _check_names(contenders: List[Contender]) -> List[Contender]:
    names = [one.name for one in contenders]
    for name in names:
        if not _CONTENDER.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a contender")
        if names.count(name) > 1:
            raise ValueError(f"two contenders are called {name}")
    return contenders


Time = Annotated[str, AfterValidator(_check_time)]  # ISO 8601
RunId = Annotated[str, Field(pattern=r"^[^./\x00-\x1f\x7f][^/\x00-\x1f\x7f]*$")]  # no path
Contenders = Annotated[List[Contender], Field(min_length=1), AfterValidator(_check_names)]
