"""Writes torchvision_keys.json: what a torchvision state_dict holds, as one digest per model.

Run where torchvision is installed (the suite itself does not need it), from this folder:
`python make_torchvision_keys.py`. A digest is the sha256 of the sorted lines "name:shape".
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
import torchvision

MODELS = [
    "alexnet",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
    "densenet121",
    "googlenet",
    "inception_v3",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "shufflenet_v2_x1_0",
    "squeezenet1_0",
    "squeezenet1_1",
    "mnasnet1_0",
    "efficientnet_b0",
]


def main() -> None:
    rows = {}
    for name in MODELS:
        # googlenet and inception_v3 take these; without them they warn about the initialisation
        heads = [("", {})]
        if name in ("googlenet", "inception_v3"):
            heads = [
                ("", {"aux_logits": True, "init_weights": False}),
                ("_noaux", {"aux_logits": False, "init_weights": False}),
            ]
        for suffix, arguments in heads:
            with torch.device("meta"):
                state = torchvision.models.get_model(name, **arguments).state_dict()
            lines = sorted(f"{key}:{tuple(value.shape)}" for key, value in state.items())
            digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
            rows[name + suffix] = {"num_tensors": len(lines), "sha256": digest}
    content = {"torchvision": torchvision.__version__.split("+")[0], "models": rows}
    path = Path(__file__).resolve().parent / "torchvision_keys.json"
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
