"""Messages and news as lines of a conversation. Pure: everything from others goes through `shown` here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import Protocol

from .screen import Part, Tone
from .shown import shown

SENT, DELIVERED = "✓", "✓✓"


class Spoken(Protocol):
    """What is looked at here of a `Message`."""

    @property
    def mine(self) -> bool:
        """Whether I said it."""

    @property
    def kind(self) -> str:
        """``text``, an embedder's ``app/…``, or something newer."""

    @property
    def text(self) -> str | None:
        """The words, if it is text."""

    @property
    def data(self) -> bytes | None:
        """The bytes, if an embedder's program said it."""

    @property
    def at(self) -> datetime:
        """When its author's clock says it was said."""

    @property
    def state(self) -> str:
        """``sent``, ``delivered`` or ``received``."""


def clock(at: datetime, today: date) -> str:
    """The time of day as it stands before a message, and the day if that isn't ``today``."""
    return f"{at:%H:%M}" if at.date() == today else f"{at.day} {at:%b %Y %H:%M}"


def day(at: datetime) -> str:
    """A day, where the day changes in a history."""
    return f"── {at:%A} {at.day} {at:%B %Y} ──"


def message(spoken: Spoken, who: str, today: date, tick: str = "") -> list[Part]:
    """``12:34 Bob: words``, with a tick behind one's own. ``who`` is a label, safe already."""
    parts: list[Part] = [f"{clock(spoken.at, today)} ", (Tone.STRONG, f"{who}:"), f" {words(spoken)}"]
    if spoken.mine:
        parts.append((Tone.FAINT, f" {tick or ticks(spoken.state)}"))
    return parts


def words(spoken: Spoken) -> str:
    """What was said, or what stands for it when it is no text."""
    if spoken.text is not None:
        return shown(spoken.text)
    if spoken.kind.startswith("app/"):
        return f"[{shown(spoken.kind)}, {len(spoken.data or b''):,} bytes: for another program]"
    return f"[{shown(spoken.kind)}: needs a newer version of Overfence]"


def ticks(state: str) -> str:
    """The tick for what became of one's own message."""
    return DELIVERED if state == "delivered" else SENT


def history(messages: Iterable[tuple[Spoken, str]], today: date) -> Iterator[list[Part]]:
    """The lines of past messages, each given with its label, and a line wherever another day begins."""
    last = today
    for spoken, who in messages:
        if spoken.at.date() != last:
            last = spoken.at.date()
            yield [(Tone.FAINT, day(spoken.at))]
        yield message(spoken, who, last)


def span(seconds: float) -> str:
    """A length of time as people say it, rounded to its largest unit."""
    length = timedelta(seconds=round(seconds))
    for unit, size in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if length >= size:
            count = round(length / size)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{max(1, length.seconds)} s"


def counted(count: int, noun: str = "message") -> str:
    """``1 message``, ``2 messages``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
