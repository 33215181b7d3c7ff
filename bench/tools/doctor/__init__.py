"""Finds the causes that slow OneFlow down on this machine, their costs and their remedies.

diagnosis     the data: measurements, checks, the diagnosis and its report
worker        measures inside the interpreter examined; needs nothing of this package
run           one diagnosis: starts workers, asks them in turns, judges
machine, installation, runtime_checks   the checks: a small pure function each
"""
