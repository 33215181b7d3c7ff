"""Checked with a reader of these files, and against what Jenkins's xUnit reader accepts."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import junitparser
import pytest
from made_checks import (
    create_check,
    create_check_document,
    create_different_check,
    create_failed_check,
    create_failed_speedup,
    create_inconclusive_check,
    create_level,
    create_rounding_check,
    create_side,
    create_speedup,
)

from oneflow_bench.bench.parity.baseline import create_baseline
from oneflow_bench.bench.parity.gate import judge_checks
from oneflow_bench.bench.report.ci import format_annotations, format_junit

# element: (children, required attributes, other attributes), of the format junit-10
GRAMMAR = {
    "testsuites": ({"testsuite"}, set(), {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"properties", "testcase"},
        {"name", "tests", "failures", "errors"},
        {"skipped", "time", "timestamp"},
    ),
    "properties": ({"property"}, set(), set()),
    "property": (set(), {"name", "value"}, set()),
    "testcase": (
        {"failure", "error", "skipped", "system-out"},
        {"name"},
        {"classname", "time"},
    ),
    "failure": (set(), set(), {"message", "type"}),
    "error": (set(), set(), {"message", "type"}),
    "skipped": (set(), set(), {"message", "type"}),
    "system-out": (set(), set(), set()),
}


def check_grammar(element):
    children, required, others = GRAMMAR[element.tag]
    assert {child.tag for child in element} <= children
    assert required <= set(element.attrib) <= required | others
    if "time" in element.attrib:
        assert re.fullmatch(r"\d+\.\d{3}", element.get("time"))
    if children:
        assert not "".join([element.text or "", *(child.tail or "" for child in element)]).strip()
    for child in element:
        check_grammar(child)


def render(*checks, baselines=()):
    document = create_check_document(*checks)
    return format_junit(document, judge_checks(document, baselines))


def read(*checks, baselines=()):
    """The first suite as the reader sees it: name of the case -> its results."""
    suite = next(iter(junitparser.JUnitXml.fromstring(render(*checks, baselines=baselines))))
    return suite, {case.name: case for case in suite}


@pytest.fixture
def everything():
    document = create_check_document()
    worse = create_side(graph_ops=40, parameters_digest="b" * 64, peak_rss_bytes=900 * 2**20)
    baselines = [
        create_baseline(document, create_check(graph=worse)),
        create_baseline(create_check_document(blas_kernel="Zen"), create_rounding_check()),
    ]
    return render(
        create_check(),
        create_rounding_check(),
        create_different_check(),
        create_inconclusive_check(),
        create_failed_check(),
        baselines=baselines,
    )


def test_the_file_is_what_ci_servers_accept(everything):
    assert everything.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    root = ElementTree.fromstring(everything.encode())
    assert root.tag == "testsuites"
    check_grammar(root)


@pytest.mark.parametrize(
    "harm",
    [
        ("<property ", "<prop "),
        (' failures="', ' failed="'),
        ("</properties>", "</properties>text"),
        ('time="4.000"', 'time="4 s"'),
    ],
)
def test_the_grammar_refuses_what_is_no_junit(everything, harm):
    with pytest.raises((AssertionError, KeyError)):
        check_grammar(ElementTree.fromstring(everything.replace(*harm).encode()))


def test_the_counts_are_those_of_the_cases(everything):
    xml = junitparser.JUnitXml.fromstring(everything)
    stored = (xml.tests, xml.failures, xml.errors)
    suites = [(suite.name, suite.tests, suite.failures, suite.errors) for suite in xml]
    skipped = [suite.skipped for suite in xml]
    xml.update_statistics()
    assert stored == (xml.tests, xml.failures, xml.errors)
    assert suites == [(suite.name, suite.tests, suite.failures, suite.errors) for suite in xml]
    assert skipped == [suite.skipped for suite in xml]
    by_name = {name: rest for name, *rest in suites}
    assert by_name["lenet"] == [27, 2, 0]
    assert by_name["vgg11"] == [3, 1, 0]
    assert by_name["mnasnet1_0"] == [1, 0, 1]


def test_a_level_that_differs_is_a_failure_that_names_where():
    _, cases = read(create_different_check())
    assert cases["batches"].is_passed
    (failure,) = cases["forward"].result
    assert isinstance(failure, junitparser.Failure)
    assert failure.message.startswith("different: features.3 differs: graph error 1.20e-04")
    for words in ("tensor: forward: features.3", "operator: conv2d", "script: vgg11/reproduce.py"):
        assert words in failure.text


def test_a_worker_that_failed_is_an_error_with_its_last_lines():
    _, cases = read(create_failed_check())
    (error,) = cases["worker"].result
    assert isinstance(error, junitparser.Error)
    assert error.message == "the worker graph died (exit status 9)"
    assert error.text.endswith("last words <&>")


def test_inconclusive_is_skipped_with_its_reason():
    _, cases = read(create_inconclusive_check())
    (skipped,) = cases["verdict"].result
    assert isinstance(skipped, junitparser.Skipped)
    assert "does not repeat itself" in skipped.message
    check = create_inconclusive_check()
    check.levels.append(create_level("forward", "inconclusive", reason="no reference"))
    _, cases = read(check)
    assert cases["forward"].is_skipped and "verdict" not in cases


def test_every_metric_of_a_baseline_is_a_case():
    document = create_check_document(blas_kernel="Zen")
    old = create_baseline(document, create_check(graph=create_side(graph_ops=40, compile_s=0.5)))
    suite, cases = read(create_check(), baselines=[old])
    (failure,) = cases["graph operators"].result
    assert failure.message == "regression: +10 operators (baseline 40, now 50)"
    assert cases["eager accuracy"].is_passed and cases["graph compile time"].is_passed
    digests = read(create_check(eager=create_side(parameters_digest="c")), baselines=[old])[1]
    assert digests["eager parameters digest"].is_skipped
    classes = {case.classname for case in suite}
    assert classes == {"bench.check.lenet", "bench.baseline.lenet"}


@pytest.mark.parametrize(
    "speedup, element",
    [
        (create_speedup(0.5, verdict="slower"), None),
        (create_speedup(verdict="inconclusive"), "skipped"),
        (create_failed_speedup("it died\nits last line"), "error"),
    ],
)
def test_the_speed_is_a_case_that_only_a_baseline_can_fail(speedup, element):
    tree = ElementTree.fromstring(render(create_check(speedup=speedup)))
    check_grammar(tree)
    (case,) = tree.iterfind(".//testcase[@name='speed']")
    found = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
    assert found == ([] if element is None else [element])


def annotate(*checks, baselines=()):
    return format_annotations(judge_checks(create_check_document(*checks), baselines))


@pytest.mark.parametrize(
    "check, begin",
    [
        (create_different_check(), "::error title=bench check%3A vgg11::different: forward: "),
        (create_failed_check(), "::error title=bench check%3A mnasnet1_0::a worker failed: "),
        (create_inconclusive_check(), "::warning title=bench check%3A googlenet::inconclusive: "),
        (create_rounding_check(), "::warning title=bench check%3A resnet18::the known difference"),
    ],
)
def test_what_wants_a_look_is_annotated(check, begin):
    (line,) = annotate(check)
    assert line.startswith(begin)


def test_what_is_the_same_is_not():
    assert annotate(create_check()) == []


def test_a_difference_names_where_it_begins():
    (line,) = annotate(create_different_check())
    assert line.endswith("%0AFirst difference: features.3 (Conv2d).")


def test_findings_are_errors_and_notices():
    old = create_baseline(
        create_check_document(), create_check(graph=create_side(graph_ops=60, accuracy=0.75))
    )
    assert annotate(create_check(), baselines=[old]) == [
        "::error title=bench check%3A lenet::regression of graph accuracy: -50.00 points, beyond "
        "10 (baseline 75.0 %25, now 25.0 %25)",
        "::notice title=bench check%3A lenet::improvement of graph operators: -10 operators "
        "(baseline 60, now 50)",
    ]


def test_nothing_in_a_message_can_end_the_line_or_begin_another_command():
    check = create_failed_check("a:b,c%d")
    check.error = "50 % done\r\n::error::planted\n"
    (line,) = annotate(check)
    assert line == (
        "::error title=bench check%3A a%3Ab%2Cc%25d::"
        "a worker failed: 50 %25 done%0D%0A::error::planted%0A"
    )
    assert not re.search(r"[\r\n]", line)


def test_no_name_or_message_makes_the_file_unreadable():
    check = create_failed_check("a\x1b[2Jb\x00<&")
    check.error = "died\x07\n<![CDATA["
    ElementTree.fromstring(render(check).encode())


def test_a_speed_that_could_not_be_measured_is_an_error():
    failed = create_failed_speedup()
    (line,) = annotate(create_check(speedup=failed))
    assert line == "::error title=bench check%3A lenet::speed: a worker failed: it died"
