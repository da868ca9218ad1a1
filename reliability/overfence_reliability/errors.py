"""What can go wrong, whose fault it is, and what still holds."""

from __future__ import annotations

from enum import Enum


class ReliabilityError(Exception):
    """The root of everything this package raises."""


class Rule(Enum):
    """The rules a peer can break (docs/protocol.md §7.6); the value is the code of the goodbye that follows."""

    MALFORMED = 1  # bytes that are no packet
    VERSION = 2  # a version we don't speak
    UNSENT = 3  # an acknowledgement of what was never sent
    LENGTH = 4  # a message longer than agreed, or fragments that contradict each other
    CREDIT = 5  # more bytes, or messages further ahead, than we gave credit for
    STREAMS = 6  # more streams at a time than we keep
    FLOOD = 7  # packets without end that bring nothing
    DEAF = 8  # heard all the time, but acknowledging nothing


class Violation(ReliabilityError):
    """The peer broke a rule: the connection is closed, what was delivered stays, nobody else is concerned."""

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(f"{rule.name.lower()}: {detail}")
        self.rule = rule
        self.detail = detail


class ConnectionClosed(ReliabilityError):
    """The connection is over; what it had not confirmed (`Closed.unconfirmed`) is for the caller to send by another."""


class BufferFull(ReliabilityError):
    """As much waits unconfirmed as may; nothing was taken. A `Writable` event says when to try again."""


class MessageTooLong(ReliabilityError):
    """One message is longer than was agreed; nothing was sent."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(f"{length} bytes, of at most {limit}")
        self.length = length
        self.limit = limit


class NoSuchStream(ReliabilityError):
    """The stream was not opened here, or is finished."""


class TooManyStreams(ReliabilityError):
    """As many streams are open as the peer keeps; finish one first."""
