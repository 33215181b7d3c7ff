"""Judging speed, as pure functions on times: warm-up, the interval of a ratio, analyses, verdicts.

Only `conditions.py` reads the machine. `summary.py` feeds the rest from a record, and the tests
feed it from simulated machines whose truth is known.
"""
