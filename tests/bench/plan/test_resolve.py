from __future__ import annotations

import pytest

import oneflow_bench.bench.distributed  # noqa: F401  registers its strategies and its report
from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.contenders import parse_contenders, workload_of
from oneflow_bench.bench.plan.modes import MODES, count_ranks, list_strategies, spell_strategy
from oneflow_bench.bench.plan.resolve import RankRequest, complete_contenders, resolve_contenders


def parse(*texts):
    return parse_contenders(texts, {"ranks": 2})


def request(**given):
    usual = {"ranks": 2, "oversubscribe": False, "weak": False, "usable_cores": 2}
    return RankRequest(**{**usual, **given})


def test_every_word_is_found_again():
    names = list_strategies()
    specs = [MODES[name] for name in names]
    assert [spell_strategy(spec.mode, spec.strategy) for spec in specs] == names
    assert list_strategies("eager") == ["ddp", "eager-global"]
    assert spell_strategy("graph", None) == "graph"


def test_a_run_has_one_number_of_ranks():
    assert count_ranks(parse("eager")) == 1
    assert count_ranks(parse("eager", "ddp", "graph-dp")) == 2
    with pytest.raises(InputError, match="contenders of 2 and 4 ranks were given"):
        count_ranks(parse("ddp", "ddp,ranks=4"))


def test_what_is_not_available_is_left_out_and_said():
    found = resolve_contenders(parse("eager", "ddp", "graph-zero"), request())
    assert [one.name for one in found.contenders] == ["eager", "ddp"]
    assert "aborts the process" in found.unavailable["graph-zero"]


@pytest.mark.parametrize(
    "texts, given, words",
    [
        (("eager", "graph"), {}, "--ranks was given and no contender trains in several ranks"),
        (("eager", "graph"), {"ranks": None, "weak": True}, "--weak was given and no contender"),
        (("ddp", "graph-dp"), {"weak": True}, "the baseline ddp has 2 ranks; give --baseline"),
        (("eager", "ddp,ranks=3"), {"ranks": None}, "3 ranks on 2 usable cores"),
        (("eager", "graph-zero"), {}, "graph-zero is not available here"),
        (("graph-zero",), {}, "graph-zero is not available here"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_sentence(texts, given, words):
    with pytest.raises(InputError, match=words) as info:
        resolve_contenders(parse(*texts), request(**given))
    assert "\n" not in str(info.value)


def test_one_process_in_float64_joins_a_comparison_of_ranks():
    contenders = parse("eager,runtime=stock", "ddp")
    *same, reference = complete_contenders(contenders, Workload(), weak=False, compared=True)
    assert same == contenders
    assert (reference.name, reference.mode, reference.dtype) == ("reference", "eager", "float64")
    assert reference.reference and reference.ranks == 1 and reference.runtime == "stock"


@pytest.mark.parametrize("texts, compared", [(("eager", "graph"), True), (("ddp",), False)])
def test_without_several_ranks_to_compare_there_is_no_reference(texts, compared):
    contenders = parse(*texts)
    assert complete_contenders(contenders, Workload(), False, compared) == contenders


def test_the_name_of_the_reference_is_taken_once():
    with pytest.raises(InputError, match="a contender is called reference"):
        complete_contenders(parse("eager", "ddp,name=reference"), Workload(), False, True)


def test_in_weak_scaling_one_process_takes_the_batch_of_one_rank():
    workload = Workload(batch_size=32, readers=2)
    eager, ddp = complete_contenders(parse("eager", "ddp"), workload, weak=True, compared=True)
    assert workload_of(workload, eager).batch_size == 16
    assert workload_of(workload, eager).readers == 1
    assert workload_of(workload, ddp) == workload
    assert workload_of(workload, Contender(name="x", mode="eager")) == workload
