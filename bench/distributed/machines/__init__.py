"""Ranks on several machines, over a link of our own."""
