from __future__ import annotations

import pytest
from scaling.gradients import BucketRule
from scaling.model import measure_exposed, predict
from scaling_records import create_setting, create_step

from oneflow_bench.bench.errors import InputError


def only(step, setting, ranks):
    (prediction,) = predict(step, setting, [ranks])
    return prediction


def test_what_is_ready_at_the_end_is_wholly_exposed():
    # 2 ranks, 100 bytes at 1000 bytes/s: 0.1 s, after 2 messages of 0.05 s
    found = only(create_step([(100, 0.8)]), create_setting(latency_s=0.05), 2)
    assert found.all_reduce_s == pytest.approx(0.2)
    assert found.sent_bytes == pytest.approx(100)
    for timing in (found.weak.overlap, found.weak.no_overlap):
        assert timing.step_time_s == pytest.approx(1.2)
        assert timing.exposed_s == pytest.approx(0.2)
        assert timing.speedup == pytest.approx(2 / 1.2)
        assert timing.efficiency == pytest.approx(1 / 1.2)


def test_a_huge_last_layer_is_wholly_hidden():
    found = only(create_step([(300, 0.45), (0, 0.8)]), create_setting(), 2)
    assert found.weak.overlap.exposed_s == pytest.approx(0.0)
    assert found.weak.overlap.efficiency == pytest.approx(1.0)
    assert found.weak.no_overlap.step_time_s == pytest.approx(1.3)


def test_an_all_reduce_waits_for_the_link():
    # 0.5-0.7 and, ready at 0.6, 0.7-1.0; then, ready at 0.8, 1.0-1.05
    step = create_step([(200, 0.5), (300, 0.6), (50, 0.8)])
    assert only(step, create_setting(), 2).weak.overlap.exposed_s == pytest.approx(0.25)
    # one bucket starts at 0.8
    one = create_setting(rule=BucketRule(size_bytes=550))
    assert only(step, one, 2).weak.overlap.exposed_s == pytest.approx(0.55)


def test_one_rank_has_no_communication():
    found = only(create_step([(100, 0.7), (100, 0.8 + 1e-12)]), create_setting(latency_s=1.0), 1)
    assert found.all_reduce_s == found.sent_bytes == 0.0
    assert found.strong is not None
    for scaling in (found.weak, found.strong):
        for timing in (scaling.overlap, scaling.no_overlap):
            assert (timing.exposed_s, timing.speedup, timing.efficiency) == (0.0, 1.0, 1.0)


def test_ring_and_tree_differ_in_latency_alone():
    step = create_step([(100, 0.8)])
    for ranks in (2, 8, 64):
        ring, tree = (
            only(step, create_setting(algorithm=name), ranks) for name in ("ring", "tree")
        )
        assert ring == tree
    ring, tree = (
        only(step, create_setting(latency_s=0.01, algorithm=name), 8) for name in ("ring", "tree")
    )
    assert ring.all_reduce_s - tree.all_reduce_s == pytest.approx((14 - 6) * 0.01)


def test_strong_scaling_divides_the_cost_of_images_and_not_the_floor():
    setting = create_setting(floor_s=0.2, global_batch_size=16)
    found = only(create_step([(100, 0.8)]), setting, 2)
    # 0.1 s an image: 16 images on one rank 1.8 s, 8 on each of two 1 s and 0.1 s exposed
    assert found.strong.overlap.step_time_s == pytest.approx(1.1)
    assert found.strong.overlap.speedup == pytest.approx(1.8 / 1.1)
    assert found.strong.overlap.efficiency == pytest.approx(0.9 / 1.1)


def test_a_shorter_backward_pass_hides_less():
    # 4 ranks with 2 of 8 images: ready at 0.1, ends at 0.2; the all-reduce takes 0.3 s
    found = only(create_step([(200, 0.4)]), create_setting(), 4)
    assert found.weak.overlap.exposed_s == pytest.approx(0.0)
    assert found.strong.overlap.exposed_s == pytest.approx(0.2)
    assert found.strong.overlap.step_time_s == pytest.approx(0.45)


def test_ranks_that_do_not_divide_the_images_have_no_strong_scaling():
    found = predict(create_step([(100, 0.8)]), create_setting(), [8, 3, 16])
    assert [one.strong is None for one in found] == [False, True, True]


def test_more_bandwidth_is_never_slower_and_no_overlap_is_never_faster():
    step = create_step([(400, 0.5), (100, 0.6), (700, 0.8)])
    before = float("inf")
    for bandwidth in (10.0, 100.0, 1000.0, 1e4, 1e6):
        weak = only(step, create_setting(bandwidth=bandwidth), 8).weak
        assert weak.overlap.step_time_s < before
        assert weak.overlap.step_time_s <= weak.no_overlap.step_time_s
        before = weak.overlap.step_time_s


@pytest.mark.parametrize("floor_s", [-0.1, 1.0, float("nan")])
def test_a_floor_that_the_step_does_not_have_is_refused(floor_s):
    with pytest.raises(InputError, match="is not between 0 and the profile's step of 1 s"):
        predict(create_step([(100, 0.8)]), create_setting(floor_s=floor_s), [2])


def test_nothing_to_reduce_exposes_nothing():
    assert measure_exposed([], [], 0.8) == 0.0
