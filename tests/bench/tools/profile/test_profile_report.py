from __future__ import annotations

import io
from contextlib import closing

import pytest
from limits_records import GRAPH, create_layer_profile, create_profile
from rich.console import Console

from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.report.blocks import print_blocks
from oneflow_bench.bench.tools.profile.document import layer_rows, remainder_rows, select_rows
from oneflow_bench.bench.tools.profile.pictures import SHOWN_LAYERS, create_trace, render_layers
from oneflow_bench.bench.tools.profile.report import report_profile, save_report
from oneflow_bench.bench.tools.profile.run import MAX_RESTARTS, run_profile
from oneflow_bench.bench.tools.profile.steps import Fleet


def printed(found, width=80, top=None):
    stream = io.StringIO()
    print_blocks(report_profile(found, top, width), Console(file=stream, width=width))
    return stream.getvalue()


def test_shares_add_up_and_the_rest_is_shown():
    found = create_profile(
        [
            create_layer_profile(0),
            create_layer_profile(1, backward=0.0),
            create_layer_profile(2, forward=0.004),
        ]
    )
    rows = layer_rows(found)
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert [row.total_s for row in rows] == pytest.approx([0.003, 0.001, 0.006])
    rest = dict(remainder_rows(found))
    assert rest["forward outside the layers"] == pytest.approx(0.03 - 0.006)
    assert rest["backward outside the layers"] == pytest.approx(0.05 - 0.004)
    assert rest["overlap (negative: time gained)"] == pytest.approx(0.1 - 0.101)


def test_a_trained_layer_without_a_time_of_its_backward_is_named():
    trained = create_layer_profile(1, backward=0.0, param_sizes=[10])
    text = " ".join(printed(create_profile([create_layer_profile(0), trained])).split())
    assert "Share of the forward alone: features.1. A backward is timed where" in text
    frozen = create_layer_profile(1, backward=0.0, param_sizes=[])
    assert "forward alone" not in printed(create_profile([frozen]))


def test_a_graph_s_backward_is_what_it_takes_beyond_the_forward():
    alone = {"graph_forward_s": [0.002] * 3, "graph_forward_backward_s": [0.007] * 3}
    found = create_profile(
        [create_layer_profile(0, **alone), create_layer_profile(1)], mode="graph", graph=GRAPH
    )
    row = layer_rows(found)[0]
    assert (row.forward.median, row.backward.median) == pytest.approx((0.002, 0.005))
    rest = dict(remainder_rows(found))
    assert rest["the rest of the step"] == pytest.approx(0.08 - 0.007 - 0.003)


def test_the_table_fits_and_counts_what_it_leaves_out():
    found = create_profile(
        [create_layer_profile(n, forward=0.001 * (1 + n % 5)) for n in range(40)]
    )
    for width in (80, 140):
        text = printed(found, width, top=6)
        assert max(map(len, text.splitlines())) <= width
        assert "34 other layers" in text
        assert ("4x8x2x2" in text) == (width == 140)
    assert len(select_rows(layer_rows(found), 6)) == 6
    assert len(select_rows(layer_rows(found), None)) == 40


def test_the_table_in_a_file_has_all_layers_and_columns(tmp_path):
    found = create_profile([create_layer_profile(n) for n in range(40)])
    save_report(report_profile(found), tmp_path / "layers.txt")
    lines = (tmp_path / "layers.txt").read_text().splitlines()
    assert sum("4x8x2x2" in line and " 10 " in line for line in lines) == 40
    assert lines[-1].startswith("overlap (negative: time gained)")


def test_the_graph_s_operators_are_counted():
    text = printed(create_profile([create_layer_profile(0)], mode="graph", graph=GRAPH))
    assert "operators before the passes: 9" in text
    assert "operators after the passes: 7" in text
    assert "fused_relu 2" in text
    assert "relu 2, add 2" in text


def test_the_trace_is_complete_and_in_order():
    found = create_profile([create_layer_profile(n) for n in range(5)])
    trace = create_trace(found)
    spans = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert trace["displayTimeUnit"] == "ms"
    assert len(spans) == 10
    for event in trace["traceEvents"]:
        assert {"name", "ph", "pid", "tid"} <= set(event)
    for thread in (1, 2):
        mine = [e for e in spans if e["tid"] == thread]
        assert all(e["dur"] > 0 and e["ts"] >= 0 for e in mine)
        assert all(a["ts"] + a["dur"] <= b["ts"] + 1e-6 for a, b in zip(mine, mine[1:]))
    names = [e["name"] for e in spans if e["tid"] == 2]
    assert names == [f"features.{n}" for n in (4, 3, 2, 1, 0)]
    assert spans[0]["dur"] == pytest.approx(1000)  # a millisecond in microseconds


def test_the_picture_shows_the_largest_layers(tmp_path):
    found = create_profile([create_layer_profile(n) for n in range(SHOWN_LAYERS + 9)])
    written = render_layers(found, tmp_path)
    assert [path.name for path in written] == ["layers.png", "layers.svg"]
    text = written[1].read_text()
    assert "<svg" in text
    again = tmp_path / "again"
    again.mkdir()
    assert render_layers(found, again)[1].read_text() == text


class Worker:
    """Dies at the calls to `layer_graph` that `deaths` lists."""

    def __init__(self, log, deaths):
        self.log, self.deaths = log, deaths
        self.closed = False

    def ask(self, call, timeout_s, **request):
        self.log.append((call, request.get("number")))
        if call == "prepare":
            return {"environment": {"mode": request["contender"]["mode"]}}
        if call == "parts":
            return create_profile([]).parts.model_dump()
        if call == "layers":
            layers = [create_layer_profile(n).model_dump() for n in range(3)]
            return {"layers": layers, "profiled_step_s": [0.1], "batch": "", "work": []}
        if call == "layer_graph":
            if self.deaths and self.deaths[0] == request["number"]:
                self.deaths.pop(0)
                raise WorkerError("it died")
            return {"graph_forward_s": [0.1], "graph_forward_backward_s": [0.3]}
        return GRAPH.model_dump() if call == "graph" else {}

    def kill(self):
        pass

    def close(self):
        self.closed = True


def run(deaths):
    log, workers = [], []

    def launch(contender):
        workers.append(Worker(log, deaths))
        return workers[-1]

    contender = Contender(name="graph", mode="graph")
    fleet = Fleet(Workload(), [contender], launch, None, 5.0, lambda *_: None)
    with closing(fleet):
        found, _ = run_profile(fleet, 3, 1, "now")
    assert all(worker.closed for worker in workers)
    return found, log, len(workers)


def test_a_worker_that_dies_is_replaced_and_the_layer_tried_again():
    found, log, workers = run([1])
    assert workers == 3  # one more for the whole graph
    assert [entry for entry in log if entry[0] == "layer_graph"] == [
        ("layer_graph", number) for number in (0, 1, 1, 2)
    ]
    assert all(layer.graph_forward_s == [0.1] for layer in found.layers)


def test_a_layer_that_kills_twice_is_left_without_times_as_a_graph():
    found, _, _ = run([1, 1])
    assert [bool(layer.graph_forward_s) for layer in found.layers] == [True, False, True]


def test_restarts_have_an_end():
    log = []

    class Many(Worker):
        def ask(self, call, timeout_s, **request):
            answer = super().ask(call, timeout_s, **request)
            if call == "layers":
                answer["layers"] = [
                    create_layer_profile(n).model_dump() for n in range(MAX_RESTARTS)
                ]
            return answer

    deaths = [number for number in range(MAX_RESTARTS) for _ in range(2)]
    contender = Contender(name="graph", mode="graph")
    launch = lambda _: Many(log, deaths)  # noqa: E731
    fleet = Fleet(Workload(), [contender], launch, None, 5.0, lambda *_: None)
    with pytest.raises(WorkerError, match="it died"), closing(fleet):
        run_profile(fleet, 3, 1, "now")
