from __future__ import annotations

import json

import pytest
from location_rules import RULES, main, print_simulated
from test_verdict_quality import create_comparison


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["location_rules.py", *map(str, arguments)])
    return main()


def test_stored_comparisons_are_judged_by_each_part_of_the_rule(tmp_path, monkeypatch, capsys):
    store = tmp_path / "comparisons.jsonl"
    rows = [create_comparison(number=n) for n in range(3)]
    rows += [create_comparison("10", planted=1.1, number=n) for n in range(2)]
    store.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(monkeypatch, store) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == list(RULES)
    assert all("0 of 3 | 2 of 2 |" in line for line in lines)


def test_a_store_with_nothing_in_it_is_refused(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, tmp_path / "nothing.jsonl") == 2
    told = capsys.readouterr()
    assert "no comparison is stored in" in told.err and not told.out


@pytest.mark.slow
def test_a_lucky_contender_fools_the_quickest_quarter_and_not_the_whole_rule(monkeypatch, capsys):
    lucky = {"lucky": {"noise": 0.03, "spread": 0.005, "lucky": 0.05}}
    monkeypatch.setattr("location_rules.MACHINES", lucky)
    print_simulated(20)
    rows = capsys.readouterr().out.splitlines()[4:]
    wrong = {
        row.split(" | ")[0].strip("| "): float(row.split("|")[2].split(",")[0]) for row in rows
    }
    assert wrong["quickest quarter"] > 40
    assert wrong["the median must agree"] <= 10


@pytest.mark.parametrize("name", RULES)
def test_every_rule_says_what_its_location_was(name):
    from simulated_verdicts import Machine, Wave

    machine = Machine(lucky=0.1)
    judgement = RULES[name]([Wave(*machine.measure(machine.start(3), 8))], 1, None)
    assert judgement.process_estimate == (
        "quickest quarter" if name == "quickest quarter" else "median"
    )
