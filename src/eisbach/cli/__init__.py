"""The ``eisbach`` command, a file a verb.

Promises: every command has ``--json`` and an example in ``--help``, ends with what to do next, and exits with 0 (done),
1 (not well), 2 (wrong input, or refused), 3 (no platform answers; try again) or 4 (corrupt).
May not know: how anything is done; commands ask the supervisor, or the parts below ``bootstrap``, and show the answer.
"""

import signal

__all__ = ["main"]


def main() -> None:
    """Entry point of the command line."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # else somebody set it up: nohup, a shell's background
        # While libraries are brought in nothing runs that would have to be stopped, and a traceback would help nobody.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from eisbach.cli.app import application

    app = application()
    signal.signal(signal.SIGINT, handler)
    app()
