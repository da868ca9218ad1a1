"""One seed's story: what two people do, and what is done to them, drawn before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import NamedTuple

MOVES = (25, 60)
SIZE_LIMIT = 2**20


class Kind(Enum):
    """What happens next."""

    SAY = "say"
    ERRANDS = "errands"
    FETCH = "fetch"
    FETCH_UNACKNOWLEDGED = "fetch, unacknowledged"
    ASK_AFTER = "ask after"
    LINK = "link"
    LINK_CARRIES = "link carries"
    LINK_BREAKS = "link breaks"
    RESTART = "restart"
    WAIT = "wait"
    LOSE = "lose"
    REORDER = "reorder"
    DOUBLE = "double"
    REPLAY = "replay"
    FLIP_ENVELOPE = "flip in an envelope"
    FLIP_HANDSHAKE = "flip in a handshake"
    FLIP_MESSAGE = "flip in a message"
    WRONG_MAILBOX = "wrong mailbox"
    WRONG_DEVICE = "wrong device"
    ROLL_BACK = "roll back"
    ROLL_BACK_BOTH = "roll back both"


# What makes a conversation go on, whatever the seed's weather is.
LIFE = {
    Kind.SAY: 6,
    Kind.ERRANDS: 6,
    Kind.FETCH: 6,
    Kind.FETCH_UNACKNOWLEDGED: 1,
    Kind.ASK_AFTER: 1,
    Kind.LINK: 2,
    Kind.LINK_CARRIES: 4,
    Kind.LINK_BREAKS: 1,
    Kind.RESTART: 1,
    Kind.WAIT: 1,
}
ROLLBACKS = (Kind.ROLL_BACK, Kind.ROLL_BACK_BOTH)
FAULTS = tuple(kind for kind in Kind if kind not in LIFE and kind not in ROLLBACKS)
# How heavy a kind of fault is in one story: most stories have a few kinds, some of them many times.
HEAVINESS = (0, 0, 1, 2, 5)
# Minutes to weeks; not all of a story's waits together reach the 30 days after which things are given up.
WAITS_S = (60, 600, 3600, 6 * 3600, 86_400, 7 * 86_400)


class Move(NamedTuple):
    """One thing that happens: to whom (0: Ada, 1: Bob), and a number that settles the rest."""

    kind: Kind
    who: int
    size: int


@dataclass(frozen=True)
class Story:
    """All that a run depends on."""

    seed: int
    # Do the two know each other when it begins, or has one just accepted the other's invite?
    met: bool
    moves: tuple[Move, ...]


def draw(seed: int, *, rollbacks: bool) -> Story:
    """The story of a seed; ``rollbacks``: whether a database may be set back to an older copy."""
    random = Random(seed)  # noqa: S311 (a story that can be repeated)
    met = random.random() < 0.5
    weights = dict(LIFE) | {kind: random.choice(HEAVINESS) for kind in FAULTS}
    if rollbacks:
        weights |= {Kind.ROLL_BACK: random.choice((0, 1, 1)), Kind.ROLL_BACK_BOTH: random.choice((0, 0, 1))}
    count = random.randint(*MOVES)
    kinds = random.choices(list(weights), list(weights.values()), k=count)
    moves = tuple(Move(kind, random.randrange(2), random.randrange(SIZE_LIMIT)) for kind in kinds)
    return Story(seed, met, moves)
