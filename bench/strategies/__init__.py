"""How several ranks share the work of a training job; runs inside the workers."""
