"""The pictures of a rehearsal, as SVG without scripts: load and base, share of the spill, refused calls, cost.

Promises: equal outcomes give equal bytes; a curve of any length is drawn from at most ``_POINTS`` buckets of which the
highest value is shown, so that no spike and no refusal is averaged away.
"""

from collections.abc import Sequence
from typing import Final

from eisbach.control.burst import BurstPolicy
from eisbach.deploy.burst.rehearsal import Outcome
from eisbach.plan.page import escape

__all__ = ["costs", "timeline"]

_POINTS: Final = 360
_WIDE, _LEFT, _RIGHT = 760, 74, 12
_PANELS: Final = (("calls a second", 190), ("share of the spill", 90), ("refused a second", 90))
_GAP, _TOP, _BOTTOM = 34, 22, 30
_Series = tuple[Sequence[float], str, bool]
"""Values, colour, whether they are steps."""


def timeline(outcome: Outcome, policy: BurstPolicy, label: str) -> str:
    """Three panels over one time axis: what came and what the base can take, where it went, what was refused."""
    points = outcome.points
    step = max(1, -(-len(points) // _POINTS))
    buckets = [points[i : i + step] for i in range(0, len(points), step)]
    times = [bucket[0][0] for bucket in buckets]
    rate, ready, share, refused = ([max(p[k] for p in bucket) for bucket in buckets] for k in (1, 2, 3, 4))
    base = [units * policy.unit_rate for units in ready]
    ends = _Axis(times[0], times[-1])
    parts: list[str] = []
    tops = (max(1.0, *rate, *base), 1.0, max(1.0, *refused))
    series: tuple[tuple[_Series, ...], ...] = (
        ((base, "--c2", True), (rate, "--c1", False)),
        ((share, "--c3", True),),
        ((refused, "--bad", True),),
    )
    top = _TOP
    for (title, high), most, curves in zip(_PANELS, tops, series, strict=True):
        parts.append(_panel(title, top, high, most))
        parts += [_curve(ends, times, one, (top, high, most)) for one in curves]
        top += high + _GAP
    height = top - _GAP + _BOTTOM
    ticks = "".join(
        f'<text x="{ends.x(t):.1f}" y="{height - 8}" text-anchor="middle">{_clock(t)}</text>' for t in ends.ticks()
    )
    return (
        f'<div class="card scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
        f'<svg class="burst" viewBox="0 0 {_WIDE} {height}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}{ticks}</svg></div>"
    )


class _Axis:
    """Seconds to x."""

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, max(last, first + 1)

    def x(self, second: float) -> float:
        return _LEFT + (second - self._first) / (self._last - self._first) * (_WIDE - _LEFT - _RIGHT)

    def ticks(self) -> list[int]:
        span = self._last - self._first
        step = next((s for s in (60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 86_400) if span / s <= 9), 7 * 86_400)
        return [t for t in range(0, self._last + 1, step) if t >= self._first - 10]


def _clock(second: int) -> str:
    return f"{second // 3600}:{second % 3600 // 60:02d}"


def _panel(title: str, top: int, high: int, most: float) -> str:
    lines = ""
    for part in (0.0, 0.5, 1.0):
        y = top + high * (1 - part)
        shown = f"{most * part:.0%}" if most == 1.0 and "share" in title else f"{most * part:,.0f}"
        lines += (
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>'
        )
    return f'{lines}<text class="strong" x="{_LEFT}" y="{top - 7}">{escape(title)}</text>'


def _curve(axis: _Axis, times: Sequence[int], series: _Series, box: tuple[int, int, float]) -> str:
    """Steps where a value holds until the next reading, a line where it is measured."""
    (top, high, most), (values, colour, steps) = box, series
    spots = [(axis.x(t), top + high * (1 - min(1.0, v / most))) for t, v in zip(times, values, strict=True)]
    path = f"M{spots[0][0]:.1f},{spots[0][1]:.1f}"
    for x, y in spots[1:]:
        path += f"H{x:.1f}V{y:.1f}" if steps else f"L{x:.1f},{y:.1f}"
    floor = top + high
    area = f"{path}V{floor}H{spots[0][0]:.1f}Z" if steps else ""
    fill = f'<path class="area" d="{area}" style="fill:var({colour})"/>' if steps else ""
    return f'{fill}<path class="line" d="{path}" style="stroke:var({colour})"/>'


def costs(outcomes: Sequence[Outcome]) -> str:
    """A bar a way, base and spill stacked, to one scale; refused calls beside it."""
    most = max([1e-9, *(o.dollars for o in outcomes)])
    rows = ""
    for o in outcomes:
        parts = "".join(
            f'<i style="width:{amount / most * 100:.2f}%;background:var({colour})"></i>'
            for amount, colour in ((o.base_dollars, "--c2"), (o.spill_dollars, "--c3"))
            if amount > 0
        )
        tone = "bad-text" if o.refused >= 0.5 else "good-text"
        rows += (
            f'<div class="row"><div class="name">{escape(o.strategy)}<small>${o.dollars:,.2f} · '
            f'<span class="{tone}">{o.refused:,.0f} refused</span></small></div>'
            f'<div class="track" role="img" aria-label="{escape(o.strategy)}: base ${o.base_dollars:,.2f}, spill '
            f'${o.spill_dollars:,.2f}"><div class="stack">{parts}</div></div></div>'
        )
    return f'<div class="card"><div class="bars">{rows}</div></div>'
