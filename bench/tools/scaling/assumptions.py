"""What a calculation assumes, in sentences that are shown with every result."""

from __future__ import annotations

from typing import List

from .gradients import MeasuredStep
from .model import Setting


def describe_assumptions(step: MeasuredStep, setting: Setting, mode: str) -> List[str]:
    """Those of this step, mode and setting, the weightiest first."""
    return [
        "Communication takes nothing from the computation. Ranks that share cores or memory "
        "bandwidth with it or with one another are slower than this.",
        "All ranks compute alike: the wait for the slowest rank is not counted.",
        *_schedule(step, setting, mode),
        "One all-reduce at a time, at the link's full bandwidth; the additions in it, copies and "
        "the scaling by 1 / ranks take no time.",
        _floor(setting),
        "Input, and the broadcast of buffers that DDP makes before each forward pass, take no "
        "time beyond what the one rank's step has.",
    ]


def _schedule(step: MeasuredStep, setting: Setting, mode: str) -> List[str]:
    said = [
        "Gradients become ready layer by layer, from the last to the first, in the proportions of "
        "the layers' backward times, scaled to fill the step's backward part."
    ]
    if mode == "graph":
        said.append(
            "The compiled step has its parts in the eager step's proportions, and starts each "
            "all-reduce when its gradients are ready."
        )
    said.append(f"All-reduces follow one another in that order: {setting.rule.describe()}.")
    said.append(
        "Parameters outside the profile's layers are not counted; one that two layers share is "
        "counted twice."
    )
    if not step.has_param_sizes:
        said.append("The profile does not tell a layer's parameters apart: one a layer.")
    if step.untimed_layers:
        said.append(
            "Layers with parameters but without a backward time take none: "
            f"{step.untimed_layers} of the profile's."
        )
    return said


def _floor(setting: Setting) -> str:
    known = "not given and taken as 0" if setting.floor_s == 0 else f"{setting.floor_s:g} s"
    return (
        "Strong scaling: compute time = latency floor + cost per image x images a rank; the floor "
        f"is {known}."
    )
