"""Why an address could not be reached, in words for people: not the name of a class, nor a library's ``[None]``.

Pure.
"""

import os

__all__ = ["unreached"]


def unreached(error: object) -> str:
    """E.g. ``connection refused``, ``no answer in time``, what the library says otherwise."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno and error.errno > 0:  # below are the numbers of the resolver
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
