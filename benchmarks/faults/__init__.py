"""Faults planted on the graph side of a parity check, for `parity_quality.py`.

planting.py    the class and how a module's forward is changed
layers.py      weights, layers, gradients
training.py    loss, optimizer, schedule, data
catalogue.py   all of them, with places, sizes, and the level and tensor to be named
"""
