"""The verdict: faster, slower, equivalent or inconclusive, and everything it rests on.

Each process is summarised by the mean of its fastest 25 % of blocks or by their median, whichever
has the smaller standard error (docs/adr/0013-two-locations.md). The first is better where other
work comes and goes, the second where a program's own steps vary. Two intervals are formed around
the one estimate:

* the *interval*, 95 %: what is reported with the ratio. A run stops because of what it saw, so a
  plain 95 % interval at the stop would hold the truth less often. At analysis j its tails together
  are therefore 5 % / j^0.4, a rule found by simulation (benchmarks/simulated_verdicts.py prints how
  often it covers) and held by a test;
* the *sequential interval*: 99 % over all analyses of the run together, and over all of its
  contenders where there are several: each is given its share of the 1 %.

`faster` and `slower` need both. The sequential interval excludes a ratio of 1, so that equal
programs are called different in less than 1 % of the runs. The whole interval is beyond the margin,
so that the difference is one that matters. They also need the median's ratio beyond the margin,
whatever its interval: what only the quickest blocks show is not called. `equivalent` needs the
whole interval within the equivalence margin, which is two one-sided tests at 2.5 % (Schuirmann,
1987).
"""

from __future__ import annotations

import math
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from pydantic import AliasChoices, BaseModel, Field

from ..config import Measuring
from .estimate import (
    FEWEST_REPLICATES,
    MEDIAN,
    PROCESS_ESTIMATES,
    QUICKEST_QUARTER,
    Estimate,
    Wave,
    estimate_control,
    estimate_speedup,
    median,
    quickest_quarter,
)
from .statistics import CONFIDENCE, POWER, t_quantile

DIFFERENCE_ALPHA = 0.01  # chance of `faster` or `slower` for equal programs, over a whole run
MOST_GROWTH = 1000.0  # times the data; a longer run is no advice
GROWTH = 1.5  # a further analysis is worth its price when there are that many times more data


def analysis_alpha(analysis: int, alpha: float = DIFFERENCE_ALPHA) -> float:
    """The error that an analysis may make. Raises ValueError for a number below 1."""
    if analysis < 1:
        raise ValueError(f"analysis {analysis} was asked for; analyses are numbered from 1")
    return alpha / (analysis * (analysis + 1))


def is_analysis_due(data: int, data_at_last_analysis: int) -> bool:
    """Whether the data, in ABBA pairs of replicates, have grown enough for another analysis."""
    return data >= GROWTH * data_at_last_analysis


Margins = Measuring  # its `margin` and `equivalence`
EQUIVALENCE = Margins().equivalence
ANALYSIS_PRICE = 0.4  # found by simulation; held by tests/bench/verdict/test_error_rates.py
FASTER, SLOWER = "faster", "slower"
EQUIVALENT, INCONCLUSIVE = "equivalent", "inconclusive"


class Interval(BaseModel):
    """Baseline time over contender time: above 1 the contender is faster."""

    ratio: float
    low: Optional[float]  # 95 %; None where too few processes were measured
    high: Optional[float]
    # 99 % over all analyses and contenders
    sequential_low: Optional[float] = Field(
        validation_alias=AliasChoices("sequential_low", "strict_low")
    )
    sequential_high: Optional[float] = Field(
        validation_alias=AliasChoices("sequential_high", "strict_high")
    )

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
    abba_pairs: int = Field(  # of each process, on average
        validation_alias=AliasChoices("abba_pairs", "double_rounds")
    )
    analyses: int = Field(validation_alias=AliasChoices("analyses", "looks"))
    process_spread: Optional[float]  # relative standard deviation among processes of one program
    within_share: Optional[float]  # of the variance, what more blocks per process would take away
    std_error: Optional[float] = None  # of the log ratio, with its degrees of freedom
    df: float = 0.0
    margin: float = Margins().margin  # of `faster` and `slower`
    alpha: float = DIFFERENCE_ALPHA  # this contender's share of the sequential intervals' error
    # how the blocks of a process are summarised; older results know no other way
    process_estimate: str = Field(
        QUICKEST_QUARTER, validation_alias=AliasChoices("process_estimate", "location")
    )


def judge(
    waves: Sequence[Wave],
    analyses: int,
    margins: Optional[Margins] = None,
    alpha: float = DIFFERENCE_ALPHA,
) -> Judgement:
    """The verdict at the last of so many analyses. Raises ValueError for no waves.

    `alpha` is the error that the sequential intervals of all analyses together may make.
    """
    if not waves:
        raise ValueError("a verdict on no waves was asked for; give at least one")
    margins = margins or Margins()
    estimates = estimate_each_way(waves)
    process_estimate = choose_process_estimate(waves, estimates, analyses, alpha)
    judgement = judge_at(process_estimate, waves, estimates, analyses, margins, alpha)
    doubt = doubt_medians(judgement.verdict, estimates, margins)
    update = {"verdict": INCONCLUSIVE, "reason": doubt}
    return judgement.model_copy(update=update) if doubt else judgement


def judge_at(
    process_estimate: str,
    waves: Sequence[Wave],
    estimates: Mapping[str, Estimate],
    analyses: int,
    margins: Margins,
    alpha: float = DIFFERENCE_ALPHA,
) -> Judgement:
    """The judgement with one process estimate, whatever the other says."""
    estimate = estimates[process_estimate]
    control = estimate_control(waves, PROCESS_ESTIMATES[process_estimate])
    speedup, own = form_interval(estimate, analyses, alpha), form_interval(control, analyses, alpha)
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
        smallest_effect=smallest_effect(estimate.std_error, estimate.df, analyses, margins, alpha),
        replicates=estimate.replicates,
        abba_pairs=round(sum(w.baseline.shape[1] // 2 for w in waves) / len(waves)),
        analyses=analyses,
        process_spread=estimate.process_spread,
        within_share=estimate.within_share,
        std_error=estimate.std_error,
        df=estimate.df,
        margin=margins.margin,
        alpha=alpha,
        process_estimate=process_estimate,
    )


def estimate_each_way(waves: Sequence[Wave]) -> Dict[str, Estimate]:
    """The speedup by each process estimate, by its name."""
    return {
        name: estimate_speedup(waves, summarise) for name, summarise in PROCESS_ESTIMATES.items()
    }


def choose_process_estimate(
    waves: Sequence[Wave],
    estimates: Mapping[str, Estimate],
    analyses: int,
    alpha: float = DIFFERENCE_ALPHA,
) -> str:
    """The name of the process estimate with the smaller standard error of the speedup.

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
    sequential = form_interval(between, analyses, alpha)
    low, high = sequential.sequential_low, sequential.sequential_high
    same = low is None or high is None or low <= 1 <= high
    return QUICKEST_QUARTER if same else MEDIAN


def doubt_medians(
    verdict: str, estimates: Mapping[str, Estimate], margins: Margins
) -> Optional[str]:
    """Why `faster` or `slower` is in doubt: the ratio of the medians is not beyond the margin."""
    typical = math.exp(estimates[MEDIAN].log_ratio)
    beyond = {FASTER: typical, SLOWER: 1 / typical}.get(verdict, math.inf)
    if beyond > 1 + margins.margin:
        return None
    medians = f"the ratio of the medians ({typical:.3f})"
    return f"the fastest blocks say {verdict}, but {medians} does not"


def form_interval(estimate: Estimate, analyses: int, alpha: float = DIFFERENCE_ALPHA) -> Interval:
    """Both intervals, back on the scale of the ratio."""
    centre = estimate.log_ratio
    ends: List[Optional[float]] = [None] * 4
    if estimate.std_error is not None:
        halves = [
            quantile * estimate.std_error for quantile in _quantiles(estimate.df, analyses, alpha)
        ]
        ends = [math.exp(centre + sign * half) for half in halves for sign in (-1, 1)]
    names = ("low", "high", "sequential_low", "sequential_high")
    return Interval(ratio=math.exp(centre), **dict(zip(names, ends)))


def _quantiles(df: float, analyses: int, alpha: float) -> Tuple[float, float]:
    plain = (1 - CONFIDENCE) / 2 / analyses**ANALYSIS_PRICE
    sequential = analysis_alpha(analyses, alpha) / 2
    return t_quantile(df, 1 - plain), t_quantile(df, 1 - sequential)


def decide(interval: Interval, margins: Margins) -> Tuple[str, str]:
    """(verdict, reason) by where the intervals lie."""
    low, high = interval.low, interval.high
    sequential_low, sequential_high = interval.sequential_low, interval.sequential_high
    if low is None or high is None or sequential_low is None or sequential_high is None:
        few = margins.replicates < FEWEST_REPLICATES
        remedy = f"at least `--replicates {FEWEST_REPLICATES}`" if few else "a longer `--budget`"
        return INCONCLUSIVE, (
            "too few processes were measured to estimate how identical processes differ. "
            f"Give {remedy}"
        )
    beyond = 1 + margins.margin
    within = 1 + margins.equivalence
    margin, same = f"beyond {margins.margin * 100:g} %", f"within {margins.equivalence * 100:g} %"
    if low > beyond and sequential_low > 1:
        return FASTER, f"the whole 95 % interval is {margin}"
    if high < 1 / beyond and sequential_high < 1:
        return SLOWER, f"the whole 95 % interval is {margin}"
    if low > 1 / within and high < within:
        return EQUIVALENT, f"the whole 95 % interval is {same}"
    if low > beyond or high < 1 / beyond:
        ends = f"{sequential_low:.3f} to {sequential_high:.3f}"
        return INCONCLUSIVE, f"the sequential interval, {ends}, still contains 1"
    return INCONCLUSIVE, f"the 95 % interval is neither wholly {margin} nor wholly {same}"


def smallest_effect(
    std_error: Optional[float],
    df: float,
    analyses: int,
    margins: Margins,
    alpha: float = DIFFERENCE_ALPHA,
) -> Optional[float]:
    """The relative difference that this standard error would have shown with probability 0.9."""
    if std_error is None:
        return None
    half, sequential = _quantiles(df, analyses, alpha)
    power = t_quantile(df, POWER)
    beyond = math.log1p(margins.margin) + (half + power) * std_error
    return math.expm1(max(beyond, (sequential + power) * std_error))


def predict_growth(judgement: Judgement, effect: float) -> Optional[float]:
    """How many times the data it takes to show a relative difference of `effect`, such as 0.05.

    Margin and error are the judgement's own. The standard error shrinks with the square root of the
    replicates, and the machine is taken to stay as it was. None if MOST_GROWTH times the data would
    not do, or without a standard error.
    """
    if judgement.std_error is None:
        return None
    margins = Margins(margin=judgement.margin)
    growth, analyses = 1.0, judgement.analyses
    while growth <= MOST_GROWTH:
        shrunk, df = judgement.std_error / math.sqrt(growth), judgement.df * growth
        shown = smallest_effect(shrunk, df, analyses, margins, judgement.alpha)
        if shown is not None and shown <= effect:
            return growth
        growth, analyses = growth * GROWTH, analyses + 1
    return None
