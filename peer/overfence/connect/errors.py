"""How a link ends, and what can go wrong before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import OverfenceError

# "closed" by us, "silent" for too long, "failed" on the way, "flooded" past our bounds,
# "protocol" broken by the other side, closed by the "remote" side.
Reason = Literal["closed", "silent", "failed", "flooded", "protocol", "remote"]


@dataclass(frozen=True)
class LinkEnd:
    """Why a link is over: a reason to act on, a detail to log. Neither holds an address or any content."""

    reason: Reason
    detail: str = ""

    @property
    def is_their_fault(self) -> bool:
        """Did the other side do what no honest one does?"""
        return self.reason in ("flooded", "protocol")

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class BadSdp(OverfenceError):
    """The other side's session description is not one we accept; nothing was sent to anyone."""


class BadIceServer(OverfenceError):
    """A configured STUN or TURN URL cannot be read; nothing was sent to anyone."""


class LinkFailed(OverfenceError):
    """The link did not open; whatever was to travel on it stays queued. `end` says why."""

    def __init__(self, end: LinkEnd) -> None:
        super().__init__(f"the link did not open ({end})")
        self.end = end
        self.reason: Reason = end.reason


class LinkClosed(OverfenceError):
    """The link is not open, so this message did not leave; it stays queued. `end` is None before it opened."""

    def __init__(self, end: LinkEnd | None) -> None:
        super().__init__(f"the link is over ({end})" if end else "the link is not open yet")
        self.end = end


class MessageTooLong(OverfenceError):
    """A message over the limit of a link was not sent; the link stays open."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes are more than the {limit_bytes} a link carries at once")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class OutOfTurn(OverfenceError):
    """The caller asked for a step this link is past; each link offers or answers, once. The link goes on."""

    def __init__(self, step: str, state: str) -> None:
        super().__init__(f"a link that is {state} cannot {step}")
        self.step = step
        self.state = state
