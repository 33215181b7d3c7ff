"""Adopts a training script: reads it, and writes its training as a `TrainingStep` and a graph.

The script is read as a syntax tree and is never run here. The files in the order of their work:

script, straight    the tree, and the straight line of statements that `calls` leads through it
cleaning            leaves out devices, worker processes and progress bars
training            finds module, batch, loss and optimizer; `slices` says which lines make them
claims              carries each statement of the loops over, notes it as left out, or refuses it
adjustments         rewrites schedules, clipping and parameters as a graph takes them
placing, writing    the place of each line in a written file, and its text
run                 all of this
"""
