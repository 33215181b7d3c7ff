"""The one error of this package."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used; the message is one sentence: what, what is needed, what to do."""
