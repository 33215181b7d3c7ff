from __future__ import annotations

import numpy as np
import pytest
from records import create_events, create_record

from oneflow_bench.bench.report.curves import (
    CELLS,
    COLUMNS,
    describe_runs,
    list_series,
    thin_line,
    thin_marks,
)
from oneflow_bench.bench.report.pictures import render_pictures

STEPS = np.arange(100_000)


def test_a_thinned_line_keeps_the_extremes_of_every_column():
    values = np.random.RandomState(0).rand(len(STEPS))
    values[54_321] = 9.0
    x, y = thin_line(STEPS, values)
    assert len(x) <= 2 * COLUMNS and (np.diff(x) > 0).all() and (values[x] == y).all()
    columns = np.split(values, np.linspace(0, len(values), COLUMNS + 1).astype(int)[1:-1])
    ends = {value for part in columns for value in (part.min(), part.max())}
    assert ends == set(y) and 9.0 in ends


def test_a_thinned_line_breaks_where_values_are_not_finite():
    values = np.ones(len(STEPS))
    values[70_000:] = np.nan
    x, y = thin_line(STEPS, values)
    assert np.isfinite(y[x < 70_000]).all() and np.isnan(y[x >= 70_000]).all()


@pytest.mark.parametrize("log", [False, True])
def test_thinned_marks_cover_the_cells_that_all_marks_cover(log):
    values = np.exp(np.random.RandomState(0).randn(len(STEPS)))
    x, y = thin_marks(STEPS, values, log)
    assert len(x) <= (CELLS[0] + 1) * (CELLS[1] + 1) and (values[x] == y).all()
    heights = np.log(values) if log else values
    up = (heights - heights.min()) * (CELLS[1] / np.ptp(heights))
    across = STEPS * (CELLS[0] / STEPS.max())
    cells = set(zip(across.astype(int), up.astype(int)))
    assert {(int(across[i]), int(up[i])) for i in x} == cells and len(cells) == len(x)


def test_short_curves_are_drawn_whole():
    for thin in (thin_line, lambda x, y: thin_marks(x, y, False)):
        assert len(thin(STEPS[:COLUMNS], STEPS[:COLUMNS])[0]) == COLUMNS


def test_names_that_are_not_utf8_or_hold_dollar_signs_are_drawn(tmp_path):
    record = create_record(create_events("eager"), folder=tmp_path / "a$b$c")
    work = record.document.workload
    record.document.workload = work.model_copy(update={"model": "m\udcff:$x_{", "data": "d\udcff"})
    other = create_record(create_events("eager"))
    assert len(render_pictures([record, other], tmp_path)) == 13
    assert "a$b$c: eager" in (tmp_path / "loss.svg").read_text(encoding="utf-8")
    assert describe_runs(list_series([record]))[0].startswith("m\udcff:$x_{ on d\udcff, batch")


def test_common_steps_of_a_whole_and_a_resumed_run_are_subtracted():
    whole, half = create_events("eager"), create_events("graph", loss_shift=0.5)
    half = [event for event in half if getattr(event, "epoch", 1) == 1]
    first, second = list_series([create_record(whole), create_record(half)])
    steps, sizes = second.subtract(first)
    assert steps.tolist() == list(range(120, 240)) and sizes == pytest.approx(0.5)
