"""The predictions of a preloaded BLAS, on made-up profiles and processes."""

from __future__ import annotations

import json

import blas_prediction
import pytest
from blas_prediction import list_contenders, measure_products, shorten
from blas_prediction_report import (
    find_serial_share,
    list_cases,
    predict_cores,
    predict_gain,
    render,
    sum_products,
)
from limits_records import create_layer, create_layer_profile, create_limits, create_profile

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.tools.profile.document import ComputingTimes
from oneflow_bench.bench.tools.profile.work import Product

SHAPE = {"transposed_left": False, "transposed_right": False, "adds": False}


def create_row(model="alexnet"):
    """A step of 100 ms with products of 40 ms; those of mkl take 20 on two threads, 30 on one."""
    product = Product(of="forward", **SHAPE, rows=2, columns=3, inner=4, count=10, time_s=0.004)
    times = {"forward_computing_s": [0.04], "backward_computing_s": [0.04], "im2col_s": 0.008}
    layer = create_layer_profile(0, 0.05, 0.04, products=[product], **times)
    profile = create_profile([layer], limits=create_limits([create_layer(moved=0)]))
    computing = ComputingTimes(step_s=[0.1], computing_s=[0.092])
    profile = shorten(profile.model_copy(update={"computing": computing}))
    blas = {"path": "libmkl_rt.so", "version": "1", "threads": 2}
    return {
        "model": model,
        "batch_size": 4,
        "image_size": 32,
        "products": {
            "own": {"blas": None, "times_s": [[0.004], [0.005]]},
            "mkl": {"blas": blas, "times_s": [[0.0021], [0.002]]},
            "mkl-1": {"blas": {**blas, "threads": 1}, "times_s": [[0.003], [0.003]]},
        },
        "profile": json.loads(profile.model_dump_json(exclude_defaults=True)),
    }


def create_measured(mode="eager", **step_s):
    times = {name: [seconds] * 6 for name, seconds in step_s.items()}
    return {"model": "alexnet", "mode": mode, "batch_size": 4, "image_size": 32,
            "step_time_s": times}  # fmt: skip


def test_the_faster_pass_counts_and_the_rest_of_the_step_stays():
    row = create_row()
    assert sum_products(row, "own") == pytest.approx(0.04)
    assert sum_products(row, "mkl") == pytest.approx(0.02)
    assert sum_products(row, "openblas") is None
    assert predict_gain(0.1, 0.04, 0.02) == pytest.approx(1.25)


@pytest.mark.parametrize(
    "several_s, share", [(0.5, 0.0), (0.75, 0.5), (1.0, 1.0), (1.2, 1.0), (0.4, 0.0)]
)
def test_the_serial_share_is_that_of_karp_and_flatt(several_s, share):
    assert find_serial_share(1.0, several_s, 2) == pytest.approx(share)


def test_more_cores_shorten_the_parallel_part_of_products_alone():
    # 60 ms of rest, products of 30 ms on one thread of which a third is serial
    assert predict_cores(0.1, 0.04, 0.03, 1 / 3, 1) == pytest.approx(0.1 / 0.09)
    assert predict_cores(0.1, 0.04, 0.03, 1 / 3, 20) == pytest.approx(0.1 / (0.06 + 0.01 + 0.001))
    assert predict_cores(0.1, 0.04, 0.03, 1.0, 64) == pytest.approx(0.1 / 0.09)


def test_the_step_is_the_measured_one_and_else_the_profiled_eager_one():
    (alone,) = list_cases([create_row()], [])
    assert (alone.mode, alone.step_s, alone.measured) == ("eager", 0.1, None)
    graph = create_measured("graph", tuned=0.08)
    other = {**create_measured(tuned=0.5), "batch_size": 8}
    cases = list_cases([create_row()], [graph, other])
    assert [(case.mode, case.step_s) for case in cases] == [("graph", 0.08), ("eager", 0.1)]


def test_the_tables_hold_prediction_measurement_and_what_is_calculated():
    text = render([create_row()], [create_measured(tuned=0.1, mkl=0.08)])
    gains = "| alexnet | eager | 100 | 40 % | mkl | 2 | 2.00 times as fast | 1.25 | 1.25 (1.25 to"
    assert gains in text
    # serial share (20 / 30 - 1 / 2) / (1 / 2) = 1 / 3
    assert "| alexnet | eager | 40 % | mkl | 2: 1.50 | 33 % | 1.40 | 1.42 | 1.67 |" in text
    assert "calculated, not measured" in text
    assert "| alexnet | 100 | 20 | 12 % | 38 % | 10 % | 30 % | 10 % |" in text
    # more products than images: a group has one each
    parts = "10.0 | 30.0 | 8.0 | 12.0 | 10.0"
    assert f"| alexnet | Conv2d, grouped | 1 | 90.0 | 20.0 | {parts} |" in text


def test_a_blas_is_measured_on_its_threads_and_on_one():
    own, threaded, single = list_contenders(["mkl,env.KMP_BLOCKTIME=0"])
    assert own.blas is None and threaded.name == "mkl-KMP_BLOCKTIME=0"
    assert threaded.env == {"KMP_BLOCKTIME": "0"}
    assert single.name == "mkl-KMP_BLOCKTIME=0-1"
    assert single.env["MKL_NUM_THREADS"] == single.env["OPENBLAS_NUM_THREADS"] == "1"


def test_products_are_measured_there_and_back_without_the_path_of_the_library():
    class Worker:
        def __init__(self, name):
            self.name = name

        def ask(self, call, shapes):
            assert (call, shapes) == ("products", [[0, 0, 0, 2, 3, 4]])
            return {"times_s": [0.5], "blas": {"path": "/home/me/libmkl_rt.so", "threads": 2}}

        def close(self):
            pass

    class Fleet:
        started = []

        def start(self, contender, role):
            self.started.append(contender.name)
            return Worker(contender.name)

    contenders = [Contender(name=name, mode="eager") for name in ("own", "mkl")]
    found = measure_products(Fleet(), contenders, [[0, 0, 0, 2, 3, 4]])
    assert Fleet.started == ["own", "mkl", "mkl", "own"]
    assert found["mkl"]["blas"]["path"] == "libmkl_rt.so"
    assert found["mkl"]["times_s"] == [[0.5], [0.5]]


def test_a_row_is_stored_as_it_ends_and_not_measured_again(tmp_path, monkeypatch, capsys):
    asked = []

    def measure(model, options, ceilings):
        assert ceilings == ["measured once"]
        asked.append(model)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return create_row(model)

    monkeypatch.setattr(blas_prediction, "measure", measure)
    monkeypatch.setattr(blas_prediction, "measure_machine", lambda *given: ["measured once"])
    monkeypatch.setattr(blas_prediction, "find_blas", lambda *given: None)
    arguments = ["--out", str(tmp_path), "--blas", "mkl", "--model", "alexnet", "--model", "lenet"]
    assert blas_prediction.main(arguments) == 130
    assert blas_prediction.main(arguments) == 0 and asked == ["alexnet", "lenet", "lenet"]
    assert (tmp_path / "predictions.md").read_text() in capsys.readouterr().out


def test_what_cannot_be_measured_or_printed_is_refused(tmp_path, capsys):
    assert blas_prediction.main(["--out", str(tmp_path)]) == 2
    assert "give --blas mkl, openblas or a path" in capsys.readouterr().err
    assert blas_prediction.main(["report", "--out", str(tmp_path)]) == 2
    assert "nothing is stored in" in capsys.readouterr().err
    gone = ["--out", str(tmp_path), "--blas", str(tmp_path / "gone.so")]
    assert blas_prediction.main(gone) == 2
