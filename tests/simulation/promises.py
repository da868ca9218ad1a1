"""What must hold of two connections and two histories, beside what each `Life` checks of every message it hears."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from collections.abc import Sequence

from overfence_reliability import Closed, Connection, Lane, ReliabilityError, Violation

from .person import Broken, Life, Person, require
from .story import Story
from .ways import RETRY_S

# How long after the last fault and word everything must have arrived, over the worst of paths that still carry.
GRACE_S = 60.0
# How much slower than its line a path may be that loses two packets of five.
SLOWNESS = 8
# What a connection may weigh beside the messages that its configuration lets it keep.
FRAME_BYTES = 512 * 1024
# Weighing takes milliseconds, so only every so many stories are.
WEIGHED_SEEDS = 16

Lives = Sequence[Life | None]


def grace_s(story: Story) -> float:
    """How long everything may take to arrive once it could."""
    said_bytes = sum(say.size_bytes + 64 for say in story.says)
    # Whatever is the least that may be on its way at a time, it takes a round trip at best.
    kept = min(min(config.buffer_bytes, config.window_bytes) for config in story.configs)
    room = min(float(story.bulk_room_bytes or "inf"), kept)
    slowest = min(
        min(one.rate_bytes_per_s or room, room / (one.delay_s + one.jitter_s + RETRY_S / (1 - min(one.loss, 0.9))))
        for one in story.conditions
    )
    return GRACE_S + SLOWNESS * said_bytes / slowest


def is_settled(story: Story, lives: Lives) -> bool:
    """Has everything arrived, and does everybody know it?"""
    first, second = lives
    if first is None or second is None:
        return False
    for here, there in ((first, second), (second, first)):
        if len(here.person.held.entries) != len(there.person.said.entries):
            return False
        if there.connection.unconfirmed_bytes:
            return False
        if story.is_naked:
            continue  # what came damaged can't be told from what didn't come
        if there.least:
            return False
        if any(here.came[stream] != len(said) for stream, said in there.said.items()):
            return False
        if here.number == there.number == 1 and len(here.heard_finished) != len(there.finished):
            return False
    return True


def check_end(people: tuple[Person, Person], counts: Counter[str], *, is_one_life: bool) -> None:
    """Nothing lost, doubled or misordered, whatever died meanwhile."""
    one, other = people
    for here, there in ((one, other), (other, one)):
        require(here.held.entries == there.said.entries, "histories are equal", here.who)
    if is_one_life:
        require(not counts["entry twice"], "nothing is said twice", counts["entry twice"])


def weigh(story: Story, lives: Lives) -> None:
    """A connection weighs no more than its configuration says."""
    if story.seed % WEIGHED_SEEDS:
        return
    for life, config in zip(lives, story.configs, strict=True):
        if life is not None:
            weight = len(pickle.dumps(life.connection))
            limit = config.buffer_bytes + config.window_all_bytes + FRAME_BYTES
            require(weight <= limit, "memory is bounded", f"{weight} bytes of at most {limit}")


def damage(connection: Connection, packet: bytes, *, now: float) -> int:
    """Show a damaged packet, which DTLS would drop, to a copy of the connection: it may close it, and nothing else.
    1 if it did."""
    victim = copy.deepcopy(connection)
    try:
        victim.receive(packet, lane=Lane.FAST, now=now)
        victim.poll(now=now, room=4096)
        closed = [event for event in victim.events() if isinstance(event, Closed)]
        due = victim.next_timer()
    except ReliabilityError as error:
        raise Broken("damage raises nothing", repr(error)) from error
    require(due is None or due >= now, "no timer in the past after damage", due)
    for event in closed:
        require(event.by_peer or isinstance(event.violation, Violation), "damage closes with a reason")
    return len(closed)


def state(people: tuple[Person, Person], lives: Lives, now: float) -> str:
    """How far everything has come, for whoever must understand why it came no further."""
    told = [f"at {now:.3f}"]
    for who, life in enumerate(lives):
        if life is None:
            told.append(f"{'ab'[who]} is not there")
            continue
        held = f"{len(people[who].held.entries)} of {len(people[1 - who].said.entries)}"
        told.append(
            f"{'ab'[who]} holds {held}, {life.connection.unconfirmed_bytes} bytes unconfirmed, "
            f"full {life.is_full}, {len(life.least)} at least once open"
        )
    return "; ".join(told)
