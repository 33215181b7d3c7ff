from __future__ import annotations

import pytest
from sweep_cells import create_cell, create_result, create_sweep

from oneflow_bench.bench.errors import InputError, Interrupted
from oneflow_bench.bench.tools.sweep.cell import estimate_remaining_s, run_sweep
from oneflow_bench.bench.tools.sweep.document import load_sweep


def sweep_of(count):
    return create_sweep(*(create_cell(batch_size=size) for size in range(1, count + 1)))


def test_cells_run_in_the_order_given_and_are_stored_one_by_one(tmp_path):
    document, ran = sweep_of(3), []

    def execute(position):
        stored = load_sweep(tmp_path)
        assert stored.status == "running"
        assert [c.result is not None for c in stored.cells] == [p in ran for p in range(3)]
        ran.append(position)
        return create_result()

    run_sweep(document, tmp_path, [2, 0, 1], execute)
    assert ran == [2, 0, 1]
    assert load_sweep(tmp_path).status == "complete"


def test_a_failed_cell_is_its_result_and_not_the_end(tmp_path):
    outcomes = {0: "timeout", 1: "done", 2: "out of memory"}
    run_sweep(
        sweep_of(3), tmp_path, [0, 1, 2], lambda position: create_result(status=outcomes[position])
    )
    assert [c.result.status for c in load_sweep(tmp_path).cells] == list(outcomes.values())


def test_cells_with_a_result_are_not_run_again(tmp_path):
    document, ran = sweep_of(3), []
    document.cells[1].result = create_result()
    run_sweep(document, tmp_path, [0, 1, 2], lambda p: ran.append(p) or create_result())
    assert ran == [0, 2]


@pytest.mark.parametrize("error", [KeyboardInterrupt, lambda: Interrupted("ended")])
def test_ctrl_c_keeps_what_is_done_and_the_sweep_can_go_on(tmp_path, error):
    document = sweep_of(3)

    def execute(position):
        if position == 1:
            raise error()
        return create_result()

    with pytest.raises(Interrupted, match="1 of 3 cells are done"):
        run_sweep(document, tmp_path, [0, 1, 2], execute)
    stored = load_sweep(tmp_path)
    assert stored.status == "interrupted"
    assert [c.result is not None for c in stored.cells] == [True, False, False]
    run_sweep(stored, tmp_path, [0, 1, 2], lambda position: create_result())
    assert load_sweep(tmp_path).status == "complete"


def test_a_folder_that_cannot_be_written_ends_the_sweep_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        run_sweep(sweep_of(1), tmp_path / "missing", [0], lambda position: create_result())


def test_progress_counts_cells_and_says_how_long_the_rest_will_take(tmp_path):
    seen = []
    durations = {0: 10.0, 1: 30.0, 2: 20.0}
    run_sweep(
        sweep_of(3),
        tmp_path,
        [0, 1, 2],
        lambda position: create_result(duration_s=durations[position]),
        lambda cell, done, total, left_s: seen.append((done, total, left_s)),
    )
    assert seen == [
        (0, 3, None), (1, 3, 20.0), (1, 3, 20.0), (2, 3, 20.0), (2, 3, 20.0), (3, 3, 0.0),
    ]  # fmt: skip


def test_the_estimate_is_the_mean_of_what_was_done():
    assert estimate_remaining_s([], 3) is None
    assert estimate_remaining_s([10.0, 20.0], 4) == 60.0
    assert estimate_remaining_s([], 0) == 0.0
