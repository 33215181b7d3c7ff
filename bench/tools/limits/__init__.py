"""How far a train step is from what the machine could do, and how PyTorch does beside it."""
