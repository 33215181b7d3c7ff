"""What is run: one workload, the contenders that run it, and how it is measured.

A flag of the command line, its field here and its key in `record.json` are one word.
"""

from __future__ import annotations

import sys
from typing import Dict, List, Optional, Union

from pydantic import BaseModel, ConfigDict, Field

SYNTHETIC_DATA = "synthetic"
EMBEDDED_DATA = "embedded-digits"  # the dataset that comes with the suite


class _Frozen(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )


class Workload(_Frozen):
    """One training job, the same for every contender. Sizes in pixels and samples.

    Everything a recipe file may say stands here; docs/recipes.md explains each field.
    """

    model: str = "alexnet_cifar"
    model_args: Dict[str, Union[bool, int, float, str]] = Field(default_factory=dict)
    dropout: Optional[float] = Field(None, ge=0, lt=1)  # None: the model's own
    data: str = EMBEDDED_DATA  # that, SYNTHETIC_DATA, or a dataset folder
    feed: str = Field("loader", pattern="^(loader|graph|memory)$")
    subset_percent: float = Field(100.0, gt=0, le=100)  # of the training split, per class
    augmentation: bool = True  # crops and flips as the dataset's index asks for them
    num_classes: int = Field(10, ge=2)
    image_size: int = Field(32, ge=1)
    epochs: int = Field(5, ge=1)
    steps_per_epoch: Optional[int] = Field(None, ge=1)  # None: as many as the data gives
    batch_size: int = Field(32, ge=1)
    val_batch_size: int = Field(120, ge=1)
    readers: int = Field(1, ge=1)  # of the data; their batches, joined in order, are the batch
    accumulation_steps: int = Field(1, ge=1)  # parts a batch is split in for one update

    loss: str = "cross_entropy"  # a name of LOSS_ARGUMENTS, or package.module:function
    label_smoothing: Optional[float] = Field(None, ge=0, lt=1)
    alpha: Optional[float] = Field(None, ge=0, le=1)
    temperature: Optional[float] = Field(None, gt=0)
    multiplier: Optional[float] = Field(None, gt=0)
    reg_alpha: Optional[float] = Field(None, ge=0, le=1)
    reg_temperature: Optional[float] = Field(None, gt=0)
    teacher: Optional[str] = None
    teacher_checkpoint: Optional[str] = None

    optimizer: str = Field("sgd", pattern="^(sgd|adam|adamw)$")
    lr: float = Field(0.02, gt=0)
    scale_lr: bool = False  # lr times batch_size / 128
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    clip_norm: Optional[float] = Field(None, gt=0)  # largest 2-norm of all gradients together

    schedule: str = Field("step", pattern="^(constant|step|multistep|cosine)$")
    lr_step: int = Field(3, ge=1)  # epochs between two decays
    lr_milestones: List[int] = Field(default_factory=list)  # epochs after which the rate decays
    lr_gamma: float = Field(0.1, gt=0, le=1)
    warmup_epochs: float = Field(0.0, ge=0)

    seed: int = Field(0, ge=0, lt=2**31)
    load_checkpoint: Optional[str] = None
    drop_head: bool = False
    trust_checkpoint: bool = False
    resume: Optional[str] = None


# what each loss takes, all of it required unless a default is given here
LOSS_ARGUMENTS: Dict[str, Dict[str, Optional[float]]] = {
    "cross_entropy": {},
    "label_smoothing": {"label_smoothing": 0.1},
    "distillation": {"alpha": None, "temperature": None},
    "self_distillation": {"alpha": None, "temperature": None, "multiplier": None},
    "teacher_free": {"reg_alpha": None, "reg_temperature": None, "multiplier": 1.0},
    "binary_cross_entropy": {},
}
LOSS_FIELDS = sorted({name for arguments in LOSS_ARGUMENTS.values() for name in arguments})
TEACHER_LOSSES = ("distillation", "self_distillation")


class Contender(_Frozen):
    """One side of a comparison: how the workload is executed."""

    name: str
    mode: str = Field(min_length=1)  # a name of `plan.modes.MODES`
    runtime: str = Field("tuned", min_length=1)  # tuned, stock, or the path of a runtime profile
    device: str = Field("cpu", pattern="^(cpu|cuda)$")
    dtype: str = Field("float32", pattern="^(float32|float64)$")  # float64: eager, as a reference
    env: Dict[str, str] = Field(default_factory=dict)  # set over the runtime's own variables
    python: Optional[str] = None  # None: the interpreter that runs the suite
    # switches of nn.Graph's config by name; accumulation is the workload's
    graph_options: Dict[str, Union[bool, int, float, str]] = Field(default_factory=dict)
    ranks: int = Field(1, ge=1)  # processes that train together
    strategy: Optional[str] = Field(None, min_length=1)  # how they share it; None: one rank
    accumulation_steps: Optional[int] = Field(None, ge=1)  # None: the workload's
    batch_size: Optional[int] = Field(None, ge=1)  # of one process in weak scaling; else None
    reference: bool = False  # trains for the others' parity, and takes no part in the speed phase

    @property
    def interpreter(self) -> str:
        """The path of the Python that its processes run on."""
        return self.python or sys.executable


def workload_of(workload: Workload, contender: Contender) -> Workload:
    """The workload as this contender runs it: with its own batch, one process reads it alone."""
    if contender.batch_size is None:
        return workload
    return workload.model_copy(update={"batch_size": contender.batch_size, "readers": 1})


class Measuring(_Frozen):
    """How the turns are taken. Times in seconds."""

    block_steps: Optional[int] = Field(None, ge=1)  # None: chosen from the first steps' time
    block_target_s: float = Field(1.0, gt=0)  # the block length aimed at, when chosen
    timeout_s: float = Field(600.0, gt=0)  # longest a worker may take to answer
    keep_checkpoints: bool = False  # one per epoch and the best; else none

    # the speed phase of bench compare: fresh processes, measured for a verdict
    speed: bool = False
    budget_s: float = Field(60.0, gt=0)  # of the whole phase, start of the processes included
    until: Optional[float] = Field(None, gt=0)  # relative effect that must be resolvable
    replicates: int = Field(24, ge=1)  # most; a replicate is a fresh process for each role
    margin: float = Field(0.01, ge=0)  # faster or slower: the whole interval is beyond it
    equivalence: float = Field(0.02, gt=0)  # equivalent: the whole interval is within it
