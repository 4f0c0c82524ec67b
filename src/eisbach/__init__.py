"""Eisbach: a streaming backend that keeps playing, and that you can break to see it.

What it is for, its promises and its words stand in ``ARCHITECTURE.md``; ``ls src/eisbach`` is the architecture.
This module only names the version: nothing happens at import.
"""

__all__ = ["__version__"]
__version__ = "0.1.0"
