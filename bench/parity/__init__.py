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
baseline.py         stored baselines
gate.py             a check beside its baseline; the exit status
assertion.py        `assert_parity`, for your own tests
assertion_worker.py its runs, in a process of their own
loop.py             `assert_loop_parity`, for your own loop and graph
"""
