"""`assert_parity` with a `TrainingStep` in place of the model."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytestmark = pytest.mark.oneflow


def test_a_step_gives_its_module_losses_batch_and_optimizer():
    import own_steps

    from oneflow_bench.bench.parity.own.step import take_step
    from oneflow_bench.bench.training.nest import apply

    model, loss, (inputs,), create_optimizer = take_step(own_steps.full, None)
    found = loss(apply(model, inputs))
    assert set(found) == {"label", "norm"}
    optimizer, _ = create_optimizer(model)
    assert len(optimizer.param_groups) == 2
    assert take_step(own_steps.tagger, None)[3] is None


def test_what_a_step_has_itself_is_refused():
    import own_steps

    from oneflow_bench import assert_parity

    with pytest.raises(ValueError, match="has its own loss and batches"):
        assert_parity(own_steps.tagger, own_steps.compute_loss)
    with pytest.raises(ValueError, match="no loss; give loss="):
        assert_parity(own_steps.unlearned)
    with pytest.raises(ValueError, match="gave no batch"):
        assert_parity(replace(own_steps.tagger, create_batches=lambda seed: []))
    with pytest.raises(ValueError, match="changes curriculum, which its loss or module"):
        assert_parity(own_steps.rising)
    with pytest.raises(ValueError, match="no loss was given"):
        assert_parity(own_steps.Tagger())


@pytest.mark.slow
def test_the_levels_of_a_step_are_judged():
    import own_steps

    from oneflow_bench import ParityError, assert_parity

    assert assert_parity(own_steps.full)
    with pytest.raises(ParityError, match="norm"):
        assert_parity(own_steps.counting)
