"""What a connection tells: a closed union, for a ``match`` that ends in ``assert_never``."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import Violation


@dataclass(frozen=True, slots=True)
class Received:
    """A message came: in its stream's order and once, unless it was sent with less than that promised."""

    stream: int
    body: bytes
    at_most_once: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer answered on this path; ``resumed``: it is the process we spoke to before, and goes on where it was."""

    resumed: bool


@dataclass(frozen=True, slots=True)
class Discontinuity:
    """The peer knows nothing of us any more (another process). ``unconfirmed`` are the exactly-once messages,
    as (stream, number) in order of sending, of which nobody knows whether they arrived; none is sent again."""

    unconfirmed: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Writable:
    """There is room for messages again after a `BufferFull`."""


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing was heard for too long: the path counts as dead, the connection doesn't. Open another path; should
    something be heard on this one after all, it goes on."""


@dataclass(frozen=True, slots=True)
class Finished:
    """All messages of a stream of the peer's have come, and it will have no more."""

    stream: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection is over: by us or them without fault, or because somebody broke a rule. ``unconfirmed`` are the
    messages, as (stream, number), of which nobody knows whether they arrived."""

    by_peer: bool
    violation: Violation | None
    unconfirmed: tuple[tuple[int, int], ...] = ()


Event = Received | Opened | Discontinuity | Writable | Silent | Finished | Closed
