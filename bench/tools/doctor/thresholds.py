"""Every number that turns evidence into a status, and where it comes from.

Two rules keep findings from being invented. What costs time is judged by the time it costs: a
variant without the fault takes turns with the environment examined, and must win every round, by
more than `MATERIAL_FACTOR` and by more than twice what a control of the same environment differs.
What cannot be timed here is flagged only where the kernel says that it happened, and often.
"""

# of step times: five times the spread of equal processes, 1.8 % in results/example, and the
# smallest gain that pays for changing an environment
MATERIAL_FACTOR = 1.10
CONTROL_MULTIPLE = 2.0
LEAST_ROUNDS = 5  # winning all of five by chance alone: 1 in 32, without the factor

# AVX2 against NumPy's AVX-512 is 0.5 at least, by the width; on a processor with both (Zen 4),
# OneFlow's kernels without AVX2 were seen at 0.1 (Prescott) and 0.4 (Barcelona)
MATMUL_SHARE = 0.45

# a thread took part in a reduction if it worked a quarter of what the busiest did: the shares of
# one reduction are equal; and some of the time at all, which on many cores is little for each
TAKING_PART = 0.25
LEAST_WORK = 0.02

# of a step's time in page faults: where the allocator keeps its memory it is below 1 %
FAULT_SHARE = 0.05

# of the highest clock, with a core busy: without boost many processors run at 0.6 to 0.8 of it, and
# that is no fault
FREQUENCY_SHARE = 0.5

# governors that hold the clock down by themselves; intel_pstate and amd-pstate in active mode call
# their dynamic governor powersave (kernel documentation, admin-guide/pm)
SLOW_GOVERNORS = ("powersave", "conservative")
DYNAMIC_DRIVERS = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")

# a page from a fast disk takes about 0.1 ms, so that these are 1 % of the time
SWAPPED_PAGES_PER_S = 100.0

# memory left below the limit, in sizes of the doctor's own worker
HEADROOM_WORKERS = 2.0

# the wheels that exist: PyPI, oneflow 0.8.0 and 0.9.0
ONEFLOW_PYTHONS = ((3, 7), (3, 10))
NUMPY_MAJORS = (1,)
CUDNN_MAJORS = (8,)
CUBLAS_MAJORS = (11,)
