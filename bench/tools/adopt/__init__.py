"""Adopts a training script: reads it, and writes its training as a `TrainingStep` and a graph.

The script is read as a syntax tree and is never run here.
"""
