"""The commands as a user types them. What needs a worker runs OneFlow itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import refused, run_command
from records import create_events, create_record, create_speed_events, save_record

from oneflow_bench.bench.record.events import BlockEvent, EvalEvent, SetupEvent
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.data import default_dataset_path

COMMAND = [sys.executable, "-m", "oneflow_bench"]
QUICK = ["--model", "lenet", "--epochs", "2", "--steps-per-epoch", "12", "--lr-step", "1"]


@pytest.fixture
def damaged(tmp_path):
    """A copy of the digits without its index, to be damaged."""
    folder = tmp_path / "damaged"
    shutil.copytree(default_dataset_path(), folder)
    (folder / "index.json").unlink()
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare") / "run"
    done = run_command("compare", *QUICK, "--out", folder, "--block-steps", "3", "--no-speed")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["eager"],
        ["graph"],
        ["compare"],
        ["versions"],
        ["sweep"],
        ["check"],
        ["baseline"],
        ["baseline", "update"],
        ["plot"],
        ["report"],
        ["runs"],
        ["models"],
        ["data"],
        ["data", "make", "digits"],
        ["data", "import"],
        ["data", "inspect"],
        ["data", "reshard"],
    ],
)
def test_every_command_has_help_with_an_example(command):
    done = run_command(*command, "--help")
    assert done.returncode == 0
    assert "\n  bench " + " ".join(command) in done.stdout


@pytest.mark.oneflow
def test_compare_leaves_a_record_pictures_and_a_report(compared):
    folder, printed = compared
    record = load_record(folder)
    assert record.document.status == "complete"
    names = {p.name for p in folder.iterdir()}
    assert {"record.json", "samples.jsonl", "report.md", "overview.png", "loss.svg"} <= names
    assert "report.html" in names
    assert "Parity:" in printed and "Speed:" in printed
    assert "overview.png" in (folder / "report.md").read_text()


@pytest.mark.oneflow
def test_both_contenders_start_alike_and_see_the_same_batches(compared):
    record = load_record(compared[0])
    setups = record.of_kind(SetupEvent)
    assert setups[0].initial_digest == setups[1].initial_digest
    sides = [record.of_kind(BlockEvent, name) for name in ("eager", "graph")]
    for a, b in zip(*sides):
        assert (a.images_digest, a.labels_digest) == (b.images_digest, b.labels_digest)
        assert a.losses == pytest.approx(b.losses, rel=1e-6)
    assert len({b.images_digest for b in sides[0]}) == len(sides[0])


@pytest.mark.oneflow
def test_validation_counts_every_sample_once(compared):
    record = load_record(compared[0])
    assert {e.samples for e in record.of_kind(EvalEvent)} == {record.document.val_samples}
    # 120 does not divide the split, so the last batch is a partial one
    assert record.document.val_samples % record.document.workload.val_batch_size


@pytest.mark.oneflow
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    "feed, mode",
    [
        ("loader", "eager"),
        ("graph", "graph"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (
                ("loader", "graph"), ("graph", "eager"), ("memory", "eager"), ("memory", "graph")
            )
        ),
    ],
)  # fmt: skip
def test_every_feed_trains_alike_and_repeats_bit_for_bit(compared, tmp_path, mode, feed):
    done = run_command(mode, *QUICK, "--feed", feed, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    record = load_record(tmp_path / "run")
    losses = [x for b in record.of_kind(BlockEvent) for x in b.losses]
    before = [x for b in load_record(compared[0]).of_kind(BlockEvent, mode) for x in b.losses]
    assert losses == before
    lines = (tmp_path / "run" / "losses.txt").read_text().split()
    assert list(map(float, lines)) == losses  # alike in a run of one mode and of two
    last = (tmp_path / "run" / "accuracy.txt").read_text().split()[-1]
    named = f"epoch-002-accuracy-{float(last):.4f}.safetensors"
    assert (tmp_path / "run" / "checkpoints" / mode / named).is_file()
    assert done.stderr == "".join(
        f"{line[9:]}\n" for line in (tmp_path / "run" / "train.log").read_text().splitlines()
    )
    assert "train accuracy" in (tmp_path / "run" / "report.md").read_text()


@pytest.mark.oneflow
@pytest.mark.usefixtures("no_pictures")
def test_a_checkpoint_is_where_a_run_goes_on_and_two_runs_can_be_compared(tmp_path):
    assert run_command("eager", *QUICK, "--out", tmp_path / "a").returncode == 0
    stored = tmp_path / "a" / "checkpoints" / "eager" / "last.safetensors"
    for name, mode in (("b", "eager"), ("c", "graph")):
        brief = [*QUICK, "--epochs", "1", "--load-checkpoint", stored]
        done = run_command(mode, *brief, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    first = load_record(tmp_path / "a").of_kind(BlockEvent)[0].losses[0]
    second = load_record(tmp_path / "b").of_kind(BlockEvent)[0].losses[0]
    assert second < first
    done = run_command("compare", tmp_path / "b", tmp_path / "c", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["comparisons"][0]["parity"] in (
        "identical",
        "equal within rounding",
    )
    done = run_command("compare", tmp_path / "a", tmp_path / "b")
    assert done.returncode == 0 and "Parity of eager (after): not judged" in done.stdout
    assert "same weights" in " ".join(done.stdout.split())
    done = run_command(
        "eager", "--model", "alexnet_cifar", "--load-checkpoint", stored, "--out", tmp_path / "d"
    )
    refused(done, "does not fit the model", "missing, first")


@pytest.mark.slow
@pytest.mark.oneflow
def test_stock_and_tuned_give_the_same_losses_within_rounding(compared, tmp_path):
    done = run_command("eager", *QUICK, "--runtime", "stock", "--out", tmp_path / "stock")
    assert done.returncode == 0, done.stderr
    record = load_record(tmp_path / "stock")
    losses = [x for b in record.of_kind(BlockEvent) for x in b.losses]
    before = [x for b in load_record(compared[0]).of_kind(BlockEvent, "eager") for x in b.losses]
    assert losses == pytest.approx(before, rel=1e-4)


@pytest.mark.oneflow
def test_plot_and_json_work_where_oneflow_is_not(compared, tmp_path):
    (tmp_path / "oneflow.py").write_text("raise ImportError('there is no OneFlow here')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for arguments in (["plot", compared[0], "--out", tmp_path / "p", "--json"], ["models"]):
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, check=True
        )
        assert done.stdout


@pytest.mark.oneflow
def test_ctrl_c_ends_all_workers_at_once_and_keeps_the_record(tmp_path):
    running = subprocess.Popen(
        [*COMMAND, "compare", "--model", "lenet", "--epochs", "500", "--out", str(tmp_path / "r")],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    samples = tmp_path / "r" / "samples.jsonl"
    while running.poll() is None:
        if samples.exists() and samples.read_text().count('"event":"block"') >= 4:
            break
        time.sleep(0.1)
    children = list_children(running.pid)
    assert len(children) == 2
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)  # and not when the training ends
    assert running.returncode == 130
    assert b"Traceback" not in errors and b"ended by the user" in errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    record = load_record(tmp_path / "r")
    assert record.document.status == "interrupted"
    assert len(record.of_kind(BlockEvent)) >= 4


def list_children(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@pytest.mark.oneflow
def test_a_worker_that_is_killed_is_exit_status_4_and_the_record_is_kept(tmp_path):
    (tmp_path / "own.py").write_text(
        "import os\n"
        "from oneflow import nn\n"
        "class Dies(nn.Module):\n"
        "    def __init__(self, n):\n"
        "        super().__init__()\n"
        "        self.fc, self.calls = nn.Linear(3072, n), 0\n"
        "    def forward(self, x):\n"
        "        self.calls += 1\n"
        "        if self.calls > 6: print('last words', flush=True); os._exit(9)\n"
        "        return self.fc(x.flatten(1))\n"
        "def dies(num_classes): return Dies(num_classes)\n"
    )
    done = run_command("eager", "--model", "own:dies", "--out", "run", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "died in its train turn (exit status 9)" in done.stderr
    assert "last words" in done.stderr and "Traceback" not in done.stderr
    record = load_record(tmp_path / "run")
    assert record.document.status == "failed"
    assert len(record.of_kind(BlockEvent)) == 2


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--model", "alexnt"], ["did you mean alexnet"]),
        (["--model", "alexnet", "--image-size", "32"], ["--image-size 32", "at least 63"]),
        (["--data", "no-such-folder"], ["no-such-folder", "does not exist"]),
        (["--batch-size", "5000"], ["5000", "1438"]),
        (["--val-batch-size", "5000"], ["5000", "359"]),
        (["--batch-size", "0"], ["--batch-size", "0 is not in the range"]),
        (["--lr", "-1"], ["--lr"]),
        (["--num-classes", "5"], ["label 9", "0 to 4"]),
        (["--data", "synthetic", "--feed", "graph"], ["--feed graph"]),
        (["--load-checkpoint", "nothing"], ["checkpoint nothing does not exist"]),
        (["--no-such-flag"], ["--no-such-flag"]),
    ],
)
def test_bad_flags_are_one_sentence_and_nothing_is_written(tmp_path, arguments, words):
    refused(run_command("eager", *arguments, "--out", "run", cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("harm", ["empty", "part", "truncated", "garbage", "image"])
def test_damaged_data_are_one_sentence_and_nothing_is_written(tmp_path, damaged, harm):
    part = damaged / "train" / "part-00000"
    raw = part.read_bytes()
    if harm == "empty":
        shutil.rmtree(damaged)
        damaged.mkdir()
    elif harm == "part":
        part.unlink()
    elif harm == "truncated":
        part.write_bytes(raw[: len(raw) - 100])
    elif harm == "garbage":
        part.write_bytes(b"\xff" * 1000)
    else:
        where = raw.index(b"\xff\xd8\xff")
        part.write_bytes(raw[: where + 3] + b"\x00" * 300 + raw[where + 303 :])
    refused(run_command("compare", "--data", damaged, "--out", tmp_path / "run"), str(damaged))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    refused(run_command("eager", "--out", tmp_path / "file" / "run"), "cannot write", "--out")


@pytest.mark.oneflow
def test_cuda_where_there_is_none_is_refused(tmp_path):
    done = run_command("eager", "--device", "cuda", "--model", "lenet", "--out", tmp_path / "run")
    refused(done, "--device cuda", "--device cpu")


def test_records_that_cannot_be_read_or_compared_are_refused(tmp_path):
    refused(run_command("plot", tmp_path), "no record at")
    refused(run_command("compare", tmp_path), "two stored runs, BEFORE and AFTER", "one was given")
    (tmp_path / "mine.py").touch()
    for name in ("mine", "mine.py"):
        said = "mine.py is code; give mine:NAME for a TrainingStep in it"
        refused(run_command("compare", name, cwd=tmp_path), said)
    for flag in (["--lr", "0.1"], ["--budget", "9"], ["--no-speed"]):
        refused(run_command("compare", tmp_path, tmp_path, *flag), f"{flag[0]} is for a new run")
    refused(run_command("compare", "--gate", "5%"), "--gate is for two stored runs")
    run = save_record(create_record(create_events("eager")), tmp_path / "run")
    refused(
        run_command("compare", run, run), "one contender, eager, and nothing to compare it with"
    )


def test_before_and_after_are_compared_and_gated(tmp_path, no_pictures):
    runs = []
    for name, factor in (("before", 1.0), ("after", 1.2)):
        speed = create_speed_events(0.1 * factor, 0.08 * factor, 0.1 * factor, 8)
        record = create_record(create_events("eager"), create_events("graph"), more=speed)
        runs.append(save_record(record, tmp_path / name))
    done = run_command("compare", *runs, "--gate", "5%", "--out", tmp_path / "out")
    assert done.returncode == 1 and "Gate: eager, graph became slower" in done.stdout
    stored = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert stored["slower"] == ["eager", "graph"] and (tmp_path / "out" / "report.md").exists()
    assert (tmp_path / "out" / "report.html").exists()
    assert run_command("compare", *runs).returncode == 0
    assert run_command("compare", *reversed(runs), "--gate", "5%").returncode == 0


def test_models_as_table_and_json():
    rows = json.loads(run_command("models", "vgg??", "--json").stdout)
    assert len(rows) == 4 and rows[0]["num_params"] == 132_863_336
    assert rows[0]["num_macs"] == 7_609_090_048
    listed = run_command("models", "alexnet*").stdout
    assert "61,100,840" in listed and "MACs, M" in listed and "714.2" in listed
    refused(run_command("models", "no-such*"), "no model's name fits")


def test_data_make_import_and_inspect(tmp_path):
    from PIL import Image

    for split, count in (("train", 4), ("val", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("L", (40, 30), 40 * number).save(folder / f"{number}.png")
    out = tmp_path / "out"
    done = run_command(
        "data", "import", "imagefolder", tmp_path / "pictures", "--out", out, "--parts", 2
    )
    assert done.returncode == 0, done.stderr
    described = json.loads(run_command("data", "inspect", out, "--json").stdout)
    assert described["problems"] == []
    refused(
        run_command("data", "import", "imagefolder", tmp_path / "pictures", "--out", out), str(out)
    )
    (out / "train" / "part-00001").write_bytes(b"")
    assert run_command("data", "inspect", out).returncode == 2
