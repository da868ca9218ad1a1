"""What a node can do to the people who use it: each mischief by its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from msgspec.structs import replace
from overfence_signalling import (
    Accepted,
    Ack,
    Card,
    CardGet,
    Changes,
    ClientFrame,
    Code,
    Error,
    Frame,
    Item,
    Items,
    NodeFrame,
    NodeHello,
    Opened,
    Put,
    PutAnswer,
    Snapshot,
    TopicEntry,
)

from .middleman import Mischief, Visit

F = TypeVar("F", bound=Frame)


class Telling(Mischief, Generic[F]):
    """Says something else in place of one kind of frame; to one person, or ("") to all."""

    def __init__(self, name: str, to: str, kind: type[F], lie: Callable[[Visit, F], Iterable[Frame]]) -> None:
        super().__init__(name)
        self._to = to
        self._kind = kind
        self._lie = lie

    def told(self, to: Visit, frame: NodeFrame) -> Sequence[Frame]:
        if not isinstance(frame, self._kind) or self._to not in ("", to.name):
            return (frame,)
        said = tuple(self._lie(to, frame))
        if said != (frame,):
            self.strike()
        return said


class Asking(Mischief, Generic[F]):
    """Does something else than one kind of request asks; of one person, or ("") of all."""

    def __init__(self, name: str, by: str, kind: type[F], do: Callable[[Visit, F], Iterable[Frame]]) -> None:
        super().__init__(name)
        self._by = by
        self._kind = kind
        self._do = do

    def asked(self, by: Visit, frame: ClientFrame) -> Sequence[Frame]:
        if not isinstance(frame, self._kind) or self._by not in ("", by.name):
            return (frame,)
        done = tuple(self._do(by, frame))
        if done != (frame,):
            self.strike()
        return done


# ── presence ──────────────────────────────────────────────────────────────────────────────────────


class Hiding(Mischief):
    """Tells nobody that anybody is here, and so lets no link come about: what is said goes by mailbox."""

    def __init__(self) -> None:
        super().__init__("hiding")

    def told(self, to: Visit, frame: NodeFrame) -> Sequence[Frame]:
        match frame:
            case Snapshot():
                return (replace(frame, entries=()),)
            case Changes():
                return ()
            case _:
                return (frame,)


def crowding(to: str, members: Callable[[bytes], Iterable[TopicEntry]]) -> Telling[Snapshot]:
    """These stand in every topic beside whoever is there; ``members`` is told the topic."""

    def lie(_: Visit, frame: Snapshot) -> Iterable[Frame]:
        return (replace(frame, entries=(*frame.entries, *members(frame.topic))),)

    return Telling("crowding", to, Snapshot, lie)


# ── cards ─────────────────────────────────────────────────────────────────────────────────────────


def showing_card(to: str, card: bytes | None) -> Telling[Card]:
    """This card for whatever mailbox is asked about; None: withheld."""
    return Telling("showing another card", to, Card, lambda _, frame: (replace(frame, card=card),))


def changing_card(to: str, change: Callable[[bytes], bytes]) -> Telling[Card]:
    """The right card, but for what ``change`` does to it."""

    def lie(_: Visit, frame: Card) -> Iterable[Frame]:
        return (replace(frame, card=None if frame.card is None else change(frame.card)),)

    return Telling("changing a card", to, Card, lie)


# ── envelopes ─────────────────────────────────────────────────────────────────────────────────────


def handing_on(name: str, to: str, items: Callable[[tuple[Item, ...]], Iterable[Item]]) -> Telling[Items]:
    """Other items than lie in the mailbox, or in another order."""
    return Telling(name, to, Items, lambda _, frame: (replace(frame, items=tuple(items(frame.items))),))


def changing_envelopes(to: str, change: Callable[[bytes], bytes]) -> Telling[Items]:
    """Every envelope comes changed, at its own place."""
    return handing_on(
        "changing envelopes", to, lambda items: [replace(item, envelope=change(item.envelope)) for item in items]
    )


def flipping(at: int) -> Callable[[bytes], bytes]:
    """One bit of the byte at that place; a negative one counts from the end."""

    def flip(data: bytes) -> bytes:
        place = at % len(data)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    return flip


def cutting_off(size: int) -> Callable[[bytes], bytes]:
    """The last so many bytes are missing."""
    return lambda data: data[: max(0, len(data) - size)]


def noise(data: bytes) -> bytes:
    """As many random bytes."""
    return os.urandom(len(data))


def withholding(to: str) -> Telling[Items]:
    """What lies in the mailbox stays there."""
    return Telling("withholding", to, Items, lambda _visit, _frame: ())


def doubling(to: str) -> Telling[Items]:
    """Every envelope comes twice, under two numbers of one cursor, and once more as if passed on."""

    def lie(_: Visit, frame: Items) -> Iterable[Frame]:
        again = tuple(replace(item, seq=0, id=os.urandom(16)) for item in frame.items)
        return frame, frame, replace(frame, items=again)

    return Telling("doubling", to, Items, lie)


class Reordering(Mischief):
    """Keeps what comes until there are ``count`` items, then hands them on, the last one first, as if passed on."""

    def __init__(self, to: str, count: int) -> None:
        super().__init__("reordering")
        self._to = to
        self._count = count
        self._kept: list[Item] = []

    def told(self, to: Visit, frame: NodeFrame) -> Sequence[Frame]:
        if not isinstance(frame, Items) or to.name != self._to or self.struck:
            return (frame,)
        self._kept += frame.items
        if len(self._kept) < self._count:
            return ()
        self.strike()
        backwards = tuple(replace(item, seq=0) for item in reversed(self._kept))
        return replace(frame, items=backwards), replace(frame, items=tuple(self._kept))


def item_of(put: Put, seq: int = 0, day: int = 0) -> Item:
    """An envelope as its owner would get it."""
    return Item(seq=seq, id=put.id, envelope=put.envelope, day=day)


# ── cursors and answers ───────────────────────────────────────────────────────────────────────────


def numbering(to: str, renumber: Callable[[int], int], epoch: Callable[[int], int]) -> Telling[Items]:
    """Items under other numbers, in another epoch."""

    def lie(_: Visit, frame: Items) -> Iterable[Frame]:
        items = tuple(replace(item, seq=renumber(item.seq)) for item in frame.items)
        return (replace(frame, items=items, epoch=epoch(frame.epoch)),)

    return Telling("numbering", to, Items, lie)


def opening(to: str, head: int, epoch: Callable[[int], int]) -> Telling[Opened]:
    """Another head, another epoch."""
    return Telling("opening", to, Opened, lambda _, frame: (replace(frame, head=head, epoch=epoch(frame.epoch)),))


def forgetting_acks(by: str) -> Asking[Ack]:
    """Whatever was acknowledged lies there for ever."""
    return Asking("forgetting acks", by, Ack, lambda _visit, _frame: ())


def throwing_away(by: str, state: PutAnswer) -> Asking[Put]:
    """What is put is thrown away, and the answer says otherwise."""

    def do(visit: Visit, frame: Put) -> Iterable[Frame]:
        visit.say(Accepted(ref=frame.ref, state=state))
        return ()

    return Asking(f"throwing away, {state}", by, Put, do)


def answering(to: str, state: PutAnswer) -> Telling[Accepted]:
    """The right thing is done, and another answer is given."""
    return Telling(f"answering {state}", to, Accepted, lambda _, frame: (replace(frame, state=state),))


class Refusing(Mischief):
    """Every request gets this error."""

    def __init__(self, by: str, code: Code, retry_after_s: float | None = 0.1) -> None:
        super().__init__(f"refusing, {code}")
        self._by = by
        self._code = code
        self._retry_after_s = retry_after_s

    def asked(self, by: Visit, frame: ClientFrame) -> Sequence[Frame]:
        ref = getattr(frame, "ref", None)
        if ref is None or self._by not in ("", by.name):
            return (frame,)
        self.strike()
        by.say(Error(code=self._code, text="no", ref=ref, retry_after_s=self._retry_after_s))
        return ()


def no_card(by: str, code: Code) -> Asking[CardGet]:
    """Whoever asks for a card gets this error."""

    def do(visit: Visit, frame: CardGet) -> Iterable[Frame]:
        visit.say(Error(code=code, ref=frame.ref))
        return ()

    return Asking(f"no card, {code}", by, CardGet, do)


def greeting(to: str, lie: Callable[[NodeHello], NodeHello]) -> Telling[NodeHello]:
    """Another greeting than the node's own."""
    return Telling("greeting", to, NodeHello, lambda _, frame: (lie(frame),))


# ── at the worst moment ───────────────────────────────────────────────────────────────────────────


def hanging_up_on(by: str, kind: type[F], *, after: bool) -> Asking[F]:
    """The line is cut at the first such request: before it is done, or done but not answered."""

    def do(visit: Visit, frame: F) -> Iterable[Frame]:
        if mischief.struck:
            return (frame,)
        visit.cut()
        mischief.strike()
        return (frame,) if after else ()

    mischief = Asking("hanging up", by, kind, do)
    return mischief


def babbling(to: str, *words: Frame) -> Telling[Accepted]:
    """Beside each answer to a put it says what nobody asked for."""
    return Telling("babbling", to, Accepted, lambda _, frame: (*words, frame, frame))
