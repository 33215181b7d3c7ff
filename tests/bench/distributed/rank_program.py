"""What each process of a test does: one worker session after another, their answers to a file.

A case is {"name", "contender", "workload", "dataset", "calls"}; a call is [name, arguments]. What
is refused with an InputError ends its case and is kept under "error".
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict

import oneflow_bench.bench.distributed  # noqa: F401  registers its strategies and its report
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.worker.messages import (
    EvalRequest,
    PrepareRequest,
    SaveRequest,
    StepsRequest,
)
from oneflow_bench.bench.worker.session import Session

STEPS_PER_EPOCH = 4
REQUESTS = {"train": StepsRequest, "eval": EvalRequest, "save": SaveRequest}


def answer_case(case: Dict[str, Any], folder: Path) -> Dict[str, Any]:
    session = Session()
    answers: Dict[str, Any] = {}
    try:
        answers["setup"] = session.setup(
            PrepareRequest(
                workload=case["workload"],
                contender={"name": case["name"], **case["contender"]},
                steps_per_epoch=STEPS_PER_EPOCH,
                dataset=case.get("dataset"),
            )
        ).model_dump()
        for name, arguments in case.get("calls", []):
            answer = getattr(session, name)(REQUESTS[name].model_validate(arguments))
            answers.setdefault(name, []).append(answer.model_dump())
        if case.get("keeps_batches"):
            keep_batches(session, folder / f"{case['name']}.npz")
    except InputError as error:
        answers["error"] = str(error)
    return answers


def keep_batches(session: Session, path: Path) -> None:
    """The next batches of the training and the validation feed, as they came."""
    import numpy as np

    arrays = {}
    for split in ("train", "eval"):
        feed = getattr(session._job, f"{split}_feed")
        for number in range(3):
            for kind, tensor in zip(("images", "labels"), feed.next_batch()):
                arrays[f"{split}-{number}-{kind}"] = np.array(tensor.numpy())
    np.savez(path, **arrays)


def main(folder: Path, rank: int) -> None:
    own = folder / f"kept-{rank}"
    own.mkdir()
    cases = json.loads((folder / "cases.json").read_text())
    answers = {}
    for case in cases:
        print("case", case["name"], flush=True)
        answers[case["name"]] = answer_case(case, own)
    (folder / f"rank-{rank}.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
