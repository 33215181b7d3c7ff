from __future__ import annotations

from limits_records import create_layer, create_layer_profile, create_limits, create_profile

from oneflow_bench.bench.tools.profile.pictures import render_roofline
from oneflow_bench.bench.tools.profile.work import Work


def draw(limits, folder, layers=()):
    folder.mkdir()
    written = render_roofline(create_profile(list(layers)), limits, folder)
    assert [path.name for path in written] == ["roofline.png", "roofline.svg"]
    assert all(path.stat().st_size > 1000 for path in written)
    return written[1].read_text()


def test_roofs_layers_and_steps_are_drawn_and_named(tmp_path):
    text = draw(create_limits(torch=True), tmp_path / "a")
    assert "ceiling, one core: 100 GFLOP/s, 10 GB/s" in text
    assert "ceiling, 2 cores: 150 GFLOP/s, 20 GB/s" in text
    assert "whole step, graph: 15.0 GFLOP/s" in text
    assert "torch compiled" not in text  # it failed
    assert "as profiled" not in text
    assert draw(create_limits(torch=True), tmp_path / "b") == text


def test_profiled_layers_are_drawn(tmp_path):
    layers = [create_layer_profile(0, 0.1, 0.1)]
    assert "layers, as profiled" in draw(create_limits(), tmp_path / "a", layers)


def test_a_model_that_moves_nothing_has_a_picture_too(tmp_path):
    idle = create_layer().model_copy(
        update={"forward": Work(), "input_gradient": Work(), "weight_gradient": Work()}
    )
    assert "<svg" in draw(create_limits([idle]), tmp_path / "a")
