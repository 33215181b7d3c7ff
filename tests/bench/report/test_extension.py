from __future__ import annotations

import json

import pytest
from golden import shown
from pydantic import BaseModel
from records import create_events, create_record

from oneflow_bench.bench.report import compare, comparison, screen
from oneflow_bench.bench.report.before_after import compare_record, compare_runs
from oneflow_bench.bench.report.blocks import Heading, format_markdown
from oneflow_bench.bench.report.compare import build_report, dump_comparisons
from oneflow_bench.bench.report.screen import summarize_comparisons


class Payload(BaseModel):
    colour: str


class Painter:
    """Knows the contender `tuned` alone."""

    def __init__(self, expected):
        self.expected = expected

    def extend(self, record, found):
        if found.contender.name != "tuned":
            return found
        judged = {"parity": "different", "parity_reason": "red", "parity_expected": self.expected}
        return found.model_copy(update={**judged, "ranks": Payload(colour="red")})

    def list_blocks(self, comparisons, unavailable):
        painted = [one.contender.name for one in comparisons if one.ranks is not None]
        return [Heading(f"Colour of {name}") for name in [*painted, *unavailable]]


def use_extension(monkeypatch, one):
    for module in (compare, comparison, screen):
        monkeypatch.setattr(module, "EXTENSIONS", [one])


@pytest.fixture(params=[True, False])
def comparisons(request, monkeypatch):
    use_extension(monkeypatch, Painter(request.param))
    record = create_record(*(create_events(name) for name in ("eager", "graph", "tuned")))
    graph, tuned = compare_record(record)
    assert (tuned.parity, tuned.parity_expected) == ("different", request.param)
    return [graph, tuned]


def test_an_extension_judges_what_it_knows(comparisons):
    graph, tuned = comparisons
    assert graph.parity == "identical" and graph.ranks is None and not graph.parity_expected
    assert tuned.parity_reason == "red" and tuned.ranks.colour == "red"
    stored = json.loads(dump_comparisons(comparisons))
    assert [one["ranks"] for one in stored] == [None, {"colour": "red"}]


def test_an_extension_adds_its_blocks(comparisons):
    unavailable = {"zero": "not here"}
    short = shown(summarize_comparisons(comparisons, unavailable), 200)
    for text in (short, format_markdown(build_report(comparisons, unavailable))):
        assert "Colour of tuned" in text and "Colour of zero" in text
        assert ("different (expected)" in text) == comparisons[1].parity_expected


def test_two_records_have_no_addition(monkeypatch):
    use_extension(monkeypatch, Painter(True))
    records = [create_record(create_events(name)) for name in ("eager", "tuned")]
    (found,) = compare_runs(*records).comparisons
    assert found.ranks is None and found.parity == "identical"
