"""Judging speed, as pure functions on times: warm-up, the interval of a ratio, analyses, verdicts.

Nothing here reads a file, a clock or the machine; `bench/speed.py` feeds it from a record, and
the tests feed it from simulated machines whose truth is known.
"""
