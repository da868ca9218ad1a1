"""What taking messages in led to. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from overfence_reliability import Run

from ..errors import OverfenceError
from ..history.rows import Entry
from ..identity import DeviceList, Invite
from .payload import Fork, Ring, Sdp
from .sync import LogKey

# Forked logs told of in one message.
FORKS_LIMIT = 8


def bare(error: OverfenceError) -> OverfenceError:
    """The same error without where it was raised: those frames hold sessions and messages while it lives."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


@dataclass(frozen=True)
class Refused:
    """Something that arrived was not taken, and why; ``contact`` is whom it came from, as far as that is known."""

    error: OverfenceError
    contact: int | None


@dataclass
class Outcome:
    """What taking messages in led to; acted on only once the transaction is durable."""

    ordered: list[tuple[int, Entry]] = field(default_factory=list)  # contact, event
    told: list[tuple[bytes, LogKey, Run]] = field(default_factory=list)  # device, what it holds of a log
    forked: dict[tuple[bytes, LogKey], Fork] = field(default_factory=dict)  # device, log: where what it sent differs
    calls: list[tuple[bytes, Sdp | Ring]] = field(default_factory=list)
    to_link: list[tuple[bytes, bytes]] = field(default_factory=list)  # device, sealed message
    owed: dict[bytes, None] = field(default_factory=dict)  # devices that are owed a have
    duplicates: set[bytes] = field(default_factory=set)
    wasted: list[bytes] = field(
        default_factory=list
    )  # devices whose line brought what could not be read, or was before
    nodes: set[str] = field(default_factory=set)  # where something new waits to be said
    contacts: set[int] = field(default_factory=set)  # whose state, name, devices or addresses changed
    lowered: set[bytes] = field(default_factory=set)  # devices that hold less than they did
    revoked: set[bytes] = field(default_factory=set)  # devices their account took off its list
    lists: dict[bytes, bytes] = field(default_factory=dict)  # device that showed an older list → the newest
    relisted: DeviceList | None = None  # my own account's list, newer than the one known
    met: list[bytes] = field(default_factory=list)  # devices of guests that were just taken
    dropped: list[Refused] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)  # what a person should know
    key_changes: set[int] = field(default_factory=set)  # contacts somebody writes for under another account's key
    declined: list[Invite] = field(default_factory=list)  # invites of mine that are not wanted

    def drop(self, error: OverfenceError, contact: int | None = None) -> None:
        """This was not taken."""
        self.dropped.append(Refused(bare(error), contact))

    def forks(self, dsk: bytes) -> list[Fork]:
        """What a device is to hear of logs that forked: the first of each."""
        return [fork for (device, _), fork in self.forked.items() if device == dsk][:FORKS_LIMIT]

    def add(self, other: Outcome) -> None:
        """What one more message led to."""
        self.ordered += other.ordered
        self.told += other.told
        self.forked = {**other.forked, **self.forked}
        self.calls += other.calls
        self.to_link += other.to_link
        self.owed.update(other.owed)
        self.duplicates |= other.duplicates
        self.wasted += other.wasted
        self.nodes |= other.nodes
        self.contacts |= other.contacts
        self.lowered |= other.lowered
        self.revoked |= other.revoked
        self.lists.update(other.lists)
        self.relisted = other.relisted or self.relisted
        self.met += other.met
        self.dropped += other.dropped
        self.notices += other.notices
        self.key_changes |= other.key_changes
        self.declined += other.declined
