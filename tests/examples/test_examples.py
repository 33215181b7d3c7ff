"""Each file under examples/ is a training step that both modes train alike."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from oneflow_bench.bench.config import STEP_DATA, Contender, Workload

ROOT = Path(__file__).parents[2]
PREDICTS_ONLY = {"alexnet"}
OPTIONAL = {"tabular": "sklearn", "vision": "flowvision"}  # example -> library that it needs
FILES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
INSTALLED = [name for name in FILES if find_spec(OPTIONAL.get(name, "numpy"))]
EXAMPLES = sorted(set(INSTALLED) - PREDICTS_ONLY)


def test_there_are_examples():
    assert {"classifier", "gpt", "siamese", "unet", "vae"} <= set(EXAMPLES)


@pytest.mark.parametrize("name", FILES)
def test_an_example_says_how_it_is_run(name):
    command = "infer" if name in PREDICTS_ONLY else "compare"
    assert f"bench {command} examples.{name}:{name}" in (ROOT / f"examples/{name}.py").read_text()


@pytest.mark.oneflow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_trains_and_evaluates(name, monkeypatch):
    from oneflow_bench.bench.training.job import create_job
    from oneflow_bench.bench.training.modes import ModeSetting, create_mode

    monkeypatch.syspath_prepend(str(ROOT))
    work = Workload(model=f"examples.{name}:{name}", data=STEP_DATA, batch_size=1)
    job = create_job(work, None, 2, "cpu")
    mode = create_mode(job, ModeSetting(work, Contender(name="eager", mode="eager"), 2))
    losses = [float(mode.train_step()[0].numpy()) for _ in range(2)]
    assert losses[0] != losses[1]
    assert all(value.numel() == 1 for value in mode.eval_step()[0].values())


@pytest.mark.oneflow
@pytest.mark.parametrize("name, library", sorted(OPTIONAL.items()))
def test_an_example_says_how_its_library_is_installed(name, library, monkeypatch):
    from oneflow_bench.bench.errors import InputError
    from oneflow_bench.bench.training.job import create_job

    monkeypatch.syspath_prepend(str(ROOT))
    for module in [one for one in sys.modules if one.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    work = Workload(model=f"examples.{name}:{name}", data=STEP_DATA, batch_size=1)
    with pytest.raises(InputError, match=r"is not installed .* run pip install"):
        create_job(work, None, 2, "cpu")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.oneflow
@pytest.mark.parametrize("name", EXAMPLES)
def test_both_modes_agree_on_an_example(name, tmp_path):
    bench = [sys.executable, "-m", "oneflow_bench"]
    step = f"examples.{name}:{name}"

    def run(*words):
        done = subprocess.run([*bench, *words, "--json"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    checked = run("check", step, "--out", str(tmp_path / "check"))
    (model,) = checked["check"]["checks"]
    assert model["model"] == step and model["verdict"] in ("identical", "equal within rounding")
    budget = ("--epochs", "1", "--steps-per-epoch", "10", "--budget", "10")
    compared = run("compare", step, *budget, "--out", str(tmp_path / "compare"))
    assert compared["parity"] in ("identical", "equal within rounding")
    assert compared["same_batches"] and compared["batches_by"] == "inputs"
    assert compared["speed"]["blocks"] > 0


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.parametrize("name", INSTALLED)
def test_both_modes_predict_alike(name):
    few = ("--batch-size", "2", "--iterations", "2", "--mode", "both")
    command = [sys.executable, "-m", "oneflow_bench", "infer", f"examples.{name}:{name}", *few]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.oneflow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_passes_assert_parity(name, monkeypatch):
    from oneflow_bench import assert_parity

    monkeypatch.syspath_prepend(str(ROOT))
    step = getattr(import_module(f"examples.{name}"), name)
    assert_parity(step)
