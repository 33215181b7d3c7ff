from __future__ import annotations

import io

import pytest
from limits_records import GIGA, create_layer, create_limits
from rich.console import Console

from oneflow_bench.bench.tools.limits.document import LayerTime
from oneflow_bench.bench.tools.limits.floor import create_roofs, layer_floors
from oneflow_bench.bench.tools.limits.layer_table import (
    create_layer_table,
    format_milliseconds,
    format_short,
    select_floors,
)


def printed(document, width, top=None):
    """Rows of the table as they stand, by their first words."""
    roof = create_roofs(document)[-1]
    floors = layer_floors(document.layers, roof, document.layer_times)
    stream = io.StringIO()
    table = create_layer_table(document, floors, roof, top, wide=width >= 100)
    Console(file=stream, width=width).print(table)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return [" ".join(line.split()) for line in lines]


def test_operations_come_by_pass_with_bytes_floor_and_limit():
    # 3 GFLOP and 30 MB on 150 GFLOP/s and 20 GB/s
    lines = printed(create_limits(), 120)
    assert "conv Conv2d 1,000 2,000 0.00 28.6 20.00 compute" in lines
    assert "all layers 1,000 2,000 0.00 28.6 20.00" in lines


def test_a_narrow_table_has_no_kinds():
    assert "conv 1,000 2,000 0.00 28.6 20.00 compute" in printed(create_limits(), 80)


@pytest.mark.parametrize("width", [80, 120])
def test_the_share_of_the_limit_is_shown_where_a_profile_is(width):
    names = ["features.10.conv", "features.11.conv"]
    times = [LayerTime(name=names[0], forward_s=0.1, backward_s=0.1)]
    layers = [create_layer(name) for name in names]
    lines = printed(create_limits(layers, layer_times=times), width)
    work = "Conv2d 1,000 2,000 0.00" if width == 120 else "3,000"
    assert f"features.10.conv {work} 28.6 20.00 compute 200.00 10.0 %" in lines
    assert f"features.11.conv {work} 28.6 20.00 compute - -" in lines
    assert [line for line in lines if line.startswith("all layers")][0].endswith("200.00 10.0 %")


def test_what_is_left_out_is_summed():
    layers = [create_layer(f"features.{n}.conv", flops=GIGA * (1 + n)) for n in range(40)]
    lines = printed(create_limits(layers), 80, top=6)
    # forward of 1 to 34 GFLOP
    assert [line for line in lines if line.startswith("34 other layers 595,000 1,190,000")]
    floors = layer_floors(layers, create_roofs(create_limits())[-1])
    assert [f.layer.name for f in select_floors(floors, 2)] == [
        "features.38.conv",
        "features.39.conv",
    ]
    assert len(select_floors(floors, None)) == 40


def test_a_layer_that_is_called_twice_says_so():
    layer = create_layer().model_copy(update={"calls": 2})
    assert any(line.startswith("conv (2 calls)") for line in printed(create_limits([layer]), 120))


def test_numbers_have_the_digits_that_count():
    assert [format_short(x) for x in (0.0, 1.234, 12.34, 123.4, 12345.6)] == [
        "0.00",
        "1.23",
        "12.3",
        "123",
        "12,346",
    ]
    assert [format_milliseconds(x) for x in (0.0004321, 0.12345)] == ["0.432", "123.45"]
