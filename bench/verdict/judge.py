"""The verdict: faster, slower, equivalent or inconclusive, and everything it rests on.

Processes are located in one of two ways, whichever gives the estimate with the smaller standard
error: where other work comes and goes that is the quickest quarter of the blocks, where a program's
own steps vary it is the median (docs/adr/0013-two-locations.md). Two intervals are formed around
the one estimate:

* the *interval*, 95 %: what is reported with the ratio. A run stops because of what it saw, so a
  plain 95 % interval at the stop would hold the truth less often. At look j its tails together are
  therefore 5 % / j^0.4, a rule found by simulation (benchmarks/simulated_verdicts.py prints how
  often it covers) and held by a test;
* the *strict interval*: 99 % over all looks of the run together (`looks.py`), and over all of its
  contenders where there are several: each is given its share of the 1 %.

`faster` and `slower` need both: the strict interval excludes a ratio of 1, so that equal programs
are called different in less than 1 % of the runs; and the whole interval is beyond the margin, so
that the difference is one that matters. They also need the median's ratio beyond the margin,
whatever its interval: what only the quickest blocks show is not called. `equivalent` needs the
whole interval within the equivalence margin, which is two one-sided tests at 2.5 % (Schuirmann,
1987).
"""

from __future__ import annotations

import math
from typing import Dict, Mapping, Optional, Sequence, Tuple

from pydantic import BaseModel

from .estimate import (
    LOCATIONS,
    MEDIAN,
    QUICKEST_QUARTER,
    Estimate,
    Wave,
    estimate_control,
    estimate_speedup,
    median,
    quickest_quarter,
)

DIFFERENCE_ALPHA = 0.01  # chance of `faster` or `slower` for equal programs, over a whole run
GROWTH = 1.5  # a further look is worth its price when there are that many times more data


def look_alpha(look: int, alpha: float = DIFFERENCE_ALPHA) -> float:
    """What look number `look`, from 1, may spend. Raises ValueError for a number below 1."""
    if look < 1:
        raise ValueError(f"look {look} was asked for; looks are numbered from 1")
    return alpha / (look * (look + 1))


def is_look_due(data: int, data_at_last_look: int) -> bool:
    """Whether the data, counted in double rounds of replicates, have grown enough for a look."""
    return data >= GROWTH * data_at_last_look


CONFIDENCE = 0.95
MARGIN = 0.01
EQUIVALENCE = 0.02
POWER = 0.9
LOOK_PRICE = 0.4  # found by simulation; held by tests/bench/verdict/test_error_rates.py
FASTER, SLOWER = "faster", "slower"
EQUIVALENT, INCONCLUSIVE = "equivalent", "inconclusive"


class Margins(BaseModel):
    """Relative differences: below `margin` nobody cares, within `equivalence` is the same."""

    margin: float = MARGIN
    equivalence: float = EQUIVALENCE


class Interval(BaseModel):
    """Baseline time over contender time: above 1 the contender is faster."""

    ratio: float
    low: Optional[float]  # 95 %; None where too few processes were measured
    high: Optional[float]
    strict_low: Optional[float]  # 99 % over all looks and contenders
    strict_high: Optional[float]

    def holds(self, ratio: float) -> bool:
        """Whether it lies in the 95 % interval; no interval holds nothing."""
        return self.low is not None and self.high is not None and self.low <= ratio <= self.high


class Judgement(BaseModel):
    """A verdict with its reason and what it was formed from."""

    verdict: str  # faster | slower | equivalent | inconclusive
    reason: str  # a sentence part
    speedup: Interval
    control: Interval  # the baseline against itself
    control_verdict: str
    smallest_effect: Optional[float]  # this run would have called it with probability 0.9
    replicates: int
    double_rounds: int  # of each process, on average
    looks: int
    process_spread: Optional[float]  # relative standard deviation among processes of one program
    within_share: Optional[float]  # of the variance, what more blocks per process would take away
    location: str = QUICKEST_QUARTER  # of a process's blocks; older results know no other


def judge(
    waves: Sequence[Wave],
    looks: int,
    margins: Optional[Margins] = None,
    alpha: float = DIFFERENCE_ALPHA,
) -> Judgement:
    """The verdict at look number `looks`. Raises ValueError for no waves.

    `alpha` is the error that the strict intervals of all looks together may make.
    """
    if not waves:
        raise ValueError("a verdict on no waves was asked for; give at least one")
    margins = margins or Margins()
    estimates = estimate_locations(waves)
    location = choose_location(waves, estimates, looks, alpha)
    judgement = judge_at(location, waves, estimates, looks, margins, alpha)
    typical = math.exp(estimates[MEDIAN].log_ratio)
    verdict = judgement.verdict
    if verdict in (FASTER, SLOWER) and not is_beyond(typical, verdict, margins):
        reason = (
            f"the fastest blocks say {verdict}, but the ratio of the medians ({typical:.3f}) "
            "does not"
        )
        return judgement.model_copy(update={"verdict": INCONCLUSIVE, "reason": reason})
    return judgement


def judge_at(
    location: str,
    waves: Sequence[Wave],
    estimates: Mapping[str, Estimate],
    looks: int,
    margins: Margins,
    alpha: float = DIFFERENCE_ALPHA,
) -> Judgement:
    """What the waves say with processes located in that way, whatever the other way says."""
    estimate, control = estimates[location], estimate_control(waves, LOCATIONS[location])
    speedup, own = form_interval(estimate, looks, alpha), form_interval(control, looks, alpha)
    verdict, reason = decide(speedup, margins)
    control_verdict, _ = decide(own, margins)
    if control_verdict in (FASTER, SLOWER):
        verdict = INCONCLUSIVE
        reason = (
            f"the control, the baseline against itself, was judged {control_verdict} "
            f"({own.ratio:.3f}), so no difference in this run can be trusted"
        )
    return Judgement(
        verdict=verdict,
        reason=reason,
        speedup=speedup,
        control=own,
        control_verdict=control_verdict,
        smallest_effect=smallest_effect(estimate, looks, margins, alpha),
        replicates=estimate.replicates,
        double_rounds=round(sum(w.baseline.shape[1] // 2 for w in waves) / len(waves)),
        looks=looks,
        process_spread=estimate.process_spread,
        within_share=estimate.within_share,
        location=location,
    )


def estimate_locations(waves: Sequence[Wave]) -> Dict[str, Estimate]:
    """The speedup by each location, by its name."""
    return {name: estimate_speedup(waves, locate) for name, locate in LOCATIONS.items()}


def choose_location(
    waves: Sequence[Wave],
    estimates: Mapping[str, Estimate],
    looks: int,
    alpha: float = DIFFERENCE_ALPHA,
) -> str:
    """The name of the location with the smaller standard error of the speedup.

    The choice looks at the errors and not at the ratios, so it favours no verdict. It is the median
    as well where the two ratios are certain to differ: what other work adds, it adds to both
    programs alike, so then the quickest blocks of one program are not what its others are.
    """
    quickest, typical = estimates[QUICKEST_QUARTER], estimates[MEDIAN]
    if quickest.std_error is None or typical.std_error is None:
        return QUICKEST_QUARTER
    if typical.std_error < quickest.std_error:
        return MEDIAN
    between = estimate_speedup(waves, lambda values: quickest_quarter(values) - median(values))
    strict = form_interval(between, looks, alpha)
    low, high = strict.strict_low, strict.strict_high
    same = low is None or high is None or low <= 1 <= high
    return QUICKEST_QUARTER if same else MEDIAN


def is_beyond(ratio: float, verdict: str, margins: Margins) -> bool:
    """Whether a ratio lies beyond the margin on the side of `faster` or `slower`."""
    return (ratio if verdict == FASTER else 1 / ratio) > 1 + margins.margin


def form_interval(estimate: Estimate, looks: int, alpha: float = DIFFERENCE_ALPHA) -> Interval:
    """Both intervals, back on the scale of the ratio."""
    centre = estimate.log_ratio
    if estimate.std_error is None:
        return Interval(
            ratio=math.exp(centre), low=None, high=None, strict_low=None, strict_high=None
        )
    plain, paid = _quantiles(estimate, looks, alpha)
    half, strict = plain * estimate.std_error, paid * estimate.std_error
    return Interval(
        ratio=math.exp(centre),
        low=math.exp(centre - half),
        high=math.exp(centre + half),
        strict_low=math.exp(centre - strict),
        strict_high=math.exp(centre + strict),
    )


def _quantiles(estimate: Estimate, looks: int, alpha: float) -> Tuple[float, float]:
    from scipy.special import stdtrit

    tails = [(1 - CONFIDENCE) / 2 / looks**LOOK_PRICE, look_alpha(looks, alpha) / 2]
    return tuple(float(stdtrit(estimate.df, 1 - tail)) for tail in tails)  # type: ignore[return-value]


def decide(interval: Interval, margins: Margins) -> Tuple[str, str]:
    """(verdict, reason) by where the intervals lie."""
    low, high = interval.low, interval.high
    strict_low, strict_high = interval.strict_low, interval.strict_high
    if low is None or high is None or strict_low is None or strict_high is None:
        return INCONCLUSIVE, (
            "too few processes were measured to estimate how identical processes differ. "
            "Give a longer `--budget`, or at least `--replicates 3`"
        )
    beyond = 1 + margins.margin
    within = 1 + margins.equivalence
    if low > beyond and strict_low > 1:
        return FASTER, f"the whole 95 % interval is beyond {margins.margin * 100:g} %"
    if high < 1 / beyond and strict_high < 1:
        return SLOWER, f"the whole 95 % interval is beyond {margins.margin * 100:g} %"
    if low > 1 / within and high < within:
        return EQUIVALENT, f"the whole 95 % interval is within {margins.equivalence * 100:g} %"
    if low > beyond or high < 1 / beyond:
        return INCONCLUSIVE, (
            f"the sequential interval, {strict_low:.3f} to {strict_high:.3f}, still contains 1"
        )
    return INCONCLUSIVE, (
        f"the 95 % interval is neither wholly beyond {margins.margin * 100:g} % "
        f"nor wholly within {margins.equivalence * 100:g} %"
    )


def smallest_effect(
    estimate: Estimate, looks: int, margins: Margins, alpha: float = DIFFERENCE_ALPHA
) -> Optional[float]:
    """The relative difference that this standard error would have shown with probability 0.9."""
    from scipy.special import stdtrit

    if estimate.std_error is None:
        return None
    half, strict = _quantiles(estimate, looks, alpha)
    power = float(stdtrit(estimate.df, POWER))
    beyond = math.log1p(margins.margin) + (half + power) * estimate.std_error
    return math.expm1(max(beyond, (strict + power) * estimate.std_error))
