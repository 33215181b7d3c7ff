from __future__ import annotations

from fakes import FakeSpeedWorker
from speed_world import World
from study import load_rows
from test_verdict_quality import create_comparison
from trained_replicate import main, render_rows, train_contender

from oneflow_bench.bench.record.events import SpeedBlockEvent


class Worker(FakeSpeedWorker):
    def _train(self, request):
        return {}

    def _eval(self, request):
        return {}


def test_only_the_contender_s_processes_train_and_they_do_so_before_their_warm_up(tmp_path):
    world = World(tmp_path / "run", replicates=1, budget_s=3)

    def launch(contender):
        return Worker(contender.name, world.clock, world.log, lambda: 0.01)

    world.launch = train_contender(launch, steps=30)
    record = world.run()
    trained = [name for name, call in world.log if call == "train"]
    assert trained == ["speed-contender-graph-1"] * 3
    mine = [call for name, call in world.log if name == trained[0]]
    assert mine[:7] == ["prepare", "compile", "train", "train", "train", "eval", "measure"]
    assert {block.role for block in record.of_kind(SpeedBlockEvent)} == {
        "baseline",
        "contender",
        "control",
    }


def test_the_table_has_the_mean_ratio_with_its_interval():
    rows = [
        {
            **create_comparison("10", planted=1.1, number=number),
            "mode": "graph",
            "verdict": "slower",
        }
        for number in range(3)
    ]
    table = render_rows(rows)
    assert "| graph | 3 | quickest quarter | 0.9" in table and "| 3 slower |" in table
    assert "no interval" not in table and "no interval" in render_rows(rows[:1])
    assert "eager" not in table


def test_a_comparison_is_stored_and_not_done_again(tmp_path, monkeypatch, capsys):
    done = []

    def compare(mode, number, options):
        done.append((mode, number))
        row = create_comparison(number=number)
        return {"mode": mode, "verdict": "equivalent", "processes": row["processes"]}

    monkeypatch.setattr("trained_replicate.run_comparison", compare)
    for count in ("1", "2"):
        words = ["trained_replicate.py", "--out", str(tmp_path), "--count", count]
        monkeypatch.setattr("sys.argv", words)
        assert main() == 0
    assert sorted(done) == [("eager", 0), ("eager", 1), ("graph", 0), ("graph", 1)]
    assert len(load_rows(tmp_path / "rows.jsonl")) == 4
    assert "| eager | 2 | median |" in capsys.readouterr().out
