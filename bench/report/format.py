"""The texts of numbers in reports. Seconds become milliseconds here, and bytes MiB."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Optional, Union

if TYPE_CHECKING:
    from ..verdict.judge import Interval
    from ..verdict.statistics import BreakEven, Ratio, Summary

MISSING = "-"
NOT_FINITE = "not finite"
FEW_BLOCKS = "too few blocks"  # for a speedup of a sweep's cell, or its interval
INTERVAL = "95 %"


def format_number(value: Optional[float], form: str, scale: float = 1.0) -> str:
    return MISSING if value is None else format(value * scale, form)


def format_finite(value: Optional[float], form: str, scale: float = 1.0) -> str:
    """A value that was measured; None is NaN or infinite."""
    return NOT_FINITE if value is None else format(value * scale, form)


def format_ms(seconds: Optional[float], digits: int = 1) -> str:
    return format_number(seconds, f".{digits}f", 1e3)


def format_median_ms(summary: Optional[Summary]) -> str:
    return MISSING if summary is None else format_ms(summary.median)


def format_summary_ms(summary: Optional[Summary]) -> str:
    """The median with its interval."""
    if summary is None or summary.low is None or summary.high is None:
        return format_median_ms(summary)
    return f"{format_ms(summary.median)} ({format_ms(summary.low)} to {format_ms(summary.high)})"


def format_mib(value: Optional[float]) -> str:
    return format_number(value, ".0f", 2**-20)


def format_size(size: float) -> str:
    """Bytes in the largest unit that leaves 1 or more, as in 1.5 MiB."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{size:.0f} bytes"
        size /= 1024
    return f"{size:,.1f} GiB"


def format_age(then: str, now: datetime) -> str:
    """How long ago a time in ISO 8601 was; the day where that is over a week."""
    try:
        began = datetime.fromisoformat(then)
    except ValueError:
        return MISSING
    if began.tzinfo is None:
        began = began.replace(tzinfo=timezone.utc)
    seconds = (now - began).total_seconds()
    if not 0 <= seconds < 7 * 86400:
        return began.strftime("%Y-%m-%d")
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


def format_percent(share: Optional[float], digits: int = 2) -> str:
    return MISSING if share is None else f"{share * 100:.{digits}f} %"


def format_exact(value: Optional[float]) -> str:
    """Three digits of any size: 3e-9 is not 0, and 0 means equal bits."""
    if value is None:
        return MISSING
    return "0 (bitwise equal)" if value == 0 else f"{value:.3g}"


def format_yes(value: Optional[bool]) -> str:
    return MISSING if value is None else ("yes" if value else "no")


def format_ratio(
    ratio: float, low: Optional[float], high: Optional[float], label: str = f"{INTERVAL} "
) -> str:
    if low is None or high is None:
        return f"{ratio:.3f}"
    return f"{ratio:.3f} ({label}{low:.3f} to {high:.3f})"


def format_interval(value: Union[Interval, Ratio, None]) -> str:
    """The ratio with its 95 % interval."""
    return MISSING if value is None else format_ratio(value.ratio, value.low, value.high)


def format_short_ratio(
    ratio: float, low: Optional[float], high: Optional[float], without: str = "no interval"
) -> str:
    """A ratio with its interval for a table, as in 1.052 (0.981-1.104), or `without` one."""
    if low is None or high is None:
        return f"{ratio:.3f} ({without})"
    return f"{ratio:.3f} ({low:.3f}-{high:.3f})"


def format_short_interval(value: Union[Interval, Ratio, None]) -> str:
    """For a column whose title names the interval."""
    return MISSING if value is None else format_ratio(value.ratio, value.low, value.high, "")


def format_sequential(interval: Interval) -> str:
    """The 99 % interval over all interim analyses."""
    if interval.sequential_low is None or interval.sequential_high is None:
        return MISSING
    return f"{interval.sequential_low:.3f} to {interval.sequential_high:.3f}"


def format_break_even(value: Optional[BreakEven], speedup: Optional[Ratio]) -> str:
    """The steps with their interval; nothing where a speedup of 1 is not excluded."""
    if value is None or speedup is None or speedup.low is None or speedup.high is None:
        return MISSING
    if value.steps is None:
        return "never at this speedup" if speedup.high < 1 else MISSING
    if speedup.low <= 1:
        return MISSING
    if value.low is None:
        return f"after {value.steps:.0f} steps"
    high = "never" if value.high is None else f"{value.high:.0f}"
    return f"after {value.steps:.0f} steps ({value.low:.0f} to {high})"


def format_sentence(text: str) -> str:
    """A reason as a sentence of its own."""
    return text if not text else f"{text[0].upper()}{text[1:].rstrip('.')}."


def round_up(value: float) -> int:
    """To one significant digit, and to 1 at least."""
    digits: int = 10 ** math.floor(math.log10(max(value, 1.0)))
    return math.ceil(max(value, 1.0) / digits) * digits
