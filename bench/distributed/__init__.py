"""Training in several processes: ranks, how they share the work, and several machines.

Importing this package registers its strategies as modes; no room below knows of it.
"""

from .plugin import register_strategies

register_strategies()
