from __future__ import annotations

import pytest
from limits_records import GIGA, create_ceilings, create_layer

from oneflow_bench.bench.tools.profile.work import (
    Roof,
    Work,
    create_roof,
    create_roofs,
    sum_work,
)

ROOF = Roof(threads=1, peak=1e11, bandwidth=1e10)  # ten operations a byte at the ridge


def test_the_longer_of_the_two_counts():
    assert ROOF.time_s(Work(flops=10**11, bytes=10**9)) == 1.0
    assert ROOF.time_s(Work(flops=10**9, bytes=10**10)) == 1.0
    assert ROOF.limit_of(Work(flops=10**11, bytes=10**9)) == "compute"
    assert ROOF.limit_of(Work(flops=10**9, bytes=10**10)) == "memory"
    assert ROOF.limit_of(Work()) == "-"
    assert (ROOF.attainable(1), ROOF.attainable(10), ROOF.attainable(100)) == (1e10, 1e11, 1e11)


def test_a_step_s_floor_is_the_sum_over_layers_and_passes():
    compute = create_layer("a", flops=GIGA, moved=GIGA // 1000)  # 0.01 s a part
    memory = create_layer("b", flops=GIGA // 10, moved=GIGA)  # 0.1 s a part
    assert ROOF.floor_s([compute, memory]) == pytest.approx(0.03 + 0.3)
    assert sum_work([compute, memory]) == Work(flops=33 * GIGA // 10, bytes=3003 * GIGA // 1000)


def test_forward_and_backward_do_not_lend_each_other_time():
    layer = create_layer(flops=0, moved=0).model_copy(
        update={
            "forward": Work(flops=10**11, bytes=0),
            "input_gradient": Work(flops=0, bytes=10**10),
        }
    )
    assert ROOF.floor_s([layer]) == 2.0


def test_the_best_rate_of_any_library_is_the_ceiling():
    assert create_roof(create_ceilings(), 1) == Roof(1, 1e11, 1e10)
    assert [roof.threads for roof in create_roofs(create_ceilings(), 2)] == [1, 2]
    assert create_roofs(create_ceilings(), 2)[1].peak == 1.5e11
    assert len(create_roofs(create_ceilings(), 1)) == 1
    with pytest.raises(ValueError, match="up to 2 threads"):
        create_roof(create_ceilings()[:2], 2)


def test_all_cores_can_do_what_one_can():
    """On a machine that others use, two cores may measure less than one."""
    slow = [c.model_copy(update={"rates": [1.0]}) for c in create_ceilings() if c.threads == 2]
    fast = [c for c in create_ceilings() if c.threads == 1]
    assert create_roof(fast + slow, 2) == create_roof(fast, 1)._replace(threads=2)
