from __future__ import annotations

import json
import math

import numpy as np
import pytest
import replayed_runs
from test_verdict_quality import create_comparison
from variance_components import (
    Sample,
    choose_rounds,
    collect_sample,
    measure_neighbours,
    predict_oracle_s,
    split_variance,
)

from oneflow_bench.bench.verdict.estimate import Wave, mean

BETWEEN, WITHIN = 0.02, 0.04  # standard deviations: of processes, and of a block


def create_sample(waves=150, rounds=16, between=BETWEEN, within=WITHIN, effect=0.0):
    source = np.random.default_rng(1)
    made = []
    for _ in range(waves):
        values = source.normal(0, between, (9, 1)) + source.normal(0, within, (9, rounds))
        made.append(Wave(values[:3], values[3:6] + effect, values[6:]))
    return Sample(made, start_s=8.0, round_s=0.5)


def test_the_components_are_those_of_the_machine_whatever_was_planted():
    for effect in (0.0, 0.5):
        between, within = split_variance(create_sample(effect=effect).waves, mean)
        assert math.sqrt(between) == pytest.approx(BETWEEN, rel=0.1)
        assert math.sqrt(within) == pytest.approx(WITHIN / 4, rel=0.1)  # of 16 blocks


def test_the_optimal_rounds_are_the_best_of_all():
    sample = create_sample()
    chosen = choose_rounds(BETWEEN**2, WITHIN**2 / 16, sample, 16)

    def cost(rounds):
        return (BETWEEN**2 + WITHIN**2 / rounds) * (sample.start_s + rounds * sample.round_s)

    assert cost(chosen) < min(cost(chosen * 0.8), cost(chosen * 1.25))
    assert choose_rounds(0.0, 1.0, sample, 16) == math.inf


def test_an_oracle_needs_more_time_for_less_and_on_a_noisier_machine():
    sample = create_sample()
    times = [predict_oracle_s(sample, effect) for effect in (0.1, 0.05, 0.03)]
    assert times == sorted(times)
    noisy = create_sample(between=2 * BETWEEN, within=2 * WITHIN)
    assert predict_oracle_s(noisy, 0.03) == pytest.approx(4 * times[-1], rel=0.1)
    assert predict_oracle_s(noisy, 0.0) > predict_oracle_s(sample, 0.0)


def test_neighbours_explain_what_the_machine_does_to_all_processes():
    source = np.random.default_rng(1)

    def explain(common):
        drift = common * np.repeat(source.normal(0, 1, 150), 6) + source.normal(0, 0.02, 900)
        times = 1e4 * np.exp(drift.reshape(100, 9).T)
        turns = np.arange(900).reshape(100, 9).T
        processes = [
            {"turn": list(turn), "step_time_us": list(time)} for turn, time in zip(turns, times)
        ]
        return measure_neighbours([{"processes": processes}])

    assert explain(0.1) > 0.5 > 0.1 > explain(0.0)


def test_time_is_read_off_the_comparisons():
    sample = collect_sample([create_comparison(number=number) for number in range(3)])
    assert sample.usual_rounds == 8 and sample.start_s == 0  # of a made-up run, which has none
    assert sample.round_s == pytest.approx(12 * 6 * 0.1, rel=0.05)
    assert sample.keep(9).waves == [] and sample.cut(4)[0].baseline.shape == (4, 4)


def test_runs_are_put_together_and_judged_by_each_rule(tmp_path, monkeypatch, capsys):
    store = tmp_path / "comparisons.jsonl"
    rows = [create_comparison(number=number) for number in range(30)]
    store.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["replayed_runs.py", str(store), "--runs", "2", "--rounds", "8", "--budget", "200"]
    monkeypatch.setattr("sys.argv", arguments)
    assert replayed_runs.main() == 0
    components, replays = capsys.readouterr().out.split("\nOf 2 runs")
    assert components.count("quickest quarter") == 1 and "the same, eager, quiet | 30" in components
    for rule in replayed_runs.RULES:
        (row,) = [line for line in replays.splitlines() if f"| 8 | {rule} |" in line]
        different, equivalent, _, *found, _ = row.split("|")[4:-1]
        assert float(different) == 0 and float(equivalent) == 100
        assert [float(share) for share in found] == [100, 100]


def test_a_store_with_nothing_in_it_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["replayed_runs.py", str(tmp_path / "nothing.jsonl")])
    assert replayed_runs.main() == 2
    assert "no comparison is stored in" in capsys.readouterr().err
