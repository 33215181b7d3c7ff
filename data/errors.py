"""The one error of this package."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used; the message is one sentence with the fault and the remedy."""
