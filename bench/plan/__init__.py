"""Checks a configuration and turns it into a plan: contenders, recipe, what can be refused."""
