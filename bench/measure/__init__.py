"""Takes turns: the training phase and the speed phase."""
