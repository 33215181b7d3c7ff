"""Shows the changes over the stored runs of a machine."""
