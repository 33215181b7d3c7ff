"""Every number that turns evidence into a status, and where it comes from.

Two rules keep findings from being invented. What costs time is judged by the time it costs: a
variant without the fault takes turns with the environment examined, and must win every round, by
more than `MATERIAL_FACTOR` and by more than twice what a control of the same environment differs.
What cannot be timed here is flagged only where the kernel says that it happened.
"""

# of step times: five times the spread of equal processes, 1.8 % in results/example, and the
# smallest gain that pays for changing an environment
MATERIAL_FACTOR = 1.10
CONTROL_MULTIPLE = 2.0
LEAST_ROUNDS = 5  # winning all of five by chance alone: 1 in 32, without the factor

# OneFlow's BLAS on AVX2 against NumPy's on AVX-512 with twice the width gives 0.5 at least; a
# kernel without AVX2 gives 0.35 at most against one with it (both by peak operations a cycle)
MATMUL_SHARE = 0.4

# a thread took part in a reduction if it worked a quarter of what the busiest did: the shares of
# one reduction are equal, and the rest is start and end
TAKING_PART = 0.25

# of a step's time in page faults: where the allocator keeps its memory it is below 1 %
FAULT_SHARE = 0.05

# clocks: boost of one core against all cores is within a third on the processors sold
FREQUENCY_SHARE = 0.6

# governors that hold the clock down by themselves; intel_pstate and amd-pstate in active mode call
# their dynamic governor powersave (kernel documentation, admin-guide/pm)
SLOW_GOVERNORS = ("powersave", "conservative")
DYNAMIC_DRIVERS = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")

# memory left below the limit, in sizes of the doctor's own worker
HEADROOM_WORKERS = 2.0

# the wheels that exist: PyPI, oneflow 0.8.0 and 0.9.0
ONEFLOW_PYTHONS = ((3, 7), (3, 10))
NUMPY_MAJORS = (1,)
CUDNN_MAJORS = (8,)
CUBLAS_MAJORS = (11,)
