"""Classifies pictures in either mode."""
