"""Claims each statement of the loops for a part of the training, or refuses the script."""
