"""The door `assert_parity` for the kind that PLANTED_KIND names: its status and JSON in a line."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any, Tuple

import oneflow as flow

from faults import own
from faults.doors import SMALL
from oneflow_bench import assert_parity

STEPS = 4


def create_optimizer(net: flow.nn.Module) -> Tuple[Any, Any]:
    """The kind's optimizer, with the schedule of the other doors."""
    optimizer = own.create_optimizer(net)
    return optimizer, flow.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)


def main() -> int:
    """The exit status: 1 if `assert_parity` finds a difference, 0 if it passes, else 2 or 4."""
    flow.manual_seed(0)
    kind = own.KINDS[os.environ[own.VARIABLE]]
    count, size = (kind.flags.get(name, SMALL[name]) for name in ("batch_size", "image_size"))
    batch = (flow.randn(count, 3, size, size), flow.arange(count) % 10)
    loss = own.loss if "loss" in kind.flags else flow.nn.CrossEntropyLoss()
    try:
        assert_parity(own.model(), loss, batch, steps=STEPS, create_optimizer=create_optimizer)
    except AssertionError as error:
        levels = [level.model_dump(mode="json") for level in getattr(error, "levels", [])]
        print(json.dumps({"reason": str(error), "levels": levels}))
        return 1
    except ValueError as error:  # refused, as `bench` does with status 2
        print(json.dumps({"reason": str(error)}))
        return 2
    except Exception:  # an error is no verdict
        traceback.print_exc()
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
