"""The train step in PyTorch, built from the suite's own model sources; run as a file.

The interpreter with PyTorch need not have OneFlow or this package. So this file uses only PyTorch,
NumPy and the standard library, and speaks the suite's worker protocol itself. Most names that the
model files use of `oneflow` are PyTorch's too. So the files are run as they are, with `torch` in
place of `oneflow`. A model that uses another name ends the setup in one sentence.
"""

import argparse
import importlib.util
import json
import math
import os
import sys
import time
import traceback
import types
from pathlib import Path
from typing import Any, Dict, List, Tuple

PACKAGE = "oneflow_bench"


class Unusable(Exception):
    """Something that was given cannot be used; the message is one sentence."""


def stand_in_for_oneflow(torch: Any, models_folder: Path) -> Any:
    """Make `import oneflow` give PyTorch; the package of models."""
    sys.modules["oneflow"] = torch
    for name in ("nn", "nn.functional", "nn.init"):
        sys.modules[f"oneflow.{name}"] = sys.modules[f"torch.{name}"]
    parent = types.ModuleType(PACKAGE)
    parent.__path__ = []
    sys.modules[PACKAGE] = parent
    name = f"{PACKAGE}.models"
    spec = importlib.util.spec_from_file_location(
        name, models_folder / "__init__.py", submodule_search_locations=[str(models_folder)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
    return package


def load_state(torch: Any, model: Any, path: str) -> None:
    """Give `model` the arrays of an `.npz`, by name; every tensor must be there."""
    import numpy as np

    with np.load(path) as stored:
        state = {name: torch.from_numpy(stored[name].copy()) for name in stored.files}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise Unusable(
            "the model built with PyTorch has other tensors than OneFlow's "
            f"({' '.join(str(error).split())[:300]})"
        ) from None


def load_batches(torch: Any, path: str) -> List[Tuple[Any, Any]]:
    """(images float32 (B, 3, H, W), labels int64 (B,)) in order."""
    import numpy as np

    with np.load(path) as stored:
        numbers = range(len(stored.files) // 2)
        images = [torch.from_numpy(stored[f"images_{n}"].copy()) for n in numbers]
        labels = [torch.from_numpy(stored[f"labels_{n}"].astype(np.int64)) for n in numbers]
    return list(zip(images, labels))


class TorchSession:
    """The suite's train step: cross entropy, SGD, batches that lie in memory."""

    def setup(self, request: Dict[str, Any]) -> Dict[str, Any]:
        import torch  # pyright: ignore[reportMissingImports]

        models = stand_in_for_oneflow(torch, Path(request["models_folder"]))
        self._torch = torch
        work = request["workload"]
        self._model = _build(models, work)
        load_state(torch, self._model, request["weights"])
        if request["disable_dropout"]:
            for module in self._model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
        self._batches = load_batches(torch, request["inputs"])
        self._aux_weights = request["aux_weights"]
        self._next = 0
        self._model.train()
        rule = {name: work[name] for name in ("momentum", "weight_decay", "nesterov")}
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=request["lr"], **rule)
        self._objective = self._compute_loss
        about = {"torch": torch.__version__, "python": sys.version.split()[0]}
        return {**about, "threads": torch.get_num_threads()}

    def compile(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Compile model and loss with `torch.compile`, forward and backward; seconds or why not.

        Only running statistics move; the optimizer's update is not compiled.
        """
        start = time.perf_counter()
        try:
            self._objective = self._torch.compile(self._compute_loss)
            self._objective(*self._batches[0]).backward()
        except Exception as error:
            traceback.print_exc()
            lines = str(error).strip().splitlines() or [""]
            return {"error": f"torch.compile failed with {type(error).__name__}: {lines[0][:200]}"}
        self._optimizer.zero_grad(set_to_none=True)
        return {"compile_s": time.perf_counter() - start}

    def train(self, request: Dict[str, Any]) -> Dict[str, Any]:
        losses = [float(self._step().detach()) for _ in range(request["steps"])]
        return {"losses": [loss if math.isfinite(loss) else None for loss in losses]}

    def measure(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Time a block of steps. PyTorch computes on the CPU before its calls return."""
        for _ in range(request["untimed_steps"]):
            self._step()
        start = time.perf_counter()
        for _ in range(request["steps"]):
            self._step()
        return {"duration_s": time.perf_counter() - start}

    def end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return {}

    def _compute_loss(self, images: Any, labels: Any) -> Any:
        cross_entropy = self._torch.nn.functional.cross_entropy
        outputs = self._model(images)
        if not isinstance(outputs, (tuple, list)):
            return cross_entropy(outputs, labels)
        loss = cross_entropy(outputs[0], labels)
        for weight, head in zip(self._aux_weights, outputs[1:]):
            loss = loss + weight * cross_entropy(head, labels)
        return loss

    def _step(self) -> Any:
        images, labels = self._batches[self._next]
        self._next = (self._next + 1) % len(self._batches)
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._objective(images, labels)
        loss.backward()
        self._optimizer.step()
        return loss


def _build(models: Any, work: Dict[str, Any]) -> Any:
    name = work["model"]
    try:
        return models.create_model(name, num_classes=work["num_classes"], **work["model_args"])
    except Exception as error:
        traceback.print_exc()
        raise Unusable(
            f"{name} cannot be built with PyTorch in place of OneFlow "
            f"({type(error).__name__}: {' '.join(str(error).split())[:300]})"
        ) from None


def serve(session: Any, requests: Any, replies: Any) -> None:
    """Answer requests by the session's methods of their names, until `end` or no more input."""
    for line in requests:
        request = json.loads(line)
        try:
            answer = {"ok": True, **getattr(session, request["call"])(request)}
        except Unusable as error:
            answer = {"ok": False, "kind": "input", "error": str(error)}
        except Exception as error:
            traceback.print_exc()
            last = (str(error).strip().splitlines() or [""])[-1]
            answer = {"ok": False, "kind": "failure", "error": f"{type(error).__name__}: {last}"}
        replies.write(json.dumps(answer) + "\n")
        replies.flush()
        if request["call"] == "end" or not answer["ok"]:
            return


if __name__ == "__main__":
    # this file's folder holds modules that are not meant for `import`
    sys.path.pop(0)
    parser = argparse.ArgumentParser()
    parser.add_argument("--reply-fd", type=int, required=True)
    with os.fdopen(parser.parse_args().reply_fd, "w", encoding="utf-8") as opened:
        serve(TorchSession(), sys.stdin, opened)
