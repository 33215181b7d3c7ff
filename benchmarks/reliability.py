"""Does anything break or get lost? Damaged records, kills at random moments and full disks.

    python benchmarks/reliability.py --inputs 10000 --kills 100 --disks 20

Every case is stored as it ends, and a second call goes on. A case that did not hold says why. A
traceback, a hang, an abort and a damage that a checksum should have found do not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from reliability_records import FORMATS, ROOT, make_row, try_inputs, write_checkpoint
from study import Row, load_rows, open_study, run_main, run_study

from oneflow_bench.bench.errors import BenchError
from oneflow_bench.bench.record import checkpoint
from oneflow_bench.bench.record.events import BlockEvent, CheckpointEvent
from oneflow_bench.bench.record.run import RecordWriter, load_record, write_atomically

RESULTS = ROOT / "results" / "reliability"
CHUNK = 100  # inputs of a process
QUICK = ["--model", "lenet", "--data", "synthetic", "--epochs", "3", "--steps-per-epoch", "4"]
COMMANDS = {"eager": [], "graph": [], "compare": ["--budget", "5"]}
LINES = {"eager": 16, "graph": 16, "compare": 60}  # about as many as the record of a whole run has
MARK = "BENCH_RELIABILITY_MARK"


def fuzz_apart(name: str, seed: int, count: int) -> Row:
    """`try_inputs` in a process of its own, so that an abort is a row and not the end."""
    command = [sys.executable, __file__, "--fuzz", name, str(seed), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return make_row([f"abort: {done.returncode} {done.stderr[-300:]}"], inputs=count)
    row: Row = json.loads(done.stdout)
    return row


def write_epochs(folder: Path, epochs: int = 10**6) -> None:
    """Write a record with checkpoints as a run does, with nothing measured; to be killed."""
    example = load_record(ROOT / "results" / "example")
    document = example.document.model_copy(update={"status": "running"})
    writer = RecordWriter(folder, document)
    block = next(e for e in example.events if isinstance(e, BlockEvent))
    for epoch in range(epochs):
        path = write_checkpoint(folder / "checkpoints" / "eager", epoch + 1)
        digest = checkpoint.digest_state(checkpoint.read_state(path))
        writer.append(block, CheckpointEvent(contender="eager", epoch=epoch, digest=digest))
        checkpoint.copy_checkpoint(path, path.with_name(checkpoint.LAST_NAME))
    writer.close()


def kill_writer(seed: int) -> Row:
    """Kill `write_epochs`; the record and an epoch not older than the last event are left."""
    source = random.Random(f"writer {seed}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        running = subprocess.Popen([sys.executable, __file__, "--write", str(folder)])
        deadline = time.monotonic() + 60
        while not (folder / "checkpoints").is_dir() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(source.uniform(0.0, 0.3))
        running.kill()
        running.wait()
        reasons = _check_left(folder)
    return make_row(reasons)


def _check_left(folder: Path) -> List[str]:
    """What is wrong with the rest of a run that was killed: nothing, in the best case."""
    if not (folder / "record.json").exists():
        return []  # nothing had begun
    try:
        record = load_record(folder)
        done = [event.epoch + 1 for event in record.of_kind(CheckpointEvent)]
        if done and checkpoint.load_training_state(folder).epoch < done[-1]:
            return ["lost: an epoch that the record holds cannot be resumed"]
    except BenchError as error:
        return [f"unreadable: {error}"]
    except Exception as error:
        return [f"traceback: {type(error).__name__}: {error}"]
    return []


def _bench(*words: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "oneflow_bench", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, **options
    )


def read_losses(folder: Path) -> Dict[int, Any]:
    """The losses by step of the first contender of a run."""
    record = load_record(folder)
    blocks: List[BlockEvent] = record.of_kind(BlockEvent, record.contender_names()[0])
    return {b.first_step + i: loss for b in blocks for i, loss in enumerate(b.losses)}


def kill_run(mode: str, seed: int) -> Row:
    """SIGKILL a run at a random moment, read what is left, and resume it to the same losses."""
    source = random.Random(f"{mode} {seed}")
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as place:
        folder, again = Path(place) / "run", Path(place) / "again"
        words = [sys.executable, "-m", "oneflow_bench", mode, *QUICK, *COMMANDS[mode]]
        running = subprocess.Popen(
            [*words, "--out", str(folder)], env={**os.environ, MARK: mark},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        lines, deadline = source.randrange(LINES[mode]), time.monotonic() + 120
        while running.poll() is None and time.monotonic() < deadline:
            if _count_lines(folder / "samples.jsonl") >= lines:
                break
            time.sleep(0.01)
        time.sleep(source.uniform(0.0, 0.3))
        running.kill()
        running.wait()
        reasons = _check_left(folder)
        time_left = time.monotonic() + 20
        while _list_marked(mark) and time.monotonic() < time_left:
            time.sleep(0.2)
        reasons += [f"alive: process {pid}" for pid in _list_marked(mark)]
        resumed = None
        if mode != "compare" and list(folder.glob("checkpoints/*/epoch-*.training.safetensors")):
            done = _bench(mode, "--resume", folder, "--epochs", 4, "--out", again)
            resumed = done.returncode
            reasons += [f"resume ended with {resumed}: {done.stderr[-300:]}"] * bool(resumed)
            if not resumed:
                whole = _bench(mode, *QUICK, "--epochs", 4, "--out", Path(place) / "whole")
                expected = read_losses(Path(place) / "whole") if not whole.returncode else {}
                same = all(expected.get(s) == loss for s, loss in read_losses(again).items())
                reasons += ["resume: it leads to other losses"] * (not same)
    return make_row(reasons, resumed=resumed)


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _list_marked(mark: str) -> List[int]:
    """The processes of a run that are still alive, by the variable that it was started with."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def fill_disk(mode: str, seed: int) -> Row:
    """Run on a tiny disk: an error in a sentence, a record up to there, no traceback."""
    size = random.Random(f"{mode} {seed}").choice((8, 64, 300, 900, 2500, 5000))
    with tempfile.TemporaryDirectory() as place:
        disk, kept = Path(place) / "disk", Path(place) / "kept"
        disk.mkdir()
        script = (
            'mount -t tmpfs -o size="$1"k none "$2"; shift; D="$1"; K="$2"; shift 2; '
            '"$@" --out "$D/run"; S=$?; cp -a "$D" "$K"; exit $S'
        )
        words = [sys.executable, "-m", "oneflow_bench", mode, *QUICK, *COMMANDS[mode]]
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh",
             str(size), str(disk), str(kept), *words],
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        reasons = _check_left(kept / "run")
        if "Traceback" in done.stderr or done.returncode not in (0, 2, 3, 4):
            reasons.append(f"traceback: {done.returncode} {done.stderr[-300:]}")
    return make_row(
        reasons,
        size_kib=size,
        returncode=done.returncode,
        said=done.stderr.replace(place, "")[-200:],
    )


def list_cases(inputs: int, kills: int, disks: int) -> Iterator[Tuple[str, Any]]:
    """All cases by name, with the function that runs each."""
    chunks = max(1, round(inputs / CHUNK / len(FORMATS)))
    for seed in range(chunks if inputs else 0):
        for name in FORMATS:
            yield f"fuzz {name} {seed}", (fuzz_apart, name, seed, CHUNK)
    for seed in range(kills):
        yield f"kill writer {seed}", (kill_writer, seed)
        mode = list(COMMANDS)[seed % len(COMMANDS)]
        yield f"kill {mode} {seed}", (kill_run, mode, seed)
    for seed in range(disks):
        mode = list(COMMANDS)[seed % len(COMMANDS)]
        yield f"disk {mode} {seed}", (fill_disk, mode, seed)


def create_table(rows: List[Row]) -> str:
    """Markdown: the cases of each kind, and what did not hold."""
    lines = ["| suite | cases | inputs | held | broken |", "|---|---:|---:|---:|---:|"]
    for kind in dict.fromkeys(row["case"].rpartition(" ")[0] for row in rows):
        of_kind = [row for row in rows if row["case"].rpartition(" ")[0] == kind]
        held = sum(row.get("verdict") == "held" for row in of_kind)
        inputs = sum(row.get("inputs", 1) for row in of_kind)
        lines.append(f"| {kind} | {len(of_kind)} | {inputs} | {held} | {len(of_kind) - held} |")
    broken = [f"- {r['case']}: {r.get('reason')}" for r in rows if r.get("verdict") != "held"]
    return "\n".join([*lines, "", *broken]).rstrip() + "\n"


def main() -> None:
    """Run the cases that are not stored yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--disks", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--fuzz", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fuzz:
        name, seed, count = options.fuzz
        print(json.dumps(try_inputs(name, int(seed), int(count))))
    elif options.write:
        write_epochs(options.write)
    else:
        open_study(options.out)
        cases = list_cases(options.inputs, options.kills, options.disks)
        run_study(options.out / "cases.jsonl", cases, lambda call, *given: call(*given))
        table = create_table(load_rows(options.out / "cases.jsonl"))
        write_atomically(options.out / "table.md", table)
        print(table)


if __name__ == "__main__":
    sys.exit(run_main(main))
