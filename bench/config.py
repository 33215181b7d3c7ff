"""What is run: one workload, the contenders that run it, and how they are measured.

A field holds its default, its bounds and its help. Flags, the recipe reader and the tables of the
documentation are made from them (`bench/plan/fields.py`). A flag, its field and its key are alike.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from typing import Any, Dict, List, Literal, Optional, Tuple, Union

from pydantic import BaseModel, BeforeValidator, Field
from typing_extensions import Annotated

SYNTHETIC_DATA = "synthetic"
EMBEDDED_DATA = "embedded-digits"  # the dataset that comes with the suite
STEP_DATA = "training-step"  # the batches of the `TrainingStep` that `model` names

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
MULTI_LABEL_LOSS = "binary_cross_entropy"
CODE_FIELDS = ("model", "teacher", "loss", "optimizer")  # package.module:name in these is run
# of the suite's own image job; a `TrainingStep` has its own batches, module and loss
IMAGE_FIELDS = frozenset((
    *LOSS_FIELDS, "augmentation", "batch_size", "drop_head", "dropout", "feed", "image_size",
    "loss", "num_classes", "readers", "scale_lr", "subset_percent", "teacher", "teacher_checkpoint",
    "val_batch_size",
))  # fmt: skip
ADAM_LIKE = ("adam", "adamw", "lamb")  # optimizers with two moments
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "lamb")
DATASET_FIELDS = ("feed", "augmentation", "subset_percent")  # of no use to synthetic data
# fields that only some values of another field read: that field, and these values
READ_WITH: Dict[str, Tuple[str, Tuple[str, ...]]] = {
    **dict.fromkeys(("momentum", "nesterov"), ("optimizer", ("sgd",))),
    **dict.fromkeys(("beta1", "beta2"), ("optimizer", ADAM_LIKE)),
    **dict.fromkeys(("weight_decay", "clip_norm"), ("optimizer", OPTIMIZERS)),
    **dict.fromkeys(("teacher", "teacher_checkpoint"), ("loss", TEACHER_LOSSES)),
    **{n: ("loss", tuple(k for k, v in LOSS_ARGUMENTS.items() if n in v)) for n in LOSS_FIELDS},
    "lr_step": ("schedule", ("step",)),
    "lr_milestones": ("schedule", ("multistep",)),
    "lr_gamma": ("schedule", ("step", "multistep", "exponential")),
}
SCALE_LR_BATCH = 128  # the batch that `lr` is meant for with `scale_lr`

# headings of the flags in a command's help, in their order there
HEADINGS = ("Model", "Data", "Training", "Loss", "Measuring", "Several processes", "Output")


def _field(
    heading: str,
    default: Any,
    description: str,
    shown: Optional[str] = None,
    flag: Optional[str] = None,
    metavar: Optional[str] = None,
    share: bool = False,
    **bounds: Any,
) -> Any:
    """A field that has a flag.

    `heading` groups it in a command's help. `shown` describes a default that the plan chooses; {}
    in it stands for the field's default. `flag` replaces the flag that the field's name gives.
    `metavar` says what to type if the type does not. A `share` may be typed as a percentage.
    """
    extra: Dict[str, Any] = {"heading": heading, "shown": shown, "flag": flag}
    extra.update(metavar=metavar, share=share)
    return Field(default, description=description, json_schema_extra=extra, **bounds)


_model, _data, _training, _loss, _measuring, _processes = (
    partial(_field, heading) for heading in HEADINGS[:6]
)


class _Frozen(BaseModel, extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False):
    pass


class Workload(_Frozen):
    """One training job, the same for every contender. A recipe file may set every field."""

    model: str = _model("alexnet_cifar", "A name of `bench models`, or package.module:factory.")
    model_args: Dict[str, Union[bool, int, float, str]] = _model(
        {}, "Argument of the model, such as depth=40.", flag="--model-arg", metavar="KEY=VALUE"
    )
    dropout: Optional[float] = _model(
        None, "Probability of the dropout layers.", shown="the model's own", ge=0, lt=1
    )
    data: str = _data(
        EMBEDDED_DATA,
        f"Dataset folder, {EMBEDDED_DATA}, {SYNTHETIC_DATA}, or {STEP_DATA} for a TrainingStep.",
    )
    feed: Literal["loader", "graph", "memory"] = _data(
        "loader", "Batches come from a loader outside the graph, inside it, or from memory."
    )
    subset_percent: float = _data(
        100.0, "Percentage of each class's training images to train on.", gt=0, le=100
    )
    augmentation: bool = _data(True, "Crop and flip images as the dataset's index asks for it.")
    num_classes: int = _model(
        10, "Number of classes.", shown="the dataset's, or {} of synthetic data", ge=2
    )
    image_size: int = _model(
        32, "Height and width of the images, in pixels.", shown="the model's own", ge=1
    )
    epochs: int = _training(3, "Passes over the training images.", ge=1)
    steps_per_epoch: Optional[int] = _training(
        None, "Updates in one epoch.", shown="the whole batches of the data", ge=1
    )
    batch_size: int = _training(32, "Images in one batch.", ge=1)
    val_batch_size: int = _data(
        120, "Images in one validation batch.", shown="{}, or the split if smaller", ge=1
    )
    readers: int = Field(
        1, ge=1, description="Readers of the data. Their batches are joined. --ranks sets it."
    )
    accumulation_steps: int = _training(
        1, "Equal parts of a batch for one update. The loss is their mean.", ge=1
    )

    loss: str = _loss(
        "cross_entropy",
        f"{', '.join(LOSS_ARGUMENTS)}, or package.module:function.",
        shown=f"{{}}, or {MULTI_LABEL_LOSS} for several labels a picture",
    )
    label_smoothing: Optional[float] = _loss(
        None, "Share of the target that goes to the other classes.", ge=0, lt=1
    )
    alpha: Optional[float] = _loss(
        None, "Weight of the teacher's term in a distillation.", ge=0, le=1
    )
    temperature: Optional[float] = _loss(
        None, "Temperature that softens the logits in a distillation.", gt=0
    )
    multiplier: Optional[float] = _loss(
        None, "Factor of the soft term in self_distillation and teacher_free.", gt=0
    )
    reg_alpha: Optional[float] = _loss(
        None, "Weight of the virtual teacher's term in teacher_free.", ge=0, le=1
    )
    reg_temperature: Optional[float] = _loss(
        None, "Temperature of the virtual teacher in teacher_free.", gt=0
    )
    teacher: Optional[str] = _loss(None, "Model that teaches in a distillation.", metavar="MODEL")
    teacher_checkpoint: Optional[str] = _loss(
        None, "Weights of the teacher: a checkpoint or a run folder.", metavar="PATH"
    )

    optimizer: str = _training("sgd", f"{', '.join(OPTIMIZERS)}, or package.module:function.")
    lr: float = _training(0.02, "Learning rate before any decay.", gt=0)
    scale_lr: bool = _training(False, "Multiply the learning rate by batch size / 128.")
    momentum: float = _training(0.9, "Momentum of sgd.", ge=0, lt=1)
    nesterov: bool = _training(False, "Use Nesterov's momentum in sgd.")
    beta1: float = _training(0.9, "Decay of the first moment in adam, adamw and lamb.", ge=0, lt=1)
    beta2: float = _training(
        0.999, "Decay of the second moment in adam, adamw and lamb.", ge=0, lt=1
    )
    weight_decay: float = _training(5e-4, "Weight decay of every optimizer.", ge=0)
    clip_norm: Optional[float] = _training(
        None, "Scale all gradients together down to this 2-norm.", shown="no clipping", gt=0
    )

    schedule: Literal["constant", "step", "multistep", "cosine", "linear", "exponential"] = (
        _training("step", "Schedule of the learning rate. cosine and linear end at 0.")
    )
    lr_step: int = _training(2, "Epochs between two decays of --schedule step.", ge=1)
    lr_milestones: List[int] = _training(
        [], "Epochs after which --schedule multistep decays.", metavar="E1,E2,..."
    )
    lr_gamma: float = _training(0.1, "Factor of a decay, in exponential of an epoch.", gt=0, le=1)
    warmup_epochs: float = _training(
        0.0, "Epochs of N steps in which the learning rate rises from 1/N of it.", ge=0
    )

    seed: int = _training(
        0, "Seed of the weights, the data and the order of turns.", ge=0, le=2**31 - 1
    )
    load_checkpoint: Optional[str] = _model(
        None,
        "Weights to start from: .safetensors, .npz, a folder of oneflow.save, or a run folder.",
        metavar="PATH",
    )
    drop_head: bool = _model(
        False, "Leave out the checkpoint's last layer if its number of classes differs."
    )
    trust_checkpoint: bool = _model(
        False, "Let OneFlow load a folder of oneflow.save. That executes its code."
    )
    resume: Optional[str] = _training(
        None, "Continue a run: its folder or one of its checkpoints.", metavar="PATH"
    )


class Contender(_Frozen):
    """One side of a comparison: how the workload is executed."""

    name: str = Field(description="Name in reports, records and file names.")
    mode: str = Field(min_length=1, description="Mode that trains, such as eager or graph.")
    runtime: str = _measuring(
        "tuned",
        "Environment variables: set for speed, left untouched, or taken from a runtime profile.",
        metavar="tuned|stock|FILE",
        min_length=1,
    )
    blas: Optional[str] = _measuring(
        None, "BLAS to preload in place of OneFlow's own.", metavar="PATH|mkl|openblas"
    )
    device: Literal["cpu", "cuda"] = _measuring(
        "cpu", "Device that trains. cuda has never been run."
    )
    dtype: Literal["float32", "float64"] = Field(
        "float32", description="Floating-point type. float64 needs eager mode and is a reference."
    )
    env: Dict[str, str] = Field(
        {}, description="Environment variable of its processes. It wins over the runtime's."
    )
    python: Optional[str] = Field(
        None, description="Path of another Python interpreter, which has its own OneFlow."
    )
    graph_options: Dict[str, Union[bool, int, float, str]] = Field(
        {}, description="Switch of nn.Graph's config, for graph mode."
    )
    ranks: int = _processes(1, "Processes that train together, of all machines.", metavar="N", ge=1)
    strategy: Optional[str] = Field(None, min_length=1, description="How its ranks share the work.")
    accumulation_steps: Optional[int] = Field(
        None, ge=1, description="Equal parts of its batch for one update, if not the workload's."
    )
    batch_size: Optional[int] = Field(
        None, ge=1, description="Batch of one process in weak scaling. Other contenders have none."
    )
    reference: bool = Field(
        False, description="Trains for the others' parity and is left out of the speed phase."
    )

    @property
    def interpreter(self) -> str:
        """The path of the Python that its processes run on."""
        return self.python or sys.executable


def _check_rule(rule: Any) -> Any:
    if isinstance(rule, bool):  # of a record before schema 7
        return "best,last,every:1" if rule else "none"
    word = r"(best|last|every:[1-9]\d*)"
    if not isinstance(rule, str) or not re.fullmatch(f"none|{word}(,{word})*", rule):
        raise ValueError("give best, last and every:N, joined by commas, or none")
    return rule


class Measuring(_Frozen):
    """How the turns are taken. Times in seconds."""

    block_steps: Optional[int] = _measuring(
        None, "Steps timed together.", shown="about a second's worth", ge=1
    )
    block_target_s: float = Field(
        1.0, gt=0, description="Length of a block that is aimed at, in seconds."
    )
    timeout_s: float = _measuring(600.0, "Longest wait for a worker's answer, in seconds.", gt=0)
    log_every: int = _measuring(20, "Steps between two lines of the log.", metavar="STEPS", ge=1)
    keep_checkpoints: Annotated[str, BeforeValidator(_check_rule)] = _measuring(
        "none",
        "Checkpoints to keep: best, last, every:N epochs, or none.",
        shown="best,last in bench eager and bench graph, else {}",
        metavar="best,last,every:N",
    )
    parameter_difference: Literal["every-epoch", "every-step"] = _measuring(
        "every-epoch",
        "When to compare parameters. every-step makes blocks of one step and saves all weights.",
    )
    label: Optional[str] = _measuring(
        None, "Word for the run, by which bench history selects and splits.", metavar="WORD"
    )
    speed: bool = _measuring(
        False, "Measure fresh processes after the training, for a speed verdict."
    )
    budget_s: float = _measuring(
        60.0, "Longest speed phase, start of its processes included, in seconds.", gt=0
    )
    until: Optional[float] = _measuring(
        None, "Stop once an effect of this size, such as 3%, would be seen.", share=True, gt=0
    )
    replicates: int = _measuring(24, "Most fresh processes of each side.", ge=1)
    margin: float = _measuring(
        0.01, "faster and slower lie wholly beyond this effect.", share=True, ge=0
    )
    equivalence: float = _measuring(
        0.02, "equivalent lies wholly within this effect.", share=True, gt=0
    )
