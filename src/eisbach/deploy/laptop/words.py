"""What other programs say, fit for a sentence that people read: an error's own words, and never half a JSON answer.

Pure; whatever it is given, it answers with text of the length asked for at most.
"""

import json
from typing import Any, Final

__all__ = ["bounded", "own_words"]

_DECODER: Final = json.JSONDecoder()
_NAMES: Final = ("detail", "title", "error", "message", "event", "status")
"""Of a problem (RFC 9457), of an AWS error, of a line of a log: the first that is there."""
_CUT: Final = " …"


def own_words(text: str) -> str:
    """``text`` with each JSON object in it replaced by what that says of itself; one that is cut ends the text."""
    found, at = "", 0
    while (begin := _object_from(text, at)) >= 0:
        found += text[at:begin]
        try:
            value, at = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError):
            return f"{found.rstrip(' :')}{_CUT}"
        found += _told(value)
    return (found + text[at:]).strip()


def bounded(text: str, most: int) -> str:
    """Its own words, on one line and at most ``most`` characters, cut between words."""
    whole = " ".join(own_words(text).split())
    if len(whole) <= most:
        return whole
    room = most - len(_CUT)
    cut = whole[: room + 1].rpartition(" ")[0] or whole[:room]
    return f"{cut.rstrip(' ,;:(')}{_CUT}"


def _object_from(text: str, at: int) -> int:
    """Where the next JSON object begins, -1: nowhere; a brace in prose is none."""
    while (begin := text.find("{", at)) >= 0:
        if text[begin + 1 :].lstrip().startswith(('"', "}")):
            return begin
        at = begin + 1
    return -1


def _told(value: dict[str, Any]) -> str:
    words = next((value[name] for name in _NAMES if isinstance(value.get(name), str) and value[name]), "")
    missing = value.get("missing")  # what a cell that is not ready answers
    if not words and isinstance(missing, list):
        words = "; ".join(one for one in missing if isinstance(one, str))
    return words or "an answer without words"
