"""Sweeps: eager against graph over models, batch sizes and other fields, a cell at a time."""
