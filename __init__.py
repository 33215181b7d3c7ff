"""Is a OneFlow model's compiled graph faithful to eager mode, and is it worth it?

Describe your training once, as a `TrainingStep`: a module, its batches and the loss of a batch.

    import oneflow_bench as ob

    step = ob.TrainingStep(create_module=Net, create_batches=read_batches, loss=compute_loss)
    print(ob.check(step))                     # are both modes the same, level by level?
    result = ob.compare(step, budget_s=60)    # and is the graph faster?
    result.verdict, result.speedup, result.parity, result.losses

- `compare`, `check`: the modes beside each other, for speed and for parity.
- `train`: one mode, with its losses, metrics and checkpoints.
- `profile`: the time of each layer. `infer`: latency and throughput by batch size.
- `load_run`: a stored comparison, or a stored training of one mode.
- `assert_parity`, `assert_loop_parity`: the parity of your own module or loop, in a test.

Each takes a `TrainingStep`, also of a script or a notebook, its name as "module:step", or the name
of a model of the suite. Settings are the flags of the command by the names of their fields, such as
`epochs`, `lr` or `budget_s`. A result prints as a report, shows itself in a notebook, and most have
`to_frame()`, `save(folder)` and `plot()`. Work is done in processes of their own. Bad input raises
`oneflow_bench.bench.errors.InputError`, in one sentence with the remedy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, List

__version__ = "0.3.0"

if TYPE_CHECKING:
    from .bench.cli.api import check, compare, infer, load_run, profile, train
    from .bench.parity.own.assertion import ParityError, assert_parity
    from .bench.parity.own.loop import Loop, assert_loop_parity
    from .bench.training_step import TrainingStep

__all__ = [
    "Loop",
    "ParityError",
    "TrainingStep",
    "__version__",
    "assert_loop_parity",
    "assert_parity",
    "check",
    "compare",
    "infer",
    "load_run",
    "profile",
    "train",
]

_OWN = ".bench.parity.own"
_MODULES = {
    "assert_parity": f"{_OWN}.assertion",
    "ParityError": f"{_OWN}.assertion",
    "assert_loop_parity": f"{_OWN}.loop",
    "Loop": f"{_OWN}.loop",
    "TrainingStep": ".bench.training_step",
    **dict.fromkeys(
        ("check", "compare", "infer", "load_run", "profile", "train"), ".bench.cli.api"
    ),
}


def __getattr__(name: str) -> Any:
    # OneFlow is imported only when a function that needs it is asked for.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> List[str]:
    return __all__  # so that help() shows what is imported when it is asked for
