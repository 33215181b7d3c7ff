"""Finds the causes that slow OneFlow down on this machine, their costs and their remedies.

diagnosis       the data: measurements, checks, the diagnosis and its report
machine         reads the machine, from a folder that stands for /
worker          measures inside the interpreter examined; needs nothing of this package
probe           starts a worker, asks it, survives its end
variants        the settings worth a turn, and their gain
machine_checks, import_checks, runtime_checks   measurements in, checks out; pure
run             one diagnosis: turns between the environment examined and its variants, checks
"""
