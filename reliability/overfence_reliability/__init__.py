"""Acknowledge, retry, order: reliability that outlives every connection. Pure, standard library only."""

from __future__ import annotations

from .connection import Config, Connection
from .errors import (
    BufferFull,
    ConnectionClosed,
    MessageTooLong,
    NoSuchStream,
    ReliabilityError,
    Rule,
    TooManyStreams,
    Violation,
)
from .events import Closed, Discontinuity, Event, Finished, Opened, Received, Silent, Writable
from .frame import PACKET_LIMIT_BYTES, Lane
from .streams import Mode, Priority
from .vector import RANGES_LIMIT, BadRun, HaveVector, Run, ranges

__all__ = [
    "PACKET_LIMIT_BYTES",
    "RANGES_LIMIT",
    "BadRun",
    "BufferFull",
    "Closed",
    "Config",
    "Connection",
    "ConnectionClosed",
    "Discontinuity",
    "Event",
    "Finished",
    "HaveVector",
    "Lane",
    "MessageTooLong",
    "Mode",
    "NoSuchStream",
    "Opened",
    "Priority",
    "Received",
    "ReliabilityError",
    "Rule",
    "Run",
    "Silent",
    "TooManyStreams",
    "Violation",
    "Writable",
    "ranges",
]
