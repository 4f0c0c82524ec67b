"""How many bytes of ops to ask another region for at once: what the link between carries in two seconds.

An answer counts only when all of it is here: over a slow link a large one holds up what an acknowledgement tells, is
lost as a whole when the link breaks, and looks like silence. Promises: every answer that was too slow and every silence
make the next one smaller, down to one transaction; answers that are quick and full make it grow again.
May not know: clocks, what is asked.
"""

from typing import Final

from eisbach.cell.pull_messages import ANSWER_BYTES_MAX

__all__ = ["Pace"]

_LEAST: Final = 4 * 1024
"""With less, questions and heads would be most of what crosses the link."""


class Pace:
    """One for each cell over there."""

    AIM_MS: Final = 2_000
    FIRST: Final = 64 * 1024
    """Of a link that nothing is known of, or that has long carried little."""

    def __init__(self) -> None:
        self.bytes_max = self.FIRST

    def answered(self, size: int, took_ms: int) -> None:
        """An answer with ``size`` bytes of ops is here, ``took_ms`` after the question, but for what it was held."""
        used = 2 * size >= self.bytes_max
        if took_ms > self.AIM_MS:
            self._set(size * self.AIM_MS // took_ms if used else self.bytes_max // 2)
        elif not used:
            # It was quick with little; what it once was with much is no word on today.
            self._set(min(self.bytes_max, max(self.FIRST, self.bytes_max // 2)))
        elif 2 * took_ms <= self.AIM_MS:
            self._set(2 * self.bytes_max)

    def failed(self, took_ms: int) -> None:
        """No answer, ``took_ms`` after the question, but for what it may have been held."""
        if took_ms > self.AIM_MS:  # a refusal is quick and says nothing of the link
            self._set(min(self.bytes_max // 2, self.FIRST))

    def _set(self, bytes_max: int) -> None:
        self.bytes_max = min(max(bytes_max, _LEAST), ANSWER_BYTES_MAX)
