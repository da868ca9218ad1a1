"""The shape of a connection that can be measured, and which kinds of it there are."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

Heard = Callable[[bytes], None]


class Peer(Protocol):
    """One end of one connection that promises every message once and in order; made within a running loop.

    Descriptions are text that only the kind itself understands; the benchmark carries them. A message is at most
    16 KiB. Chat and a file may be treated differently, but share one connection.
    """

    async def offer(self) -> str:
        """The description that begins it."""

    async def answer(self, offer: str) -> str:
        """The description that answers another end's."""

    async def accept(self, answer: str) -> None:
        """Take what answered one's own."""

    async def opened(self) -> None:
        """Return once `send` may be called."""

    def send(self, message: bytes) -> None:
        """A chat message, at once."""

    def send_file(self, piece: bytes) -> None:
        """A piece of a file."""

    def file_queued_bytes(self) -> int:
        """How much of the file it holds that it has not yet put on its way."""

    async def close(self) -> None:
        """End it, with all it started."""


# Where each kind is: a module of this folder whose `make(heard)` gives a `Peer` that calls `heard` for each message.
KINDS = {"ours": "ours", "bare_aiortc": "bare", "libdatachannel": "libdatachannel"}


def make(kind: str, heard: Heard) -> Peer:
    """One end of that kind."""
    made: Peer = import_module(f"{__package__}.{KINDS[kind]}").make(heard)
    return made
