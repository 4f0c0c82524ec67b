"""The pictures of the page, as HTML and SVG: stacked designs, tornado, break-even. No script; text stays text."""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from eisbach.plan.cost.breakeven import BreakEven
from eisbach.plan.cost.ranges import Answer, Swing
from eisbach.plan.cost.terminal import usd
from eisbach.plan.page import escape

__all__ = ["curve", "stacks", "tornado"]

_COLOURS: Final = {
    "egress": "--c1", "compute": "--c2", "front door": "--c3", "data": "--c4", "events": "--c5", "media": "--c8",
    "logs": "--c7", "network": "--c6",
}  # fmt: skip
_WIDE, _HIGH = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 70, 24, 44
_FLOOR, _CEILING = 0.0, 6.0
"""Powers of ten of USD that the break-even picture can show."""


def stacks(answers: Sequence[Answer], groups: Sequence[str], ranges: Sequence[tuple[Decimal, Decimal]]) -> str:
    """A bar a design, stacked by group, all to one scale, with its likely range as a whisker."""
    most = max([Decimal(1), *(high for _, high in ranges)])
    rows = []
    for a, (low, high) in zip(answers, ranges, strict=True):
        amounts = [(name, a.bill.group(name)) for name in groups]
        total = sum((amount for _, amount in amounts), Decimal(0))
        parts = "".join(
            f'<i style="width:{amount / total * 100 if total else 0:.2f}%;background:var({_COLOURS[name]})"'
            f' title="{escape(name)}: {escape(usd(amount))}"></i>'
            for name, amount in amounts
            if amount > 0
        )
        rows.append(
            f'<div class="row"><div class="name" title="{escape(", ".join(a.design.regions))}">{escape(a.design.name)}'
            f"<small>{escape(usd(total))}, likely {escape(usd(low))} to {escape(usd(high))}</small></div>"
            f'<div class="track"><div class="stack" style="width:{total / most * 100:.2f}%" role="img"'
            f' aria-label="{escape(", ".join(f"{n} {usd(x)}" for n, x in amounts))}">{parts}</div>'
            f'<div class="whisker" style="left:{low / most * 100:.2f}%;width:{(high - low) / most * 100:.2f}%"></div>'
            "</div></div>"
        )
    key = "".join(f'<li><i style="background:var({_COLOURS[name]})"></i>{escape(name)}</li>' for name in groups)
    return f'<div class="card"><div class="bars">{"".join(rows)}</div></div><ul class="key">{key}</ul>'


def tornado(swings: Sequence[Swing]) -> str:
    """The widest swings, each a bar to both sides of the typical total."""
    most = max([Decimal(1), *(max(s.down, s.up) for s in swings)])
    rows = []
    for s in swings:
        down, up = (float(x / most) * 46 for x in (s.down, s.up))
        rows.append(
            f'<div class="row"><div class="name">{escape(s.name)}<small>{escape(f"{s.low:,f}")} to '
            f"{escape(f'{s.high:,f}')} {escape(s.unit)}</small></div>"
            f'<div class="swing"><div class="down">{"-" + escape(usd(s.down)) if s.down else ""}'
            f'<i style="width:{down:.2f}%"></i></div><div class="up"><i style="width:{up:.2f}%"></i>'
            f"{'+' + escape(usd(s.up)) if s.up else ''}</div></div></div>"
        )
    return f'<div class="card"><div class="tornado">{"".join(rows)}</div></div>'


def curve(edge: BreakEven) -> str:
    """Both costs over the load, on two logarithmic axes, with the crossing and the workload's place."""
    first, last = (math.log10(float(edge.points[index][0])) for index in (0, -1))

    def x(rate: Decimal) -> float:
        at = (math.log10(max(float(rate), 10**first)) - first) / (last - first)
        return _LEFT + min(1.0, at) * (_WIDE - _LEFT - _RIGHT)

    def y(amount: Decimal) -> float:
        at = (math.log10(max(float(amount), 10**_FLOOR)) - _FLOOR) / (_CEILING - _FLOOR)
        return _HIGH - _BOTTOM - min(1.0, max(0.0, at)) * (_HIGH - _TOP - _BOTTOM)

    def line(which: int) -> str:
        return "M" + "L".join(f"{x(p[0]):.1f},{y(p[which]):.1f}" for p in edge.points)

    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{_LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">${v:,.0f}</text>'
        for v in (Decimal(10) ** power for power in range(int(_FLOOR), int(_CEILING) + 1))
    ) + "".join(
        f'<text x="{x(v):.1f}" y="{_HIGH - 24}" text-anchor="middle">{v:,g}</text>'
        for v in (Decimal(10) ** power for power in range(round(first), round(last) + 1))
    )
    marks = _mark(x(edge.here), f"this workload: {edge.here:,.0f}/s", _TOP + 12)
    if edge.cheaper_from is not None:
        marks += _mark(x(edge.cheaper_from), f"equal at {edge.cheaper_from:,.0f}/s", _TOP + 32)
    ends = edge.points[-1]
    return (
        f'<div class="card scroll" tabindex="0" role="region" aria-label="break-even">'
        f'<svg class="curve" viewBox="0 0 {_WIDE} {_HIGH}" role="img"'
        ' aria-label="Cost a month of Lambda and of Fargate by average calls a second">'
        f'{grid}<text x="{(_LEFT + _WIDE) / 2}" y="{_HIGH - 6}" text-anchor="middle">calls a second, average</text>'
        f'<path d="{line(1)}" style="stroke:var(--c3)"/><path d="{line(2)}" style="stroke:var(--c2)"/>{marks}'
        f'<text class="strong" x="{_WIDE - _RIGHT + 8}" y="{y(ends[1]) + 4:.1f}">Lambda</text>'
        f'<text class="strong" x="{_WIDE - _RIGHT + 8}" y="{y(ends[2]) + 4:.1f}">Fargate</text>'
        "</svg></div>"
    )


def _mark(at: float, words: str, height: int) -> str:
    left = at < _WIDE * 0.7
    return (
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HIGH - _BOTTOM}" style="stroke:var(--text)"'
        ' stroke-dasharray="4 4"/>'
        f'<text class="strong" x="{at + (6 if left else -6):.1f}" y="{height}"'
        f' text-anchor="{"start" if left else "end"}">{escape(words)}</text>'
    )
