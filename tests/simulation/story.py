"""One seed's story: who says what, over which paths, and what goes wrong meanwhile. Drawn before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from math import exp, log
from random import Random
from typing import NamedTuple

from overfence_reliability import Config

from .faults import Conditions

LONGEST_BYTES = 4_000
# A file's pieces; only in stories that have files.
PIECE_BYTES = 60_000
PAUSES_S = (20.0, 40.0)
PERFECT = Conditions()


class Role(Enum):
    """What a message is to the two who talk, and so what is promised of it."""

    ENTRY = "entry"  # of the log: held for ever, told again after a crash
    PIECE = "piece"  # of the log too, on a bulk stream
    SHORT = "short"  # exactly once, but only while both live
    LEAST = "least"  # at least once
    MOST = "most"  # at most once
    SIDE = "side"  # a stream of its own, finished at once


class Kind(Enum):
    """What goes wrong at a certain moment."""

    PARTITION = "partition"
    ONE_WAY = "one way"
    PATH_DIES = "path dies"
    KILL = "kill"
    KILL_BOTH = "kill both"
    SLEEP = "sleep"
    PAUSE = "pause"


class Say(NamedTuple):
    """Somebody wants to say something."""

    at: float
    who: int
    role: Role
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One of them; ``who`` is whom it befalls, or whose words don't get through."""

    at: float
    kind: Kind
    who: int = 0
    for_s: float = 0.0
    # Does anybody tell the two that the path died? Does the sleeper's socket go on filling? …
    is_noticed: bool = True
    # … and does its clock stand still meanwhile?
    clock_stops: bool = False

    @property
    def ends_at(self) -> float:
        """When whatever caused it is over."""
        return self.at + self.for_s


@dataclass(frozen=True, kw_only=True)
class Story:
    """All that a run depends on."""

    seed: int
    says: tuple[Say, ...]
    faults: tuple[Fault, ...]
    conditions: tuple[Conditions, Conditions]
    configs: tuple[Config, Config] = (Config(), Config())
    # Arrivals gather to the next multiple, as they do in a busy process; 0: each by itself.
    tick_s: float = 0.0
    # What a person does about a path that went silent though nobody said that it died.
    redials: bool = True
    connect_s: float = 0.2
    clocks_s: tuple[float, float] = (0.0, 0.0)
    # What the bulk lane queues.
    bulk_room_bytes: int | None = 4096
    # Damage reaches the connection, as it would without DTLS, until `calm_at`.
    is_naked: bool = False
    chats: int = 1
    pieces: int = 1

    @property
    def calm_at(self) -> float:
        """When the last word was said and the last fault is over."""
        return max([say.at for say in self.says[-1:]] + [fault.ends_at for fault in self.faults], default=0.0)

    @property
    def may_forget(self) -> bool:
        """Does a process end in it?"""
        return self.is_naked or any(fault.kind in (Kind.KILL, Kind.KILL_BOTH) for fault in self.faults)

    @property
    def damages(self) -> bool:
        """Are packets damaged?"""
        return any(one.corrupt or one.truncate for one in self.conditions)

    def lines(self) -> list[str]:
        """The story in words."""
        told = [f"seed {self.seed}: {len(self.says)} messages, tick {self.tick_s}, redials {self.redials}"]
        told += [f"  {'ab'[who]} to {'ba'[who]}: {spoken(one)}" for who, one in enumerate(self.conditions)]
        told += [f"  {'ab'[who]}: {one}" for who, one in enumerate(self.configs)]
        told += [f"  connect {self.connect_s:.3f}, clocks {self.clocks_s}, bulk room {self.bulk_room_bytes},"]
        told += [f"  naked {self.is_naked}, {self.chats} chats, {self.pieces} files"]
        told += [
            f"  {one.at:9.4f} {one.kind.value} of {'ab'[one.who]} for {one.for_s:.2f} s"
            + (", unnoticed" if not one.is_noticed else "")
            + (", clock stops" if one.clock_stops else "")
            for one in self.faults
        ]
        return told


def spoken(conditions: Conditions) -> str:
    """What of them differs from a perfect path."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in vars(conditions).items()
        if value != getattr(PERFECT, name)
    )


def draw(seed: int, messages: int = 500) -> Story:
    """That seed's story."""
    chance = Random(seed)  # noqa: S311 (a story, no secret)
    rate = exp(chance.uniform(log(30), log(3_000)))
    pace_s = messages / rate
    pieces = chance.choice((1, 1, 1, 1, 1, 8))
    first = _conditions(chance)
    second = first if chance.random() < 0.5 else _conditions(chance)
    naked = chance.random() < 0.04
    if naked:
        first, second = (replace(one, corrupt=0.01, truncate=0.005) for one in (first, second))
    faults = _faults(chance, pace_s)
    return Story(
        seed=seed,
        says=_says(chance, messages, pace_s, pieces),
        faults=faults,
        conditions=(first, second),
        configs=(_config(chance), _config(chance)),
        tick_s=chance.choice((0.0, 0.0005, 0.001, 0.002, 0.005)),
        redials=chance.random() < 0.6,
        connect_s=chance.uniform(0.05, 0.5),
        clocks_s=(chance.choice((0.0, 5.0, 86_400.0 * chance.random())), chance.choice((0.0, 1e6 * chance.random()))),
        bulk_room_bytes=chance.choice((4096, 4096, 16_384, None)),
        is_naked=naked,
        chats=chance.choice((1, 1, 2, 4)),
        pieces=pieces,
    )


def _says(chance: Random, messages: int, pace_s: float, pieces: int) -> tuple[Say, ...]:
    """Bursts and lulls; sizes as people's are: mostly short."""
    talker = chance.choice((0.5, 0.5, 0.9, 0.1))
    shares = (chance.choice((0.04, 0.3)), 0.03, chance.choice((0.03, 0.2)), 0.04, 0.01)
    edges = [sum(shares[:count]) for count in range(1, len(shares) + 1)]
    roles = (Role.PIECE, Role.SHORT, Role.LEAST, Role.MOST, Role.SIDE)
    longest = log(LONGEST_BYTES)
    says: list[Say] = []
    at = 0.0
    while len(says) < messages:
        at += chance.expovariate(messages / 8 / pace_s)
        for _ in range(min(chance.randint(1, 15), messages - len(says))):
            drawn = chance.random()
            role = next((role for edge, role in zip(edges, roles, strict=True) if drawn < edge), Role.ENTRY)
            is_short = chance.random() < 0.9
            size = int(exp(chance.random() * longest)) if is_short else chance.randint(1, LONGEST_BYTES)
            if role is Role.PIECE and pieces > 1 and chance.random() < 0.1:
                size = PIECE_BYTES
            elif role is Role.SHORT:
                size = 1 + size % 3
            elif role is Role.MOST:
                size = 8 + size % 1_000
            says.append(Say(at, int(chance.random() > talker), role, size))
    return tuple(says)


def _conditions(chance: Random) -> Conditions:
    few = chance.choice((0.0, 0.0, 0.01, 0.05, 0.2))
    return Conditions(
        delay_s=chance.choice((0.0, 0.0005, 0.005, 0.025, 0.025, 0.1, 0.3)),
        jitter_s=chance.choice((0.0, 0.0, 0.002, 0.02)),
        loss=chance.choice((0.0, 0.0, 0.01, 0.05, 0.2, 0.4)),
        outage_every_s=chance.choice((0.0, 0.0, 0.0, 1.0)),
        outage_s=chance.choice(((0.03, 0.12), (0.3, 0.9))),
        duplicate=chance.choice((0.0, 0.01, 0.1, 0.5)),
        reorder=few,
        reorder_s=chance.choice((0.005, 0.02, 0.2, 1.0)),
        corrupt=chance.choice((0.0, 0.0, 0.0, 0.01)),
        truncate=chance.choice((0.0, 0.0, 0.0, 0.01)),
        rate_bytes_per_s=chance.choice((None, None, None, None, 2_500_000.0, 250_000.0, 50_000.0)),
        queue_bytes=chance.choice((16_384, 65_536)),
    )


def _config(chance: Random) -> Config:
    window = chance.choice((81_920, 262_144, 262_144))
    return Config(
        window_bytes=window,
        window_all_bytes=chance.choice((window, 4 * window)),
        buffer_bytes=chance.choice((65_536, 262_144, 1_048_576)),
    )


def _faults(chance: Random, pace_s: float) -> tuple[Fault, ...]:
    """Up to three, begun while the two talk, or soon after."""
    drawn: list[Fault] = []
    kinds = list(Kind)
    for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
        kind = chance.choice(kinds)
        for_s = chance.choice((0.05, 0.5, 2.0, 6.0)) * chance.uniform(0.5, 1.5)
        if kind is Kind.PAUSE:
            for_s = chance.choice(PAUSES_S)
        elif kind is Kind.SLEEP:
            for_s *= chance.choice((1, 8))
        elif kind is Kind.ONE_WAY:
            for_s *= chance.choice((1, 5))
        elif kind is Kind.PATH_DIES:
            for_s = 0.0
        drawn.append(
            Fault(
                at=chance.random() * (pace_s + 0.5),
                kind=kind,
                who=chance.randrange(2),
                for_s=for_s,
                is_noticed=chance.random() < 0.5,
                clock_stops=chance.random() < 0.5,
            )
        )
    return tuple(sorted(drawn, key=lambda fault: fault.at))
