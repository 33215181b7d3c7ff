"""Faults planted on the graph side of a parity check, for `parity_quality.py`.

own.py            a user's models, loss and optimizer with one kind of fault each
own_kinds.py      kinds in a function, an argument or a gradient
own_state.py      kinds in random draws, traced values, state and hooks
own_training.py   kinds in loss, optimizer and schedule, and after a call of the graph
steps.py          the steps of examples/ with one kind of fault each
doors.py          each kind by `bench check`, `bench compare` and `assert_parity`
named_only.py     `bench` that ends where a difference is named
assert_door.py    `assert_parity`, as a program

planting.py       faults of several sizes, planted in the job of a check's worker
layers.py         weights, layers, gradients
training.py       loss, optimizer, schedule, data
catalogue.py      all of them, with places, sizes, and the level and tensor to be named
"""
