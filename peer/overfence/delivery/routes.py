"""How messages to a contact go now, why, and when a better way is tried next. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..connect.webrtc import CandidatePair
from ..history.people import ContactRow
from .news import ContactMoved, Path


@dataclass(frozen=True)
class Way:
    """The direct way to one device of a contact: is it up, how it goes, why it ended, when it is tried again."""

    is_up: bool
    pair: CandidatePair | None
    why: str
    retry_in_s: float | None


def contact_moved(row: ContactRow, ways: Sequence[Way], *, in_sight: bool, has_node: bool) -> ContactMoved:
    """The news of it. ``in_sight``: a device of theirs is in a topic; ``has_node``: mailboxes can be reached."""
    open_ways = [way for way in ways if way.is_up]
    pair = next(((way.pair.local_type, way.pair.remote_type) for way in open_ways if way.pair), None)
    straight: Path = "relayed" if pair and "relay" in pair else "direct"
    path: Path = straight if open_ways else "mailbox" if has_node else "offline"
    broken = next((way.why for way in ways if way.why), "")
    detail = "connected" if open_ways else broken if in_sight else "not here now"
    waits = [way.retry_in_s for way in ways if way.retry_in_s is not None]
    retry_in_s = None if open_ways else min(waits, default=None)
    return ContactMoved(row, in_sight or bool(open_ways), path, detail, pair, retry_in_s)
