"""The shell of the reports: one self-contained HTML file, light and dark, on a phone, printed, without a network.

``assess`` and ``cost`` bring sections, styles, a script and data; the shell brings tokens, head, header and footer.
Promises: nothing is fetched (the content security policy forbids it), only the scripts given here run (by their hash),
and no text of an input can become markup: data are JSON that cannot close its element, words go through ``escape``.
"""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["Figure", "Page", "escape", "figures", "section"]

_HERE: Final = Path(__file__).parent


def escape(text: object) -> str:
    """Text as HTML, safe in an element and in a quoted attribute."""
    return html.escape(str(text), quote=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One of the few numbers at the top: what a board reads first."""

    value: str
    label: str
    tone: str = ""
    """``good``, ``warn``, ``bad`` or nothing."""


def figures(items: Sequence[Figure]) -> str:
    """The row of figures, as HTML."""
    cells = (
        f'<div class="figure {escape(item.tone)}"><dd>{escape(item.value)}</dd><dt>{escape(item.label)}</dt></div>'
        for item in items
    )
    return f'<dl class="figures">{"".join(cells)}</dl>'


def section(name: str, title: str, body: str, *, lead: str = "") -> str:
    """A section with an anchor; ``body`` is HTML, the rest is text."""
    intro = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return f'<section id="{escape(name)}"><h2>{escape(title)}</h2>{intro}{body}</section>'


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report. ``body`` is HTML; all other texts are text. Scripts run after the body is there, in order."""

    title: str
    lead: str
    """One sentence: what the reader should take home."""
    body: str
    made: str
    """Who made it from what; no clock is read here, so that equal inputs give equal bytes."""
    links: Sequence[tuple[str, str]] = ()
    """(anchor, word) of the sections, for the line under the title."""
    style: str = ""
    scripts: Sequence[str] = ()
    data: dict[str, Any] = field(default_factory=dict)
    """Name -> JSON value; a script reads it by ``JSON.parse(document.getElementById(name).textContent)``."""

    def html(self) -> str:
        """The whole file."""
        scripts = [(_HERE / "page.js").read_text(encoding="utf-8"), *self.scripts]
        hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
        policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes or chr(39) * 2}"
        links = "".join(f'<a href="#{escape(anchor)}">{escape(word)}</a>' for anchor, word in self.links)
        data = "".join(
            f'<script type="application/json" id="{escape(name)}">{_inert(value)}</script>'
            for name, value in self.data.items()
        )
        style = (_HERE / "page.css").read_text(encoding="utf-8") + self.style
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
            f'<meta name="color-scheme" content="light dark"><title>{escape(self.title)}</title>'
            f"<style>{style}</style></head><body>"
            '<a class="skip" href="#main">Skip to the report</a>'
            '<header class="top"><div class="row"><span class="mark">eisbach</span>'
            f'<nav aria-label="Sections">{links}</nav>'
            '<button type="button" id="theme" aria-label="Change between light and dark">◐</button></div>'
            f"<h1>{escape(self.title)}</h1><p>{escape(self.lead)}</p></header>"
            f'<main id="main">{self.body}</main><footer>{escape(self.made)}</footer>{data}'
            + "".join(f"<script>{script}</script>" for script in scripts)
            + "</body></html>\n"
        )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _inert(value: object) -> str:
    """JSON that contains neither ``<`` nor ``&``: nothing in it can end the element or open another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
