"""Everything that this suite takes from OneFlow beside its documented interface.

Tried on OneFlow 0.8.0 and 0.9.0 on a CPU. For a new version run this room's tests, mend this file,
and see docs/architecture.md. Three facts about versions stand elsewhere, where OneFlow is not
imported: `plan.resolve.explain_zero`, the hint of `worker.process.describe_death`, and the
variables of `worker.environment`. The doctor's worker runs without the suite and has its own.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Dict, List, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn
from oneflow._oneflow_internal import eager, lazy_mode
from oneflow.optim import lr_scheduler
from oneflow.utils.data import DataLoader

# slot of an optimizer -> (key in an eager optimizer's state, suffix of a graph's variable)
OPTIMIZER_SLOTS = {
    "momentum": ("momentum_buf", "-momentum"),
    "exp_avg": ("exp_avg", "-m"),
    "exp_avg_sq": ("exp_avg_sq", "-v"),
    "max_exp_avg_sq": ("max_exp_avg_sq", "-max_v"),  # AMSGrad
    "sum": ("sum", "-sum"),  # Adagrad
    "square_avg": ("square_avg", "-mean_square"),  # RMSprop
    "grad_avg": ("grad_avg", "-mean_gradient"),
    "square_avgs": ("square_avgs", "-square_avgs"),  # Adadelta
    "acc_deltas": ("acc_deltas", "-acc_deltas"),
}
# operators that draw random numbers
RANDOM_OPS = frozenset(
    ("bernoulli", "dropout", "multinomial_with_replacement", "multinomial_without_replacement",
     "normal", "random_mask_like", "randperm", "uniform", "uniform_int")
)  # fmt: skip
FREE_TENSOR = "-FreeEagerTensor"  # in the graph's name of a tensor that a forward made
GRAPH_STEP = "System-Train-TrainStep"  # the variable that counts a graph's updates
PADDING_SIZE = 768  # rows and columns of the padding operator's matrices


def wait_for_submitted() -> None:
    """Wait until what was submitted to the CPU, eager or graph, has been computed.

    `flow.cuda.synchronize` does nothing on a CPU, and `loss.numpy()` waits for that tensor alone.
    """
    eager.Sync()


def compile_without_running(graph: nn.Graph, inputs: Tuple[flow.Tensor, ...]) -> None:
    """Compile for inputs of these shapes and types; the first call does not compile again."""
    graph._compile(*inputs)


def list_built_ops(graph: nn.Graph) -> List[str]:
    """Types of the operators of a graph as it was built, with backward and update."""
    return [_op_type(op) for op in graph._full_graph_proto.net.op]


def list_compiled_ops(graph: nn.Graph) -> List[Tuple[str, str]]:
    """(name, type) of the operators of a compiled graph."""
    return [(str(op.name), _op_type(op)) for op in graph._compiled_graph_proto.net.op]


def list_unshared_draws(graph: nn.Graph, module: nn.Module, prefix: str) -> List[Tuple[str, str]]:
    """(path in the graph, type) of each operator whose random numbers eager mode draws otherwise.

    `prefix` is before the names of `module`'s parts in the graph. An `nn.Dropout` that is called
    once draws alike in both modes, from a generator of its own.
    """
    drawing = [(name, kind) for name, kind in list_compiled_ops(graph) if kind in RANDOM_OPS]
    drawn = [(name.rsplit("-", 2)[0], kind) for name, kind in drawing]
    paths = [path for path, _ in drawn]
    dropouts = {prefix + n for n, m in module.named_modules() if type(m) is nn.Dropout}
    return [(p, kind) for p, kind in drawn if p not in dropouts or paths.count(p) > 1]


def outside_graph() -> Any:
    """A context whose operators run eagerly, also while a graph is traced."""
    return lazy_mode.guard(False)


def _op_type(op: Any) -> str:
    kind = str(op.WhichOneof("op_type"))
    return str(op.user_conf.op_type_name) if kind == "user_conf" else kind.replace("_conf", "")


def list_options(optimizer: flow.optim.Optimizer) -> Dict[Tuple[str, str], str]:
    """(group, option) -> text of its value, without those that an eager step computes itself."""
    return {
        (f"optimizer.param_groups[{number}]", name): repr(value)
        for number, group in enumerate(optimizer.param_groups)
        for name, value in group._options.items()
        if not name.startswith("bias_correction")
    }


def clips_gradients(optimizer: flow.optim.Optimizer) -> bool:
    """Whether any of its groups asks for clipping, which an eager step must call itself."""
    return any("clip_grad_max_norm" in group._options for group in optimizer.param_groups)


def compiles(optimizer: Any) -> bool:
    """Whether it is an optimizer whose class tells a graph of the update that its `step` takes.

    A graph takes none of a `step` that a subclass has overridden.
    """
    if not isinstance(optimizer, flow.optim.Optimizer):
        return False
    owners = [vars(kind) for kind in type(optimizer).__mro__]
    stepping = next(number for number, names in enumerate(owners) if "step" in names)
    return any("_generate_conf_for_graph" in names for names in owners[: stepping + 1])


def has_nesterov() -> bool:
    """OneFlow 0.8.0 has no SGD with Nesterov's momentum."""
    return "nesterov" in inspect.signature(flow.optim.SGD.__init__).parameters


def runs_in_graph(scheduler: Any) -> bool:
    """Whether a graph can step this scheduler. A class of the user's own has no graph form."""
    refused = lr_scheduler.ChainedScheduler  # has the method, which raises
    return hasattr(scheduler, "_generate_conf_for_graph") and not isinstance(scheduler, refused)


def continue_schedule(scheduler: Any, step: int) -> None:
    """Make `step` the next update of a schedule that has not been stepped."""
    scheduler.last_step = step - 1
    scheduler.step()


def reads_alone(version: str) -> bool:
    """Whether this OneFlow's reader must not run beside other eager operators.

    OneFlow 0.8.0 ends in a segmentation fault where it does, unless one thread does all the work
    (ONEFLOW_VM_WORKLOAD_ON_SCHEDULER_THREAD=1), so they race; 0.9.0 does not.
    """
    return tuple(int(part) for part in version.split(".")[:2]) < (0, 9)


def create_padding_operator() -> flow.Tensor:
    """Work of some 20 ms, to be built into a graph of next to nothing and returned from it.

    OneFlow 0.9.0 starts a graph and only then enters it in the queue that the graph's end takes
    it from. One that has ended by then is taken from an empty queue, and of that the process dies,
    which graphs of a millisecond do once in some 10,000 calls (benchmarks/launch_race.py). The
    heavier a graph, the longer its launch may be held up by other work. Under SCHED_BATCH
    (`chrt --batch 0`) the threads that a launch wakes do not put it off, and few processes die.
    """
    # not flow.ones, which makes a module, and warns that this one is not registered in the graph
    size, device = (PADDING_SIZE, PADDING_SIZE), flow.device("cpu")
    square = flow._C.constant(size, 1.0, dtype=flow.float32, device=device)
    return flow.matmul(square, square).sum()


def place_on_all(device: str) -> Any:
    """The placement of every rank of the group; `device` is cpu or cuda."""
    return flow.placement(device, list(range(flow.env.get_world_size())))


def gather(tensor: flow.Tensor) -> np.ndarray:
    """An array of its own with the whole of a tensor, on each rank (`Tensor.numpy` aliases it).

    A global tensor is gathered by all ranks of the group together: each must ask, in the same
    order.
    """
    if tensor.is_global:
        everywhere = place_on_all(tensor.placement.type)
        tensor = tensor.to_global(placement=everywhere, sbp=flow.sbp.broadcast).to_local()
    return np.array(tensor.numpy())


def place_like(array: np.ndarray, like: flow.Tensor) -> flow.Tensor:
    """`array` as a tensor of the type of `like`, spread over the ranks as that is."""
    tensor = flow.tensor(array).to(like.dtype)
    if not like.is_global:
        return tensor
    whole = tensor.to_global(placement=like.placement, sbp=flow.sbp.broadcast)
    return whole.to_global(sbp=like.sbp)


def place_everywhere(array: np.ndarray, like: flow.Tensor) -> flow.Tensor:
    """`array` as a tensor that every rank holds, global where `like` is."""
    tensor = flow.tensor(array)
    if not like.is_global:
        return tensor
    return tensor.to_global(placement=place_on_all(like.placement.type), sbp=flow.sbp.broadcast)


def find_owner(model: nn.Module, buffer: str) -> str:
    """The OneFlow class of the module that holds a buffer: Module for a class of the user's own."""
    module = functools.reduce(getattr, buffer.split(".")[:-1], model)
    kinds = type(module).__mro__
    return next(kind.__name__ for kind in kinds if kind.__module__.startswith("oneflow."))


def device_of(module: nn.Module) -> str:
    """The type of device, cpu or cuda, of a module's parameters."""
    parameter = next(module.parameters())
    return str(parameter.placement.type if parameter.is_global else parameter.device.type)


def seed_loaders(seed: int) -> None:
    """Seed the generator of every `DataLoader` that was given none.

    They all share one, the default of an argument in OneFlow 0.9.0. `manual_seed` does not reach
    it, so that a second pass in a process is shuffled as no first pass is.
    """
    shared = inspect.signature(DataLoader.__init__).parameters["generator"].default
    if shared is not None:
        shared.manual_seed(seed)
