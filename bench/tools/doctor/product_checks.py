"""Judges on how many cores matrix products run, and plans a variant with another BLAS."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Mapping

from ...worker.blas import EXPECTED, PRELOAD, create_preload, find_blas, list_found
from .diagnosis import EXAMINED, Answer, Measured, Number
from .runtime_checks import (
    MATERIAL_FACTOR,
    SCHEDULER_VARIABLE,
    TAKING_PART,
    Changes,
    is_set,
    judge_gain,
    summarize_gain,
)

PRELOADED = "preloaded"  # another BLAS answers OneFlow's calls


def plan_preload(environment: Mapping[str, str], python: str) -> Changes:
    """The variant with the first BLAS that is found by its name, unless something is preloaded."""
    names = list_found(python, environment)
    if not names or environment.get(PRELOAD):
        return {}
    made = create_preload(find_blas(names[0], python, environment), environment)
    return {PRELOADED: {name: made[name] for name in (PRELOAD, EXPECTED)}}


def product_cores(m: Measured) -> Answer:
    """Do matrix products run on all cores, or is a step faster with another BLAS?"""
    times, spins = m.oneflow.threads, is_set(m.oneflow.variables, SCHEDULER_VARIABLE)
    if times is None:
        return m.lack("not measured")
    seconds = times.product.threads_s.values()
    busy = sum(one >= TAKING_PART * max(seconds) for one in seconds)
    used = max(1, busy - spins)  # the scheduler's thread spins beside them
    measured: Dict[str, Number] = {"product_cores": used, "usable_cores": m.machine.usable_cores}
    evidence = f"a matrix product runs on {used} of {m.machine.usable_cores} usable cores"
    gain, changes = summarize_gain(m.oneflow.rounds, PRELOADED), m.oneflow.changes
    if PRELOADED not in changes:
        return Answer(f"{evidence}; no other BLAS was found", measured)
    library = changes[PRELOADED][EXPECTED]
    if gain is None:
        return m.lack(f"{evidence}; {Path(library).name} had too few turns")
    evidence += f"; a step takes {gain.factor:.2f} times as long as with {Path(library).name}"
    return judge_gain(evidence, measured, gain, f"--blas {library}")


def model_products(m: Measured) -> Answer:
    """Would the step of the user's model be faster with another BLAS? Predicted from its profile.

    The time of its products is replaced by that of the other BLAS at the same shapes.
    """
    step, seconds, changes = m.oneflow.profiled, m.oneflow.products_s, m.oneflow.changes
    if step is None or EXAMINED not in seconds:
        return m.lack("the products of the profile were not measured")
    own_s = seconds[EXAMINED]
    evidence = (
        f"products take {own_s / step.step_s:.0%} of a step of {step.model}, {step.mode}, "
        f"{step.batch}"
    )
    measured: Dict[str, Number] = {"step_s": step.step_s, "products_s": own_s}
    if PRELOADED not in changes:
        return Answer(f"{evidence}; no other BLAS was found", measured)
    library = changes[PRELOADED][EXPECTED]
    name = Path(library).name
    if PRELOADED not in seconds:
        return m.lack(f"{evidence}; those of {name} were not measured")
    other_s = seconds[PRELOADED]
    rest_s = step.step_s - own_s
    if rest_s <= 0:
        return m.lack(f"{evidence}, which is not of this machine or this runtime")
    factor = step.step_s / (rest_s + other_s)
    evidence += f"; with {name} a step is predicted to be {factor:.2f} times as fast"
    return Answer(
        evidence,
        {**measured, "other_products_s": other_s, "predicted_factor": factor},
        factor > MATERIAL_FACTOR,
        f"products are {own_s / other_s:.2f} times as fast with {name}",
        f"--blas {library}, if `bench compare` confirms the prediction",
        factor,
    )


PRODUCT_CHECKS = (product_cores,)
PROFILE_CHECKS = (model_products,)  # with a profile
