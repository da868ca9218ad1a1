"""What happened, as a hash that two runs can be compared by, and as lines for whoever must understand a failure."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

_head = Struct("<dBBI")


class Trace:
    """Every event of a run, in order. Lines are kept only where wanted: a million of them are slow."""

    def __init__(self, *, keeps_lines: bool = False) -> None:
        self._hash = blake2b(digest_size=16)
        self.keeps_lines = keeps_lines
        self.lines: list[str] = []

    @property
    def digest(self) -> str:
        """Equal for equal runs."""
        return self._hash.hexdigest()

    def note(self, at: float, who: int, code: int, data: bytes) -> None:
        """Something with bytes: a packet that left or arrived, a message that came."""
        self._hash.update(_head.pack(at, who, code, len(data)))
        self._hash.update(data)

    def tell(self, at: float, who: int, words: str) -> None:
        """Something rare, in words; it counts as well."""
        self.note(at, who, 255, words.encode())
        self.line(at, who, words)

    def line(self, at: float, who: int, words: str) -> None:
        """Only for the reader."""
        if self.keeps_lines:
            self.lines.append(f"{at:10.5f} {'ab'[who]} {words}")
