"""Training in several processes: ranks, how they share the work, and several machines.

Importing this package registers its strategies as modes and its part of a report. No room below
knows of it.
"""

from .plugin import register_extension, register_strategies

register_strategies()
register_extension()
