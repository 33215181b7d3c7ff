"""Times each layer of a train step."""
