"""Finds what a user names as `package.module:attribute`, in the current folder too."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


class OwnCodeError(ValueError):
    """A `package.module:attribute` that cannot be used; the message says why."""


def import_attribute(name: str, flag: str) -> Any:
    """The callable that `name` stands for; `flag` is what the user gave it to.

    Raises OwnCodeError where the module cannot be imported or has no such function or class.
    """
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # behind all libraries: it shadows none
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise OwnCodeError(
            f"{flag} {name}: the module '{module_name}' cannot be imported "
            f"({type(error).__name__}: {error}); run bench from the folder it is in, or install it"
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise OwnCodeError(f"{flag} {name}: '{module_name}' has no function or class '{attribute}'")
    return found
