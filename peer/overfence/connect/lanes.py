"""The two ways a packet may travel on one link (§5)."""

from __future__ import annotations

from enum import IntEnum


class Lane(IntEnum):
    """A lane's number is its SCTP stream and its data channel's id."""

    FAST = 0
    BULK = 1
