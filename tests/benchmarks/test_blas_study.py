"""The study of all cores on made-up processes."""

from __future__ import annotations

import json

import blas_study
import pytest
from blas_study import ROWS, list_ways, select_ways, take_turns
from blas_study_report import render, select_quickest
from study import load_rows

from oneflow_bench.bench.errors import InputError

STEP_S = {"stock": 0.4, "tuned": 0.2, "mkl": 0.1, "2-ranks": 0.25, "torch-1": 0.1, "torch-2": 0.05}


class MadeUpWorker:
    """Takes `step_s` for a step, and keeps the steps that it was asked for."""

    def __init__(self, step_s):
        self.step_s, self.asked = step_s, []

    def ask(self, call, timeout_s, steps, untimed_steps):
        self.asked.append(steps)
        return {"duration_s": self.step_s * steps}


def create_row(model, mode, options=None):
    losses = {name: {"losses": [2.0, 1.0]} for name in ("stock", "tuned", "mkl", "2-ranks")}
    losses["mkl"] = {"losses": [2.0, 1.001]}
    workers = {name: MadeUpWorker(step_s) for name, step_s in STEP_S.items()}
    times = take_turns(workers, 6, 0)
    times["busiest_thread_s"].update(stock=[0.3] * 6, tuned=[0.2] * 6, mkl=[0.1] * 6)
    size = {"batch_size": 4, "image_size": 112}
    return {"model": model, "mode": mode, **size, "ways": {**losses, "torch-1": {}}, **times}


@pytest.mark.parametrize("mode, strategy", [("eager", "ddp"), ("graph", "dp")])
def test_every_way_has_its_contender(mode, strategy):
    ways = {way.name: way for way in list_ways(mode, ["mkl"], True)}
    assert list(ways) == ["stock", "tuned", "mkl", "2-ranks", "2-ranks-mkl", "torch-1", "torch-2"]
    assert ways["stock"].contender.runtime == "stock" and ways["tuned"].contender.blas is None
    both = ways["2-ranks-mkl"].contender
    assert (both.strategy, both.ranks, both.blas) == (strategy, 2, "mkl")
    assert ways["torch-2"].threads == 2 and ways["torch-2"].contender is None


def test_a_blas_may_have_more_keys_of_a_contender():
    ways = {way.name: way for way in list_ways("eager", ["mkl,env.KMP_BLOCKTIME=0"], False)}
    assert ways["mkl-KMP_BLOCKTIME=0"].contender.env == {"KMP_BLOCKTIME": "0"}


def test_ways_are_selected_beside_stock_and_tuned():
    ways = list_ways("eager", ["mkl"], False)
    assert [way.name for way in select_ways(ways, ["2-ranks"])] == ["stock", "tuned", "2-ranks"]
    assert select_ways(ways, None) == ways
    with pytest.raises(InputError, match="--way mlk is none of stock, tuned, mkl"):
        select_ways(ways, ["mlk"])


def test_ways_take_turns_in_blocks_of_equal_length():
    workers = {"slow": MadeUpWorker(0.5), "fast": MadeUpWorker(0.05)}
    found = take_turns(workers, 3, 0)
    assert found["block_steps"] == {"slow": 1, "fast": 10}
    assert workers["fast"].asked == [1, 10, 10, 10]
    assert found["step_time_s"]["slow"] == [0.5] * 3
    assert found["busiest_thread_s"]["slow"] == [None] * 3  # it is no process


def test_the_tables_hold_the_ratios_the_distance_and_the_losses():
    moved = {"model": "alexnet", "stock": [1.0, 1.0], "witnesses": [[1.0, 1.01]]}
    text = render([create_row("alexnet", "eager")], [moved])
    assert (
        "| alexnet, 4, 112 | eager | 0 % | 200 | 0.50 (0.50 to 0.50) | 2.00 (2.00 to 2.00) |"
        in text
    )
    assert "| 200 | 0.67 (0.67 to 0.67) | 2.00 (2.00 to 2.00) | - | - | - |" in text
    assert "| alexnet | eager | mkl | 2.00 (2.00 to 2.00) |" in text
    alone = create_row("alexnet", "eager")
    del alone["step_time_s"]["torch-2"]
    assert "PyTorch" not in render([alone], [])
    assert "| alexnet | eager | 2 | 0.0e+00 | 1.0e-03 | 0.0e+00 | 1.0e-02 |" in text


def test_the_row_that_was_disturbed_least_is_shown():
    quiet, other = create_row("alexnet", "eager"), create_row("alexnet", "graph")
    noisy = create_row("alexnet", "eager")
    noisy["step_time_s"] = {
        name: [1.1 * t for t in times] for name, times in noisy["step_time_s"].items()
    }
    noisy["step_time_s"]["tuned"] = [0.15] * 6
    assert select_quickest([noisy, other, quiet]) == [quiet, other]


def test_a_row_is_stored_as_it_ends_and_not_measured_again(tmp_path, monkeypatch, capsys):
    asked = []

    def measure(model, mode, options):
        asked.append((model, mode))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return create_row(model, mode)

    monkeypatch.setattr(blas_study, "measure", measure)
    arguments = ["--out", str(tmp_path), "--blas", "mkl", "--model", "alexnet"]
    assert blas_study.main(arguments) == 130
    assert [(row["model"], row["mode"]) for row in load_rows(tmp_path / ROWS)] == asked[:1]
    assert blas_study.main(arguments) == 0
    assert asked[2:] == [("alexnet", "graph")]
    assert blas_study.main([*arguments, "--again", "--mode", "eager"]) == 0
    assert asked[3:] == [("alexnet", "eager")]
    assert (tmp_path / "table.md").read_text() in capsys.readouterr().out
    assert json.loads((tmp_path / "machine.json").read_text())["cpu"]


def test_a_study_without_a_blas_is_refused(tmp_path, capsys):
    assert blas_study.main(["--out", str(tmp_path)]) == 2
    assert "give --blas mkl, openblas or a path" in capsys.readouterr().err
