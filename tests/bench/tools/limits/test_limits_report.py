from __future__ import annotations

import io

import pytest
from limits_records import GIGA, create_layer, create_limits
from rich.console import Console

from oneflow_bench.bench.errors import RecordError
from oneflow_bench.bench.tools.limits.document import load_limits
from oneflow_bench.bench.tools.limits.report import (
    describe_limits,
    render_limits,
    save_limits_tables,
)


def printed(document, width=80, top=None):
    stream = io.StringIO()
    render_limits(document, Console(file=stream, width=width), top)
    return stream.getvalue()


def test_the_tables_say_floor_rate_and_share():
    # 3 GFLOP and 30 MB: 0.03 s at 100 GFLOP/s, 0.02 s at 150
    text = printed(create_limits(), 120)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "conv Conv2d 1,000 2,000 0.00 28.6 20.00 compute" in lines
    assert "floor, one core 30.00 100.0" in lines
    assert "floor, 2 cores 20.00 150.0" in lines
    assert "eager 300.00 ±0.00 10.0 - 10.0 % 6.7 %" in lines
    assert "graph 200.00 ±0.00 15.0 1.50 15.0 % 10.0 %" in lines
    assert "eager / graph 1.500 (95 % 1.500 to 1.500)" in lines
    assert "ran at 1.00 times its speed on one core" in text
    assert "PyTorch" not in text and "Losses" not in text


def test_pytorch_stands_beside_with_its_failures_in_words():
    text = printed(create_limits(torch=True, dropout_layers=2), 120)
    assert "eager / torch eager" in text and "3.000 (95 % 3.000 to 3.000)" in text
    assert "Losses of 2 steps" in text
    assert " torch compiled failed" in " ".join(text.split("Losses of")[1].split())
    assert "torch eager 2.000000 1.500000 0 0.5 0.5" in " ".join(text.split())
    assert "torch compiled: it has no compiler" in text
    assert "PyTorch 2.0 computes on 2 threads" in text
    assert "dropout was switched off in 2 layers" in text
    assert text.count("failed") == 2  # its step and its losses


def test_the_table_fits_and_counts_what_it_leaves_out():
    layers = [create_layer(f"features.{n}.conv", flops=GIGA * (1 + n)) for n in range(40)]
    document = create_limits(layers, torch=True)
    for width in (80, 120):
        text = printed(document, width, top=6)
        tables = text.split("A step is")[0]
        assert max(map(len, tables.splitlines())) <= width
        assert "34 other layers" in text
        assert ("Conv2d" in text) == (width == 120)


def test_the_file_has_all_layers(tmp_path):
    layers = [create_layer(f"features.{n}") for n in range(40)]
    save_limits_tables(create_limits(layers), tmp_path / "limits.txt")
    text = (tmp_path / "limits.txt").read_text()
    assert sum(line.lstrip().startswith("features.") for line in text.splitlines()) == 40


def test_what_is_not_counted_is_named():
    said = " ".join(describe_limits(create_limits([create_layer(counted=False)])))
    assert "counted 0: layers of kind Conv2d" in said
    assert "counted 0" not in " ".join(describe_limits(create_limits()))


def test_a_single_core_has_one_floor():
    found = create_limits(cores=1)
    assert "2 cores" not in printed(found, 120)
    assert "times its speed on one core" not in printed(found, 120)


def test_a_document_is_read_back_and_a_damaged_one_refused(tmp_path):
    document = create_limits(torch=True)
    (tmp_path / "limits.json").write_text(document.model_dump_json())
    assert load_limits(tmp_path) == document
    (tmp_path / "limits.json").write_text("{")
    with pytest.raises(RecordError, match="is not JSON"):
        load_limits(tmp_path)
    with pytest.raises(RecordError, match="give the folder of a `bench limits`"):
        load_limits(tmp_path / "nowhere")
