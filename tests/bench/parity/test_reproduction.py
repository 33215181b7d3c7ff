"""The standalone script: what is written, and that it really runs and really tells."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.parity.reproduction import (
    ReproducedLayer,
    confirm_difference,
    write_reproduction,
)


def draw(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


CONV = ReproducedLayer(
    kind="Conv2d",
    name="features.0",
    constructor="nn.Conv2d(3, 4, kernel_size=(3, 3), padding=(1, 1))",
    training=True,
    inputs=[draw(2, 3, 6, 6)],
    state={"weight": draw(4, 3, 3, 3, seed=1), "bias": draw(4, seed=2)},
    output_gradient=draw(2, 4, 6, 6, seed=3),
    environment={"OMP_NUM_THREADS": "1", "GLOG_minloglevel": "2"},
    versions={"oneflow": "0.9.0", "numpy": np.__version__},
    origin="lenet, forward of the first training step, seed 1",
    known={},
)

NORM = dataclasses.replace(
    CONV,
    name="bn",
    constructor="nn.BatchNorm2d(3)",
    inputs=[draw(2, 3, 6, 6)],
    state={
        "weight": draw(3, seed=1),
        "bias": draw(3, seed=2),
        "running_mean": draw(3, seed=3),
        "running_var": draw(3, seed=4) ** 2,
        "num_batches_tracked": np.array(5),
    },
    output_gradient=draw(2, 3, 6, 6, seed=5),
)

# computes something else inside a graph
DRIFT = dataclasses.replace(
    CONV,
    name="drift",
    constructor='type("Drift", (nn.Module,), '
    '{"forward": lambda self, x: x * 1.0001 if x.is_lazy else x * 1.0})()',
    inputs=[draw(3, 4)],
    state={},
    output_gradient=draw(3, 4, seed=1),
)


def run_script(script, *flags, **variables):
    """The script as a user runs it."""
    return subprocess.run(
        [sys.executable, str(script), *flags],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )


def find_row(output, name):
    return re.search(rf"^{re.escape(name)}  +(\S+)", output, re.MULTILINE).group(1)


@pytest.mark.oneflow
def test_a_true_layer_agrees_from_any_folder_without_the_suite(tmp_path):
    script = write_reproduction(tmp_path / "run", CONV)
    assert {p.name for p in script.parent.iterdir()} == {
        "reproduce-features.0.py", "reproduce-features.0.npz"
    }  # fmt: skip
    assert "oneflow_bench" not in script.read_text()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, os.path.relpath(script, elsewhere)],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("output", "input gradient", "weight gradient", "bias gradient"):
        assert find_row(done.stdout, name) == "yes"
    assert "the modes agree bit for bit" in done.stdout
    errors = re.findall(r"^output .* (\S+) +(\S+)$", done.stdout, re.MULTILINE)[0]
    assert all(1e-9 < float(error) < 1e-6 for error in errors)  # of float32 against float64


@pytest.mark.oneflow
def test_a_layer_that_differs_is_confirmed_with_place_and_values(tmp_path):
    script = write_reproduction(tmp_path, DRIFT)
    run = run_script(script)
    assert run.returncode == 1, run.stdout
    assert find_row(run.stdout, "output") == find_row(run.stdout, "input gradient") == "no"
    assert "the modes do not agree bit for bit: output, input gradient" in run.stdout
    row, column = np.unravel_index(np.abs(draw(3, 4)).argmax(), (3, 4))
    value = draw(3, 4)[row, column]
    assert f"largest at [{row}, {column}]: eager {value!s}, graph " in run.stdout
    ulps = int(re.search(r", (\d+) ULP", run.stdout).group(1))
    graph = np.float32(value) * np.float32(1.0001)
    assert ulps == abs(int(graph.view(np.int32)) - int(value.view(np.int32)))
    assert run_script(script, "--tolerance", "1e-3").returncode == 0
    assert confirm_difference(script) is True


@pytest.mark.oneflow
@pytest.mark.parametrize("known", [{}, {"num_batches_tracked": "a graph leaves it alone"}])
def test_a_known_difference_is_shown_and_not_counted(tmp_path, known):
    run = run_script(write_reproduction(tmp_path, dataclasses.replace(NORM, known=known)))
    assert run.returncode == (0 if known else 1), run.stdout
    assert find_row(run.stdout, "running_var") == "yes"
    assert find_row(run.stdout, "num_batches_tracked") == "no"
    assert "eager 6, graph 5" in run.stdout
    assert ("known, not counted: a graph leaves it alone" in run.stdout) is bool(known)


@pytest.mark.oneflow
def test_without_a_gradient_the_forward_alone_is_compared(tmp_path):
    pool = dataclasses.replace(
        CONV,
        constructor="nn.MaxPool2d(kernel_size=(2, 2), stride=(2, 2), return_indices=True)",
        training=False,
        state={},
        output_gradient=None,
    )
    run = run_script(write_reproduction(tmp_path, pool))
    assert run.returncode == 0, run.stdout
    assert re.findall(r"^(\S.*?)  +(?:yes|no) ", run.stdout, re.MULTILINE) == [
        "output 0", "output 1"
    ]  # fmt: skip


@pytest.mark.oneflow
def test_tensors_are_called_what_the_suite_calls_them(tmp_path):
    from oneflow import nn

    from oneflow_bench.bench.parity.isolated_layer import run_isolated

    isolated = run_isolated(nn.BatchNorm2d(3), NORM, "graph")
    run = run_script(write_reproduction(tmp_path, NORM))
    rows = re.findall(r"^(\S.*?)  +(?:yes|no) ", run.stdout, re.MULTILINE)
    assert rows == list(isolated)


@pytest.mark.oneflow
@pytest.mark.parametrize(
    "model_name, kind", [("alexnet_cifar", "Conv2d"), ("mobilenet_v3_small", "Dropout")]
)
def test_a_layer_recorded_in_a_model_agrees(tmp_path, model_name, kind):
    import oneflow as flow

    from oneflow_bench.bench.parity.expressions import find_constructor
    from oneflow_bench.models import create_model

    model = create_model(model_name).train()
    name, layer = next((n, m) for n, m in model.named_modules() if type(m).__name__ == kind)
    seen = []
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].numpy().copy()))
    layer.register_forward_hook(
        lambda module, inputs, output: output.register_hook(lambda g: seen.append(g.numpy().copy()))
    )
    state = {key: value.numpy().copy() for key, value in layer.state_dict().items()}
    model(flow.tensor(draw(2, 3, 32, 32))).sum().backward()
    layer._forward_hooks.clear()
    layer._forward_pre_hooks.clear()
    case = dataclasses.replace(
        CONV,
        name=name,
        constructor=find_constructor(layer),
        inputs=[seen[0]],
        state=state,
        output_gradient=seen[1],
    )
    run = run_script(write_reproduction(tmp_path, case))
    assert run.returncode == 0, run.stdout
    assert find_row(run.stdout, "output") == find_row(run.stdout, "input gradient") == "yes"


@pytest.mark.oneflow
def test_eager_mode_that_does_not_repeat_itself_tells_nothing(tmp_path):
    restless = dataclasses.replace(
        DRIFT,
        constructor='type("R", (nn.Module,), {"calls": sys.path, "forward": lambda self, x: '
        "x * (self.calls.append(1) or len(self.calls))})()",
    )
    run = run_script(write_reproduction(tmp_path, restless))
    assert run.returncode == 2
    assert "eager mode does not repeat itself" in run.stdout


@pytest.mark.oneflow
@pytest.mark.parametrize(
    "change, words",
    [
        ({"state": {"weight": draw(4, 3, 3, 3)}}, "bias"),
        ({"output_gradient": draw(1)}, "not one tensor of the output gradient's shape"),
    ],
)
def test_a_failure_is_not_taken_for_a_difference(tmp_path, change, words):
    run = run_script(write_reproduction(tmp_path, dataclasses.replace(CONV, **change)))
    assert run.returncode == 2
    assert words in run.stdout


def test_what_cannot_be_run_confirms_nothing(tmp_path, monkeypatch):
    script = write_reproduction(tmp_path, CONV)
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "oneflow.py").write_text("raise ImportError('no OneFlow here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    run = run_script(script)
    assert run.returncode == 2
    assert "this script needs OneFlow and NumPy: no OneFlow here" in run.stdout
    assert confirm_difference(script) is None
    (tmp_path / "fake" / "oneflow.py").write_text("import time\ntime.sleep(60)")
    assert confirm_difference(script, timeout_s=1.0) is None


NASTY = [
    "../../etc/x",
    "a/b",
    "a-b",
    "",
    "..",
    'x"\nimport os; os.abort()\n"',
    "blöcke.0\u2028y",
    "%s {0} $name",
    "n" * 400,
]


def test_odd_names_give_safe_files_and_no_code(tmp_path):
    scripts = []
    for name in NASTY:
        case = dataclasses.replace(
            CONV,
            name=name,
            origin=name,
            versions={name: name},
            environment={"ODD": name},
            known={name: name},
        )
        script = write_reproduction(tmp_path, case)
        scripts.append(script)
        assert script.parent == tmp_path
        assert re.fullmatch(r"reproduce-[A-Za-z0-9._-]{1,120}\.py", script.name)
        tree = ast.parse(script.read_text(encoding="utf-8"))
        values = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        assert ast.literal_eval(values["NAME"]) == name
        assert ast.literal_eval(values["KNOWN"]) == {name: name}
        imported = {
            a.name for node in tree.body if isinstance(node, ast.Import) for a in node.names
        }
        assert imported == {"argparse", "os", "sys", "traceback"}
    assert len({script.name.lower() for script in scripts}) == len(NASTY)
    assert len(list(tmp_path.iterdir())) == 2 * len(NASTY)


@pytest.mark.oneflow
def test_a_layer_with_an_odd_name_runs(tmp_path):
    script = write_reproduction(tmp_path, dataclasses.replace(CONV, name=NASTY[5]))
    run = run_script(script)
    assert run.returncode == 0, run.stdout
    assert repr(NASTY[5]) in run.stdout


def test_the_environment_is_set_before_the_imports_and_not_over_the_users(tmp_path):
    script = write_reproduction(tmp_path, CONV)
    (tmp_path / "oneflow.py").write_text(
        "import os, sys\n"
        "sys.exit(os.environ['OMP_NUM_THREADS'] + ' ' + os.environ['GLOG_minloglevel'])\n"
    )
    run = run_script(script, PYTHONPATH=str(tmp_path), OMP_NUM_THREADS="7", GLOG_minloglevel="2")
    assert run.stdout == "7 2\n"
    environment = {name: v for name, v in os.environ.items() if name in ("PATH", "HOME")}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert done.stderr == "1 2\n"


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write .*reproduce-features.0.py"):
        write_reproduction(tmp_path / "file" / "run", CONV)


def test_writing_again_replaces_both_files(tmp_path):
    write_reproduction(tmp_path, CONV)
    script = write_reproduction(tmp_path, dataclasses.replace(CONV, inputs=[draw(1, 3, 2, 2)]))
    with np.load(script.with_suffix(".npz")) as data:
        assert data["input_0"].shape == (1, 3, 2, 2)
        assert list(data) == ["input_0", "state/weight", "state/bias", "output_gradient"]
    assert len(list(tmp_path.iterdir())) == 2
