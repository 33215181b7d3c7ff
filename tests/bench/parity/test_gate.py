from __future__ import annotations

import json

import pytest
from made_checks import (
    create_check,
    create_check_document,
    create_different_check,
    create_failed_check,
    create_failed_speedup,
    create_inconclusive_check,
    create_rounding_check,
    create_side,
    create_speedup,
    create_stored,
)

from oneflow_bench.bench.errors import worst_status
from oneflow_bench.bench.parity.gate import judge_checks
from oneflow_bench.bench.report.ci import create_result


def status_of(*checks, baselines=()):
    judged = judge_checks(create_check_document(*checks), baselines)
    return worst_status([one.exit_status for one in judged])


@pytest.mark.parametrize(
    "check, status",
    [
        (create_check(), 0),
        (create_rounding_check(), 0),
        (create_different_check(), 1),
        (create_inconclusive_check(), 3),
        (create_failed_check(), 4),
    ],
)
def test_every_verdict_has_its_status(check, status):
    assert status_of(check) == status


def test_the_worst_of_many_wins_in_the_order_1_4_3_0():
    checks = [
        create_check(),
        create_inconclusive_check(),
        create_failed_check(),
        create_different_check(),
    ]
    assert [status_of(*checks[:count]) for count in (1, 2, 3, 4)] == [0, 3, 4, 1]
    assert [status_of(*reversed(checks[:count])) for count in (1, 2, 3, 4)] == [0, 3, 4, 1]


def test_a_regression_fails_and_an_improvement_does_not():
    check = create_check()
    worse = create_check(graph=create_side(graph_ops=60))
    assert status_of(worse, baselines=[create_stored(check)]) == 1
    assert status_of(check, baselines=[create_stored(worse)]) == 0
    (judged,) = judge_checks(create_check_document(check), [create_stored(worse)])
    assert [finding.subject for finding in judged.of_kind("improvement")] == ["graph operators"]


def test_a_regression_comes_before_an_inconclusive_verdict():
    check = create_inconclusive_check("lenet")
    check.graph = create_side(graph_ops=60)
    assert status_of(check, baselines=[create_stored(create_check())]) == 1


def test_a_baseline_is_compared_with_its_own_model_only():
    worse = create_check("alexnet", graph=create_side(graph_ops=60))
    assert status_of(worse, baselines=[create_stored(create_check("lenet"))]) == 0


def test_a_model_that_failed_is_not_compared():
    failed = create_failed_check("lenet")
    (judged,) = judge_checks(create_check_document(failed), [create_stored(create_check())])
    assert (judged.findings, judged.exit_status) == ([], 4)


def test_the_result_for_machines_is_json_and_holds_everything():
    document = create_check_document(create_check(graph=create_side(graph_ops=60)))
    result = create_result(document, judge_checks(document, [create_stored(create_check())]))
    result = json.loads(json.dumps(result))
    assert result["exit_status"] == 1
    assert result["check"]["checks"][0]["model"] == "lenet"
    wrong = [f for f in result["findings"]["lenet"] if f["kind"] == "regression"]
    assert [(f["metric"], f["mode"], f["expected"], f["found"]) for f in wrong] == [
        ("operators", "graph", 50, 60)
    ]


def test_a_speed_worker_that_failed_is_a_failed_worker_and_slowness_alone_is_no_regression():
    failed = create_failed_speedup()
    assert status_of(create_check(speedup=failed)) == 4
    slow = create_speedup(0.5, verdict="slower")
    assert status_of(create_check(speedup=slow)) == 0
    stored = create_stored(create_check(speedup=create_speedup()))
    assert status_of(create_check(speedup=slow), baselines=[stored]) == 1
