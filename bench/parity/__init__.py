"""Is the graph the same model as the eager one, and if not, at which tensor does it differ first?

result.py           the result of a check, as data, and `check.json`
run.py              the course of a check: `check_model`, and `run_checks` of many models
worker.py           one side of a check, in a process of its own
observe.py          hooks, observed steps, and the levels of a check on one side
tensors.py          requests and observed tensors: digests, wanted values, pairs of both modes
judge.py            the verdict on each level; known differences
difference.py       the distance of two tensors, and is it rounding? perturbed runs
locate.py           the layer at which the modes begin to differ, and the part that shows it
reproduction.py     the standalone script of a part
isolated_layer.py   that layer recorded and run in isolation
measures.py         norms and distances of two tensors
causes.py           why they differ, in words
expressions.py      modules and optimizers as Python expressions, for scripts
baseline.py         stored baselines
gate.py             a check beside its baseline; the exit status
own/                `assert_parity` and `assert_loop_parity`, for tests and loops of a user's own
"""
