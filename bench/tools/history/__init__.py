"""Says what changed over the stored runs of a machine."""
