"""The ``eisbach`` command, a file a verb."""

__all__ = ["main"]


def main() -> None:
    """Entry point of the command line."""
