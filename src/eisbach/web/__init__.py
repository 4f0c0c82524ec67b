"""The built pages: viewer app, demo and console. Sources are in ``web/`` at the root; ``make web`` builds them.

Promises: static files only; nothing is generated while serving.
"""

from pathlib import Path

from eisbach.kernel.errors import Unavailable

__all__ = ["static_folder"]


def static_folder() -> Path:
    """The folder of built files, with ``index.html`` of the viewer, ``demo/`` and ``console/``.

    Raises:
        Unavailable: nothing was built; the message says how to.
    """
    folder = Path(__file__).parent / "static"
    if not folder.is_dir():
        raise Unavailable(f"the pages are not built: no folder {folder}; run make web in a clone")
    return folder
