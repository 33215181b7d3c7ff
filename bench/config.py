"""What is run: one workload, the contenders that run it, and how it is measured.

A flag of the command line, its field here and its key in `record.json` are one word.
"""

from __future__ import annotations

from typing import Dict, Optional

from pydantic import BaseModel, ConfigDict, Field

SYNTHETIC_DATA = "synthetic"
EMBEDDED_DATA = "embedded-digits"  # the dataset that comes with the suite


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Workload(_Frozen):
    """One training job, the same for every contender. Sizes in pixels and samples."""

    model: str = "alexnet_cifar"
    data: str = EMBEDDED_DATA  # that, SYNTHETIC_DATA, or a dataset folder
    feed: str = Field("loader", pattern="^(loader|graph|memory)$")
    num_classes: int = Field(10, ge=2)
    image_size: int = Field(32, ge=1)
    epochs: int = Field(5, ge=1)
    steps_per_epoch: Optional[int] = Field(None, ge=1)  # None: as many as the data gives
    batch_size: int = Field(32, ge=1)
    val_batch_size: int = Field(120, ge=1)
    lr: float = Field(0.02, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    lr_step: int = Field(3, ge=1)  # epochs between two decays
    lr_gamma: float = Field(0.1, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**31)
    load_checkpoint: Optional[str] = None


class Contender(_Frozen):
    """One side of a comparison: how the workload is executed."""

    name: str
    mode: str = Field(pattern="^(eager|graph)$")
    runtime: str = Field("tuned", pattern="^(tuned|stock)$")
    device: str = Field("cpu", pattern="^(cpu|cuda)$")
    env: Dict[str, str] = Field(default_factory=dict)  # set over the runtime's own variables
    python: Optional[str] = None  # None: the interpreter that runs the suite


class Measuring(_Frozen):
    """How the turns are taken. Times in seconds."""

    block_steps: Optional[int] = Field(None, ge=1)  # None: chosen from the first steps' time
    block_target_s: float = Field(1.0, gt=0)  # the block length aimed at, when chosen
    timeout_s: float = Field(600.0, gt=0)  # longest a worker may take to answer
    keep_checkpoints: bool = False  # one per epoch and the best; else none
