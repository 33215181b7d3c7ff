from __future__ import annotations

import io

import pytest
from limits_records import (
    GIGA,
    create_layer,
    create_layer_profile,
    create_limits,
    create_profile,
)
from rich.console import Console

from oneflow_bench.bench.report.blocks import print_blocks
from oneflow_bench.bench.tools.profile.report import (
    describe_limits,
    format_short,
    report_limits,
    report_profile,
    save_report,
)


def printed(blocks, width=80):
    """What a terminal of that width shows."""
    stream = io.StringIO()
    print_blocks(blocks, Console(file=stream, width=width))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return stream.getvalue()


def rows_of(text):
    """The lines without what aligns them."""
    return [" ".join(line.split()) for line in text.splitlines()]


def profile_with(limits, *layers):
    return create_profile(list(layers) or [create_layer_profile(0)], limits=limits)


def test_the_tables_say_floor_rate_and_share():
    # 3 GFLOP and 30 MB: 0.03 s at 100 GFLOP/s, 0.02 s at 150
    text = printed(report_limits(create_limits()), 120)
    lines = rows_of(text)
    assert "floor, one core 30.00 100.0" in lines
    assert "floor, 2 cores 20.00 150.0" in lines
    assert "eager 300.00 ±0.00 10.0 - 10.0 % 6.7 %" in lines
    assert "graph 200.00 ±0.00 15.0 1.50 15.0 % 10.0 %" in lines
    assert "eager / graph 1.500 (95 % 1.500 to 1.500)" in lines
    assert "matrix product, 64 x 64 numpy 2 150.0 GFLOP/s 115.0 GFLOP/s" in lines
    assert "copy of 1.00 MiB numpy 1 10.0 GB/s 10.0 GB/s" in lines
    assert "ran at 1.00 times its speed on one core" in text
    assert "PyTorch" not in text and "Losses" not in text


def test_operations_come_with_bytes_floor_and_limit():
    # 3 GFLOP and 30 MB on 150 GFLOP/s and 20 GB/s
    profile = profile_with(create_limits(), create_layer_profile(0, 0.1, 0.1))
    lines = rows_of(printed(report_profile(profile, width=160), 160))
    work = "3,000 28.6 20.00"
    layer = "features.0 Conv2d 4x8x2x2 10 100.00 100.00 100.0 %"
    assert f"{layer} {work} compute 10.0 %" in lines
    assert f"all layers 10 100.00 100.00 100.0 % {work} 10.0 %" in lines


@pytest.mark.parametrize("width", [80, 120])
def test_the_share_of_the_limit_is_of_the_passes_that_were_measured(width):
    layers = [create_layer_profile(0, 0.1, 0.1), create_layer_profile(1, 0.1, backward=0.0)]
    limits = create_limits([create_layer(f"features.{number}") for number in range(2)])
    lines = rows_of(printed(report_profile(profile_with(limits, *layers), width=width), width))
    kind, limit = ("Conv2d ", " compute") if width == 120 else ("", "")
    assert f"features.0 {kind}100.00 100.00 66.7 % 20.00{limit} 10.0 %" in lines
    assert f"features.1 {kind}100.00 - 33.3 % 20.00{limit} 6.7 %" in lines
    assert "all layers 200.00 100.00 100.0 % 40.00 8.9 %" in lines


def test_stored_limits_give_shares_and_nothing_else():
    profile = profile_with(None, create_layer_profile(0, 0.1, 0.1))
    text = printed(report_profile(profile, width=80, limits=create_limits()))
    assert "20.00 10.0 %" in " ".join(text.split())
    assert "ceilings" not in text
    assert "share of limit" not in printed(report_profile(profile, width=80))


def test_pytorch_stands_beside_with_its_failures_in_words():
    text = printed(report_limits(create_limits(torch=True, dropout_layers=2)), 120)
    assert "eager / torch eager" in text and "3.000 (95 % 3.000 to 3.000)" in text
    assert "Losses of 2 steps" in text
    assert " torch compiled failed" in " ".join(text.split("Losses of")[1].split())
    assert "torch eager 2.000000 1.500000 0 0.5 0.5" in " ".join(text.split())
    assert "torch compiled: it has no compiler" in text
    assert "PyTorch 2.0 computes on 2 threads" in text
    assert "dropout was switched off in 2 layers" in text
    assert text.count("failed") == 2  # its step and its losses


def test_the_table_fits_and_counts_what_it_leaves_out():
    layers = [create_layer(f"features.{n}", flops=GIGA * (1 + n)) for n in range(40)]
    timed = [create_layer_profile(n, 0.001 * (1 + n % 5)) for n in range(40)]
    profile = profile_with(create_limits(layers, torch=True), *timed)
    for width in (80, 120):
        text = printed(report_profile(profile, 6, width), width)
        assert "34 other layers" in text
        assert ("Conv2d" in text) == (width == 120)


def test_the_file_has_all_layers(tmp_path):
    layers = [create_layer(f"features.{n}") for n in range(40)]
    timed = [create_layer_profile(n) for n in range(40)]
    save_report(report_profile(profile_with(create_limits(layers), *timed)), tmp_path / "l.txt")
    text = (tmp_path / "l.txt").read_text()
    assert sum(line.startswith("features.") for line in text.splitlines()) == 40


def test_what_is_not_counted_is_named():
    said = " ".join(describe_limits(create_limits([create_layer(counted=False)])))
    assert "counted 0: layers of kind Conv2d" in said
    assert "counted 0" not in " ".join(describe_limits(create_limits()))


def test_a_single_core_has_one_floor():
    text = printed(report_limits(create_limits(cores=1)), 120)
    assert "2 cores" not in text
    assert "times its speed on one core" not in text


def test_numbers_have_the_digits_that_count():
    assert [format_short(x) for x in (0.0, 1.234, 12.34, 123.4, 12345.6)] == [
        "0.00",
        "1.23",
        "12.3",
        "123",
        "12,346",
    ]
