"""The count: what two databases hold, against the director's own list. Reads copies; trusts nothing else."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import msgspec

from ..history.event import SALT_BYTES, Text
from ..identity import Identity


@dataclass(frozen=True)
class Line:
    """One text as a database holds it."""

    author: str
    log: bytes
    seq: int
    text: str


class Book:
    """One author's list: texts in the order they were handed over, and which of them `send` acknowledged."""

    def __init__(self) -> None:
        self._place: dict[bytes, int] = {}
        self._acknowledged: set[int] = set()

    def hand_over(self, text: str) -> None:
        """The text was given to the author's peer, which may or may not have stored it."""
        self._place[_mark(text)] = len(self._place)

    def acknowledge(self, text: str) -> None:
        """`send` returned for it: from now on it must never be missing."""
        self._acknowledged.add(self._place[_mark(text)])

    @property
    def acknowledged(self) -> frozenset[int]:
        """The places of the acknowledged texts."""
        return frozenset(self._acknowledged)

    def place(self, text: str) -> int | None:
        """Where in the list a text stands; None if nobody handed it over."""
        return self._place.get(_mark(text))


@dataclass(frozen=True)
class Tally:
    """What was promised and what is there."""

    sent: int  # acknowledged by `send`
    delivered: int  # of these, held by the other side
    lost: int  # acknowledged and missing on a side, or held by one side only
    duplicated: int  # copies past the first, on both sides together
    misordered: int  # texts after a later one of their author, on both sides together
    foreign: int  # texts that nobody sent

    @property
    def kept(self) -> bool:
        """Whether every promise held."""
        return self.sent == self.delivered and not (self.lost or self.duplicated or self.misordered or self.foreign)


def tally(books: Mapping[str, Book], readings: Mapping[str, Iterable[Line]]) -> Tally:
    """Count. ``readings`` gives each person's lines in the order their screen shows them."""
    held: dict[str, dict[str, Counter[int]]] = {owner: {author: Counter() for author in books} for owner in readings}
    misordered = foreign = 0
    for owner, lines in readings.items():
        last: dict[str, tuple[int, bytes, int]] = {}
        for line in lines:
            place = books[line.author].place(line.text) if line.author in books else None
            if place is None:
                foreign += 1
                continue
            held[owner][line.author][place] += 1
            before = last.get(line.author)
            if before and (place < before[0] or (line.log == before[1] and line.seq <= before[2])):
                misordered += 1
            last[line.author] = place, line.log, line.seq
    sent = delivered = lost = 0
    for author, book in books.items():
        copies = [held[owner][author] for owner in readings]
        others = [held[owner][author] for owner in readings if owner != author]
        sent += len(book.acknowledged)
        delivered += sum(all(other[place] for other in others) for place in book.acknowledged)
        # What was stored but not acknowledged when its author was killed may be on both sides or on none.
        expected = book.acknowledged.union(*copies)
        lost += sum(not all(each[place] for each in copies) for place in expected)
    duplicated = sum(sum(each.values()) - len(each) for of in held.values() for each in of.values())
    return Tally(sent, delivered, lost, duplicated, misordered, foreign)


def read_home(home: Path, authors: Mapping[bytes, str]) -> Iterator[Line]:
    """The confirmed texts in the history of a home that nobody has open; ``authors`` names each device key."""
    with tempfile.TemporaryDirectory(prefix="overfence-count-") as folder:
        # A copy, log file included: looking must not change what a failed demo leaves to be looked at.
        for file in home.glob("history.db*"):
            shutil.copy(file, folder)
        with closing(sqlite3.connect(Path(folder) / "history.db")) as database:
            rows = database.execute(
                """SELECT e.device, e.log, e.seq, e.body FROM events e JOIN runs r USING (conv, device, log)
                   WHERE e.kind = 'text' AND NOT e.refused AND NOT e.hidden AND e.seq <= r.end
                   ORDER BY e.lamport, e.device, e.origin"""
            )
            for device, log, seq, body in rows:
                text = msgspec.msgpack.decode(body[SALT_BYTES:], type=Text).text
                yield Line(authors.get(device, "a stranger"), log, seq, text)


def device_of(home: Path) -> bytes:
    """The signing key of the device whose home this is."""
    return Identity.decode((home / "identity").read_bytes()).dsk


def _mark(text: str) -> bytes:
    # Twenty thousand long texts would be kept otherwise.
    return blake2b(text.encode(), digest_size=16).digest()
