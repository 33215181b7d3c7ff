"""What slows OneFlow down on this machine: readings, measurements, and what follows from them.

readings        what was read and measured, as data
machine_probes  the machine's own readings, from a folder that stands for /
worker          measures inside the interpreter examined; needs nothing of this package
measuring       starts workers, takes turns between them, survives their end
thresholds      every number that turns evidence into a status, and where it comes from
machine_checks  readings of the machine -> checks; pure
runtime_checks  measurements of OneFlow -> checks; pure
import_failure  why OneFlow cannot be imported, and what to do
result          checks and the whole diagnosis, as data
run             all of it together
report          the diagnosis for the terminal
"""
