"""Is a OneFlow graph faithful to eager mode, and is it worth it?"""

__version__ = "0.1.0"
