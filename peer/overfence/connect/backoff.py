"""How long to wait before the next try: doubling, with jitter, so that a crowd does not come back at once. Pure."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Waits of ``first_s`` doubling to ``last_s``, each shortened by up to half by ``jitter()`` in [0, 1)."""

    def __init__(self, *, first_s: float, last_s: float, jitter: Callable[[], float]) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._jitter = jitter
        self._tries = 0

    def next_s(self) -> float:
        """Seconds to wait after one more failure."""
        # The exponent is bounded so that a week of failures cannot overflow a float.
        whole = min(self._last_s, self._first_s * 2.0 ** min(self._tries, 30))
        self._tries += 1
        return whole * (1 - self._jitter() / 2)

    def succeeded(self) -> None:
        """Begin anew with ``first_s``."""
        self._tries = 0
