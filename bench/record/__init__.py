"""The record of a run: what was planned, what was measured, and checkpoints."""
