"""One training step in every mode. OneFlow is imported here."""
