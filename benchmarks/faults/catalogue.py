"""All planted faults, with places, sizes, and the level and tensor that the check must name."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from faults import layers, training
from faults.planting import Fault
from oneflow_bench.bench.parity.result import (
    BATCHES,
    EVAL_FORWARD,
    FIRST_UPDATE,
    FORWARD,
    GRADIENTS,
    INITIAL_WEIGHTS,
    LOSS,
    LOSS_CURVE,
    RESUMED,
    TRAINED,
    VALIDATION,
)

OUTPUTS = (EVAL_FORWARD, FORWARD)
LATER_STEPS = (LOSS_CURVE, TRAINED)
HERE = "{where}"
ANY = "*"  # naming the stage is enough

Places = Iterable[Tuple[str, str]]  # model, module or parameter
Cases = List[Tuple[str, str, float]]


def _cross(places: Places, sizes: Iterable[float]) -> Cases:
    return [(model, where, size) for model, where in places for size in sizes]


def _faults(
    kind: str,
    plant: Callable[..., None],
    levels: Tuple[str, ...],
    cases: Cases,
    names: str = HERE,
    recipe: Optional[Dict[str, Any]] = None,
) -> List[Fault]:
    """One fault a case; `names` may hold {where} and {size}."""
    return [
        Fault(kind, model, where, size, levels, names.format(where=where, size=size), plant,
              recipe or {})
        for model, where, size in cases
    ]  # fmt: skip


WEIGHTS = [
    ("lenet", "features.0.weight"),
    ("lenet", "classifier.4.bias"),
    ("resnet20", "layer2.0.conv1.weight"),
    ("cnn", "bn2.weight"),
]
LINEAR = [("lenet", "features.3"), ("lenet", "classifier.2"), ("resnet20", "layer2.1.conv2")]
RELUS = [("lenet", "features.1"), ("lenet", "classifier.3")]
NORMS = [("cnn", "bn1"), ("resnet20", "layer3.1.bn1")]
SILU_NET = "faulty_models:silu_net"

_LAYERS = [
    *_faults("weight off by one ULP", layers.move_weight_by_ulps, (INITIAL_WEIGHTS,),
             _cross(WEIGHTS, [1.0])),
    *_faults("weight off, relative", layers.scale_weight, (INITIAL_WEIGHTS,),
             _cross(WEIGHTS, [1e-6, 1e-4])),
    *_faults("layer computes with another weight", layers.scale_hidden_weight, OUTPUTS,
             _cross(LINEAR, [1e-6, 1e-5, 1e-4, 1e-2])),
    *_faults("activation skipped", layers.skip, OUTPUTS, _cross([*RELUS, ("cnn", "relu")], [1.0])),
    *_faults("activation doubled", layers.double, OUTPUTS,
             _cross([(SILU_NET, "act1"), (SILU_NET, "act3")], [2.0])),
    *_faults("ReLU with a slope", layers.slope, OUTPUTS, _cross(RELUS, [1e-4, 1e-2])),
    *_faults("two channels swapped", layers.swap_channels, OUTPUTS,
             _cross([("lenet", "features.0"), ("cnn", "bn3"), ("resnet20", "layer3.0.conv1")],
                    [1.0])),
    *_faults("float16 round trip", layers.round_to_float16, OUTPUTS,
             _cross([("lenet", "features.0"), ("cnn", "fc1"), ("resnet20", "layer1.2.bn2")],
                    [16.0])),
    *_faults("padded border off by one", layers.shift_border, OUTPUTS,
             _cross([("cnn", "conv1"), ("cnn", "conv3"), ("resnet20", "layer2.1.conv1")], [1.0])),
    *_faults("mean instead of maximum pooling", layers.pool_by_mean, OUTPUTS,
             _cross([("lenet", "features.2"), ("lenet", "features.5")], [1.0])),
    *_faults("layer's output scaled", layers.scale_output, OUTPUTS,
             [("resnet20", "layer2.0", 1e-4), ("cnn", "fc1", 1e-5)]),
    *_faults("logits scaled", layers.scale_output, OUTPUTS, _cross([("lenet", "")], [1e-5, 1e-3]),
             "output"),
    *_faults("constant added", layers.add_to_output, OUTPUTS,
             _cross([("lenet", "classifier.0"), ("cnn", "fc2")], [1e-6, 1e-3])),
    *_faults("batch norm with another eps", layers.change_bn_eps, OUTPUTS,
             _cross(NORMS, [2e-5, 1e-3])),
    *_faults("batch norm in eval mode while training", layers.fix_training, (FORWARD,),
             _cross(NORMS, [0.0])),
    *_faults("batch norm in train mode while evaluating", layers.fix_training, (EVAL_FORWARD,),
             _cross(NORMS, [1.0])),
    *_faults("batch norm with another momentum", layers.change_bn_momentum, (FIRST_UPDATE,),
             [("cnn", "bn1", 0.11), ("cnn", "bn3", 0.1001), ("resnet20", "layer3.1.bn1", 0.2)],
             "{where}.running_*"),
    *_faults("running variance biased", layers.bias_running_variance, (FIRST_UPDATE,),
             [("cnn", "bn1", 4096.0), ("cnn", "bn3", 256.0)], "{where}.running_var"),
    *_faults("dropout with another p", layers.change_dropout, (FORWARD,),
             _cross([("cnn", "dropout")], [0.4, 0.501])),
    *_faults("dropout with another seed", layers.shift_dropout_mask, (FORWARD,),
             _cross([("cnn", "dropout")], [1.0])),
    *_faults("gradient of a weight off", layers.scale_gradient, (GRADIENTS,),
             _cross([("lenet", "features.0"), ("lenet", "classifier.2"), ("cnn", "conv2")],
                    [1e-6, 1e-5, 1e-3, 1e-1]), "{where}.weight"),
    *_faults("gradient cut", layers.cut_gradient, (GRADIENTS,),
             _cross([("lenet", "classifier.2")], [0.0]), "classifier.0.*"),
    *_faults("layer frozen", layers.freeze_layer, (GRADIENTS,),
             _cross([("lenet", "features.3"), ("lenet", "classifier.4"), ("cnn", "bn2")], [0.0]),
             "{where}.*"),
]  # fmt: skip

_CLIPPED = {"clip_norm": 0.1}
_SMOOTHED = {"loss": "label_smoothing", "label_smoothing": 0.1}
_TAUGHT = {"loss": "distillation", "alpha": 0.5, "temperature": 2.0, "teacher": "cnn"}

_TRAINING = [
    *_faults("weight decay before clipping", training.decay_in_gradient,
             (GRADIENTS, FIRST_UPDATE), _cross([("lenet", "weight_decay")], [5e-4, 5e-2]), ANY,
             _CLIPPED),
    *_faults("no weight decay on biases", training.spare_biases, (FIRST_UPDATE,),
             _cross([("lenet", "weight_decay")], [0.0]), "*.bias*"),
    *_faults("weight decay lost", training.set_option, (FIRST_UPDATE,),
             _cross([("lenet", "weight_decay")], [0.0]), ANY),
    *_faults("learning rate off", training.set_option, (FIRST_UPDATE,),
             _cross([("lenet", "lr")], [0.01 * (1 + 1e-4), 0.0101]), ANY,
             {"schedule": "constant"}),
    *_faults("clipping norm off", training.set_option, (FIRST_UPDATE,),
             _cross([("lenet", "clip_grad_max_norm")], [0.10001, 0.101]), ANY, _CLIPPED),
    *_faults("Nesterov instead of plain momentum", training.set_option, (FIRST_UPDATE,),
             _cross([("lenet", "nesterov")], [1.0]), ANY),
    *_faults("momentum off by 1 %", training.set_option, LATER_STEPS,
             [("lenet", "momentum", 0.909), ("cnn", "momentum", 0.891)], ANY),
    *_faults("gradients not zeroed", training.set_option, LATER_STEPS,
             _cross([("lenet", "momentum")], [1.0]), ANY,
             {"momentum": 1e-12, "weight_decay": 0.0}),
    *_faults("Adam with another beta2", training.change_beta2, (FIRST_UPDATE, *LATER_STEPS),
             _cross([("lenet", "betas")], [0.99, 0.9989]), ANY,
             {"optimizer": "adam", "lr": 0.001}),
    *_faults("schedule one step late", training.delay_schedule, LATER_STEPS,
             _cross([("lenet", "schedule"), ("cnn", "schedule")], [1.0]), ANY),
    *_faults("loss summed instead of averaged", training.sum_loss, (LOSS,),
             _cross([("lenet", "loss")], [0.0]), "loss"),
    *_faults("label smoothing other than 0.1", training.change_smoothing, (LOSS,),
             _cross([("lenet", "loss")], [0.11, 0.1001]), "loss", _SMOOTHED),
    *_faults("batch repeated", training.repeat_batch, (BATCHES,),
             _cross([("lenet", "feed")], [2, 4]), "step {size} images"),
    *_faults("input channels swapped", training.swap_input_channels, (BATCHES,),
             _cross([("lenet", "feed")], [1.0]), "step 1 images"),
    *_faults("labels off by one", training.shift_labels, (BATCHES,),
             _cross([("lenet", "feed")], [1.0]), "step 1 labels"),
    *_faults("teacher in train mode", training.train_teacher, (FORWARD,),
             _cross([("lenet", "teacher")], [1.0]), "teacher.bn1", _TAUGHT),
    *_faults("optimizer state lost at a checkpoint", training.plant_in_session, (RESUMED,),
             _cross([("lenet", "optimizer"), ("cnn", "optimizer")], [0.0]), ANY),
    *_faults("validation with stale weights", training.plant_in_session, (VALIDATION,),
             _cross([("lenet", "weights")], [0.0]), ANY),
]  # fmt: skip

FAULTS: List[Fault] = _LAYERS + _TRAINING
