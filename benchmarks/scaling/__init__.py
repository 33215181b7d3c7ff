"""How data-parallel training scales, calculated from one rank's profile and a link.

gradients.py   when each gradient of a profiled step is ready, and the buckets of an all-reduce
link.py        the time of an all-reduce over a link, and a link fitted to measured all-reduces
model.py       the step on N ranks, and the assumptions of the calculation
report.py      the calculation as the blocks of a report
"""
