"""Damaged records: every kind of stored file with a random damage, read as a command reads it."""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, List, NamedTuple

import numpy as np
from study import Row

from oneflow_bench.bench.errors import BenchError
from oneflow_bench.bench.parity.baseline import load_baseline, save_baseline
from oneflow_bench.bench.parity.gate import judge_checks
from oneflow_bench.bench.parity.result import load_check, save_check
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.record import checkpoint
from oneflow_bench.bench.record.run import RecordWriter, load_record
from oneflow_bench.bench.report.before_after import compare_record
from oneflow_bench.bench.report.blocks import format_markdown
from oneflow_bench.bench.report.check import report_check
from oneflow_bench.bench.report.compare import build_report
from oneflow_bench.bench.worker.runtime_profile import load_runtime_profile

ROOT = Path(__file__).resolve().parents[1]
LONGEST_S = 10.0  # of reading one input


class Format(NamedTuple):
    """A kind of stored file: written whole into a folder, damaged, and read as a command does."""

    write: Callable[[Path], Path]  # folder -> the file that is damaged
    read: Callable[[Path], Any]  # folder -> its content
    is_checked: bool = False  # a checksum finds every change


def _write_record(folder: Path) -> None:
    example = load_record(ROOT / "results" / "example")
    document = example.document.model_copy(update={"status": "complete"})
    writer = RecordWriter(folder / "run", document)
    writer.append(*example.events[:40], *example.events[-60:])
    writer.close()


def _read_record(folder: Path) -> Any:
    record = load_record(folder / "run")
    format_markdown(build_report(compare_record(record), {}))
    return record.document, record.events


def write_checkpoint(folder: Path, epoch: int = 1) -> Path:
    weights = folder / f"epoch-{epoch:03d}.safetensors"
    values = {"w": np.full(9, epoch, np.float32)}
    checkpoint.save_weights(values, weights, {"model": "lenet"})
    state = checkpoint.TrainingState(
        optimizer=values, step=epoch, epoch=epoch, workload={"lr": 0.1}, steps_per_epoch=1,
        weights_digest=checkpoint.digest_state(values),
    )  # fmt: skip
    checkpoint.save_training_state(state, weights)
    return weights


def _read_checkpoint(folder: Path) -> Any:
    weights = folder / "epoch-001.safetensors"
    state = checkpoint.load_training_state(weights).model_dump(exclude={"path"})
    return {**state, "optimizer": state["optimizer"]["w"].tolist()}


def _read_check(folder: Path) -> Any:
    document = load_check(folder / "check.json")
    format_markdown(report_check(document, judge_checks(document)))
    return document


def _write_check(folder: Path) -> Path:
    path = folder / "check.json"
    shutil.copyfile(ROOT / "tests" / "golden" / "check-schema-2.json", path)
    save_check(load_check(path), folder)
    return path


def _write_baseline(folder: Path) -> Path:
    save_baseline(load_baseline(ROOT / "results" / "baselines" / "lenet.json"), folder / "b.json")
    return folder / "b.json"


def _copy(source: str, name: str) -> Callable[[Path], Path]:
    return lambda folder: Path(shutil.copyfile(ROOT / source, folder / name))


def _write_recipe(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return write


def _read_recipe(name: str) -> Callable[[Path], Any]:
    return lambda folder: create_plan({"config": str(folder / name), "data": "synthetic"}).workload


FORMATS = {
    "samples.jsonl": Format(
        lambda f: (_write_record(f), f / "run" / "samples.jsonl")[1], _read_record, True
    ),
    "record.json": Format(
        lambda f: (_write_record(f), f / "run" / "record.json")[1], _read_record, True
    ),
    "check.json": Format(_write_check, _read_check, True),
    "baseline": Format(_write_baseline, lambda f: load_baseline(f / "b.json"), True),
    "profile": Format(
        _copy("results/tune-example/runtime.json", "p.json"),
        lambda f: load_runtime_profile(f / "p.json"),
    ),
    "recipe.toml": Format(
        _write_recipe("r.toml", 'model = "lenet"\nlr = 0.1\nepochs = 3\nlr_milestones = [1, 2]\n'
                      'schedule = "multistep"\nmodel_args = {}\n'),
        _read_recipe("r.toml"),
    ),
    "recipe.json": Format(
        _write_recipe("r.json", '{"model_version": "lenet", "learning_rate": 0.1, "batch_size": 8,'
                      ' "num_epochs": 3, "dropout_rate": 0.0, "num_workers": 2}'),
        _read_recipe("r.json"),
    ),
    "weights": Format(write_checkpoint, _read_checkpoint, True),
    "training state": Format(
        lambda f: checkpoint.training_path(write_checkpoint(f)), _read_checkpoint, True
    ),
}  # fmt: skip
_WORDS = (b"-1", b"NaN", b"Infinity", b"1e999", b"null", b'""', b"[]", b"{}", b"9" * 400, b"true",
          b'"[/x]"', b"0", b'"\\u0000"', b'"\\ud800"', b"1e-320")  # fmt: skip


def mutate(data: bytes, source: random.Random) -> bytes:
    """The content with one damage of a random kind."""
    place = source.randrange(len(data) + 1)
    end = min(len(data), place + source.choice((1, 2, 8, 64)))
    lines = data.split(b"\n")
    number = source.randrange(len(lines))
    digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57] or [0]
    digit = source.choice(digits)
    kinds: List[Callable[[], bytes]] = [
        lambda: data[:place],
        lambda: data[:place] + bytes([source.randrange(256)]) + data[place + 1 :],
        lambda: data[:place] + data[end:],
        lambda: data[:place] + data[place:end] * 3 + data[end:],
        lambda: data[:digit] + bytes([48 + source.randrange(10)]) + data[digit + 1 :],
        lambda: data[:digit] + source.choice(_WORDS) + data[digit + 1 :],
        lambda: data[:place] + source.choice((b"[", b'{"a":')) * 200_000 + data[place:],
        lambda: data[:place] + source.choice((b"\xff\xfe", b"\0", b"\xef\xbb\xbf")) + data[end:],
        lambda: b"\n".join(lines[:number] + lines[number + 1 :]),
        lambda: b"\n".join(lines[: number + 1] + lines[number:]),
        lambda: b"",
    ]  # fmt: skip
    return source.choice(kinds)()


def try_inputs(name: str, seed: int, count: int) -> Row:
    """Read `count` damaged files of a format. What did not hold is counted and named."""
    form, source = FORMATS[name], random.Random(f"{name} {seed}")
    found: Counter[str] = Counter()
    reasons: List[str] = []
    with tempfile.TemporaryDirectory() as place:
        file = form.write(Path(place))
        whole, content = file.read_bytes(), form.read(Path(place))
        for number in range(count):
            damaged = mutate(whole, source)
            file.write_bytes(damaged)
            outcome = _read_damaged(form, Path(place), content)
            found[outcome.partition(":")[0]] += 1
            if ":" in outcome:
                reasons.append(f"input {number}, {outcome}")
    return make_row(reasons, inputs=count, **found)


def _read_damaged(form: Format, folder: Path, content: Any) -> str:
    try:
        with _limit_time():
            again = form.read(folder)
    except BenchError:
        return "refused"
    except TimeoutError:
        return "hang: it took too long"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"[:200]
    if again == content:
        return "same"
    return "silent: a change was accepted" if form.is_checked else "accepted"


@contextmanager
def _limit_time() -> Iterator[None]:
    def end(number: int, frame: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def make_row(reasons: List[str], **facts: Any) -> Row:
    verdict = "broken" if reasons else "held"
    return {"verdict": verdict, "reason": "; ".join(reasons[:5]) or "nothing was lost", **facts}
