"""How an event extends a log, or doesn't (docs/protocol.md §6.2)."""

from __future__ import annotations

from enum import Enum, auto

from overfence_reliability import Run

from .event import NO_ID, Content, Event, Header, body_of, digest, make

# How far above a gap an event may lie and still be kept. Past it the event comes back by sync once
# the gap is filled, so no peer can make us store an endless tail that never confirms.
AHEAD_LIMIT = 2000


class Verdict(Enum):
    """What an arriving event is to the log it names."""

    NEXT = auto()  # extends the run
    ABOVE = auto()  # beyond a gap: kept, unconfirmed
    HELD = auto()  # the very event we hold
    FORK = auto()  # another event at a held number, or one whose prev isn't what we hold
    FAR = auto()  # too far beyond the gap to keep


def judge(event: Event, run: Run, held_id: bytes | None) -> Verdict:
    """What ``event`` is to a log of which ``run`` is confirmed and ``held_id`` is stored at its number."""
    if held_id is not None:
        return Verdict.HELD if held_id == event.id else Verdict.FORK
    seq = event.header.seq
    if seq <= run.end:
        return Verdict.HELD  # its number is filled though its row is gone
    if seq == run.end + 1:
        return Verdict.NEXT if event.header.prev == (run.tip or NO_ID) else Verdict.FORK
    return Verdict.ABOVE if seq <= run.end + AHEAD_LIMIT else Verdict.FAR


def extend(
    run: Run,
    *,
    conv: bytes,
    device: bytes,
    log: bytes,
    lamport: int,
    at_ms: int,
    kind: str,
    content: Content,
    salt: bytes,
) -> Event:
    """The next event of one's own log; `TooLong` past 16 KiB."""
    body = body_of(content, salt)
    header = Header(
        conv=conv,
        device=device,
        log=log,
        seq=run.end + 1,
        prev=run.tip or NO_ID,
        lamport=lamport,
        at_ms=at_ms,
        kind=kind,
        body_hash=digest(body),
    )
    return make(header, body)
