"""Two people, the paths between them and a clock: runs one story, and holds them to every promise on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import assert_never

from overfence_reliability import (
    Closed,
    Config,
    Connection,
    Discontinuity,
    Finished,
    Lane,
    Opened,
    Received,
    Rule,
    Silent,
    Writable,
)

from .clock import Clock
from .misfortunes import SOCKET_BYTES, Misfortunes
from .person import Broken, Life, Person, require
from .promises import check_end, damage, grace_s, is_settled, state
from .story import Kind, Role, Say, Story
from .trace import Trace
from .ways import Link

# Once everything has arrived nothing moves but the heartbeat, which this many polls each second are enough for.
QUIET_S = 4.0
QUIET_POLLS_PER_S = 30
REDIAL_S = 1.0
# How many damaged packets a story shows to a copy of the connection they would have reached.
VICTIMS = 1
MakeConnection = Callable[[bytes, Config], Connection]
LEFT, ARRIVED, HEARD = 1, 2, 3


class World:
    """The story's, from its first word until everything has arrived and is quiet. `run` raises `Broken`."""

    def __init__(self, story: Story, make: MakeConnection = Connection, *, keeps_lines: bool = False) -> None:
        self.story = story
        self.counts: Counter[str] = Counter()
        self.trace = Trace(keeps_lines=keeps_lines)
        self.moved_after_s: list[float] = []
        self.clock = Clock(story.clocks_s)
        self._misfortunes = Misfortunes(self)
        self._make = make
        self._random = Random(f"{story.seed} paths")  # noqa: S311 (a story, no secret)
        self._people = (Person(0, story, self.counts), Person(1, story, self.counts))
        self.lives: list[Life | None] = [None, None]
        self.links: list[Link | None] = [None, None]
        self.link: Link | None = None
        self._all_links: list[Link] = []
        self._lived = [0, 0]
        self.asleep_until = [0.0, 0.0]
        self.asleep_bytes = [0, 0]
        self.conditions = story.conditions
        self._dialling = False
        self.to_come = len(story.says) + len(story.faults)
        self.healed_at: float | None = None
        self._victims = VICTIMS
        self._polls = 0

    # ── the clock ─────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Everything, to the end. Raises `Broken`."""
        story = self.story
        for who in (0, 1):
            self.be_born(who)
        self.dial(after_s=0.0)
        for say in story.says:
            self.clock.at(say.at, lambda say=say: self._say(say))  # type: ignore[misc]  # a lambda's default has no type
        for fault in story.faults:
            self.clock.at(fault.at, lambda fault=fault: self._misfortunes.strike(fault))  # type: ignore[misc]
        if story.is_naked:
            self.to_come += 1
            self.clock.at(story.calm_at, self._misfortunes.end_damage)
        deadline = story.calm_at + grace_s(story)
        self._until(lambda: self.to_come == 0 and is_settled(story, self.lives), deadline)
        check_end(self._people, self.counts, is_one_life=self._lived == [1, 1])
        self._check_quiet()

    def _until(self, is_done: Callable[[], bool], deadline: float) -> None:
        if not self.clock.run(is_done, self._poll, deadline=deadline):
            raise Broken("everything arrives", state(self._people, self.lives, self.clock.now))

    # ── packets ───────────────────────────────────────────────────────────────────────────────────

    def _poll(self, who: int) -> None:
        self.clock.dirty[who] = False
        life, link = self.lives[who], self.links[who]
        if life is None or self.asleep_until[who] > self.clock.now:
            self.clock.arm(who, None)
            return
        self._polls += 1
        now = self.clock.shown(who)
        connection = life.connection
        room = None
        if link is not None and self.story.bulk_room_bytes is not None:
            room = self.story.bulk_room_bytes - link.bulk[who].waiting_bytes
        for lane, packet in connection.poll(now=now, room=room):
            self.trace.note(self.clock.now, who, LEFT, packet)
            require(link is not None, "no packet without a path")
            if link is None or link.is_dead:
                self.counts["into a dead path"] += 1
            elif lane is Lane.FAST:
                self._carry_fast(who, link, packet)
            else:
                at = link.bulk[who].carry(packet, now=self.clock.now)
                if at is not None:
                    self.arrive_bulk(who, link, packet, at)
        self._drain(who, life)
        if self.lives[who] is not life:
            return
        due = connection.next_timer()
        require(due is None or due >= now, "no timer in the past", f"{due} at {now}")
        self.clock.arm(who, now if self.clock.dirty[who] else due)

    def _carry_fast(self, who: int, link: Link, packet: bytes) -> None:
        tick = self.story.tick_s
        for at, data in link.fast[who].carry(packet, now=self.clock.now):
            if tick:
                at = -(-at // tick) * tick
            if data is packet or self.story.is_naked:
                self.clock.at(at, lambda data=data: self._receive(1 - who, link, Lane.FAST, data))  # type: ignore[misc]
            elif self._victims:
                self._victims -= 1
                self.clock.at(at, lambda data=data: self._hurt(1 - who, data))  # type: ignore[misc]

    def arrive_bulk(self, who: int, link: Link, packet: bytes, at: float) -> None:
        """That packet of theirs comes out of the bulk lane then."""
        tick = self.story.tick_s
        if tick:
            at = -(-at // tick) * tick

        def arrive() -> None:
            link.bulk[who].waiting_bytes -= len(packet)
            if not self.clock.dirty[who]:
                self.clock.dirty[who] = True
            self._receive(1 - who, link, Lane.BULK, packet)

        self.clock.at(at, arrive)

    def _receive(self, who: int, link: Link, lane: Lane, packet: bytes) -> None:
        life = self.lives[who]
        if life is not link.lives[who] or life is None:
            return
        if self.asleep_until[who] > self.clock.now:
            self._keep_for_sleeper(who, link, lane, packet)
            return
        if self.links[who] is not link:
            # Of a path that was given up, or isn't known yet here; only a reliable one waits.
            if lane is Lane.BULK and link is self.link:
                link.early[who].append(packet)
            return
        self.trace.note(self.clock.now, who, ARRIVED, packet)
        life.connection.receive(packet, lane=lane, now=self.clock.shown(who))
        self.clock.dirty[who] = True
        self._drain(who, life)

    def _keep_for_sleeper(self, who: int, link: Link, lane: Lane, packet: bytes) -> None:
        if lane is Lane.FAST:
            self.asleep_bytes[who] += len(packet)
            if self.asleep_bytes[who] > SOCKET_BYTES:
                self.counts["missed asleep"] += 1
                return
        self.clock.at(self.asleep_until[who], lambda: self._receive(who, link, lane, packet))

    def _hurt(self, who: int, packet: bytes) -> None:
        life = self.lives[who]
        if life is not None:
            self.counts["damage seen"] += 1
            self.counts["damage closed"] += damage(life.connection, packet, now=self.clock.shown(who))

    # ── what happens to a connection ──────────────────────────────────────────────────────────────

    def _drain(self, who: int, life: Life) -> None:
        for event in life.connection.events():
            match event:
                case Received(stream, body):
                    self._hear(who, life, stream, body)
                case Opened(resumed):
                    self.tell(who, f"opened, resumed {resumed}")
                    self.counts["resumed" if resumed else "met"] += 1
                    if not resumed:
                        life.owe_have()
                case Discontinuity(unconfirmed):
                    self.tell(who, f"discontinuity, {len(unconfirmed)} unconfirmed")
                    self.counts["discontinuity"] += 1
                    require(self.story.is_naked or self._lived != [1, 1], "nobody forgets", who)
                    life.begin_anew()
                case Writable():
                    life.is_full = False
                    life.pump()
                case Silent():
                    self.tell(who, "silent")
                    self.counts["silent"] += 1
                    self._give_up(who)
                case Finished(stream):
                    self._finished(who, life, stream)
                case Closed():
                    self._closed(who, life, event)
                    return
                case _:
                    assert_never(event)

    def _hear(self, who: int, life: Life, stream: int, body: bytes) -> None:
        link = self.links[who]
        require(link is not None, "nothing comes without a path")
        assert link is not None
        other = link.lives[1 - who]
        self.trace.note(self.clock.now, who, HEARD, body)
        if self.trace.keeps_lines:
            self.trace.line(
                self.clock.now, who, f"hears message {life.came[stream]} of stream {stream}: {len(body)} bytes"
            )
        if self.healed_at is not None:
            self.moved_after_s.append(self.clock.now - self.healed_at)
            self.healed_at = None
        if self.story.is_naked:
            life.hear_unsafe(stream, body, other)
        else:
            life.hear(stream, body, other)

    def _finished(self, who: int, life: Life, stream: int) -> None:
        self.counts["finished"] += 1
        link = self.links[who]
        if link is not None and not self.story.is_naked:
            life.hear_finished(stream, link.lives[1 - who])

    def _closed(self, who: int, life: Life, closed: Closed) -> None:
        rule = closed.violation.rule if closed.violation else None
        self.tell(who, f"closed, by peer {closed.by_peer}: {closed.violation}")
        self.counts[f"closed: {rule.name.lower() if rule else 'no fault'}"] += 1
        deaf = rule is Rule.DEAF and any(one.kind is Kind.ONE_WAY and one.for_s > 12 for one in self.story.faults)
        require(self.story.is_naked or deaf, "the honest are not closed", closed.violation)
        # The goodbye leaves, then another life begins.
        self.clock.dirty[who] = False
        if not closed.by_peer and self.links[who] is not None:
            for lane, packet in life.connection.poll(now=self.clock.shown(who)):
                link = self.links[who]
                if link is not None and lane is Lane.BULK and not link.is_dead:
                    at = link.bulk[who].carry(packet, now=self.clock.now)
                    if at is not None:
                        self.arrive_bulk(who, link, packet, at)
        self.die(who)
        self.be_born(who)
        self.dial(after_s=self.story.connect_s)

    # ── paths ─────────────────────────────────────────────────────────────────────────────────────

    def dial(self, *, after_s: float) -> None:
        """Call the other, until there is a path again."""
        if not self._dialling:
            self._dialling = True
            self.clock.at(self.clock.now + after_s, self._connect)

    def _connect(self) -> None:
        first, second = self.lives
        asleep = max(self.asleep_until) > self.clock.now
        if first is None or second is None or asleep or self._misfortunes.is_blocked:
            self.clock.at(self.clock.now + REDIAL_S, self._connect)
            return
        self._dialling = False
        if self.link is not None:
            self.link.is_dead = True
        link = self.link = Link((first, second), self.conditions, self._random)
        self.counts["paths"] += 1
        self._all_links.append(link)
        late = self._random.randrange(2)
        for who in (0, 1):
            skew_s = self._random.choice((0.0, 0.02, 0.2)) if who == late else 0.0
            self.clock.at(self.clock.now + skew_s, lambda who=who: self._path_opened(who, link))  # type: ignore[misc]

    def _path_opened(self, who: int, link: Link) -> None:
        life = self.lives[who]
        if life is not link.lives[who] or life is None or link is not self.link:
            return
        if self.asleep_until[who] > self.clock.now:
            self.clock.at(self.asleep_until[who], lambda: self._path_opened(who, link))
            return
        self.tell(who, "path opened")
        self.links[who] = link
        life.connection.path_opened(now=self.clock.shown(who))
        self.clock.dirty[who] = True
        self._drain(who, life)
        for packet in link.early[who]:
            self._receive(who, link, Lane.BULK, packet)

    def path_closed(self, who: int) -> None:
        """That person knows that there is no path any more."""
        life = self.lives[who]
        self.links[who] = None
        if life is not None:
            self.tell(who, "path closed")
            life.connection.path_closed()
            self.clock.dirty[who] = True

    def _give_up(self, who: int) -> None:
        link = self.links[who]
        if link is None or not (link.is_dead or self.story.redials):
            return
        link.is_dead = True
        self.path_closed(who)
        self.dial(after_s=self.story.connect_s)

    # ── what people do, and what befalls them ─────────────────────────────────────────────────────

    def be_born(self, who: int) -> None:
        """A new process of that person's begins."""
        self._lived[who] += 1
        number = self._lived[who]
        connection_id = bytes((97 + who, *number.to_bytes(7, "big")))
        connection = self._make(connection_id, self.story.configs[who])
        self.lives[who] = Life(self._people[who], connection, number)
        self.tell(who, f"life {number} begins")

    def die(self, who: int) -> None:
        """That person's process ends, and its paths with it."""
        life, link = self.lives[who], self.links[who]
        if life is not None:
            self.tell(who, f"life {life.number} ends")
        if link is not None:
            link.is_dead = True
        self.lives[who] = self.links[who] = None
        self.clock.arm(who, None)

    def _say(self, say: Say) -> None:
        who, size_bytes = say.who, say.size_bytes
        life = self.lives[who]
        if life is None or self.asleep_until[who] > self.clock.now:
            # Who is away says it later.
            later_s = max(self.asleep_until[who] - self.clock.now, 0.1)
            self.clock.at(self.clock.now + later_s, lambda: self._say(say))
            return
        self.to_come -= 1
        self.counts["messages"] += 1
        match say.role:
            case Role.ENTRY | Role.PIECE:
                life.want(self._people[who].say(size_bytes, say.role))
            case Role.SHORT:
                life.say_short(size_bytes)
            case Role.LEAST:
                life.say_least(size_bytes)
            case Role.MOST:
                life.say_most(size_bytes)
            case Role.SIDE:
                life.say_aside(size_bytes)
            case _:
                assert_never(say.role)
        limit = self.story.configs[who].buffer_bytes
        require(life.connection.unconfirmed_bytes <= limit, "the buffer is bounded", life.connection.unconfirmed_bytes)
        self.clock.dirty[who] = True

    # ── the promises ──────────────────────────────────────────────────────────────────────────────

    def tell(self, who: int, words: str) -> None:
        """Something rare happened."""
        self.trace.tell(self.clock.now, who, words)

    def _check_quiet(self) -> None:
        """What nobody needs any more doesn't go on."""
        self.clock.at(self.clock.now + QUIET_S, lambda: None)
        until = self.clock.now + QUIET_S
        self._until(lambda: self.clock.now >= until, until + 1)
        self._polls = 0
        self.clock.at(self.clock.now + QUIET_S, lambda: None)
        until = self.clock.now + QUIET_S
        self._until(lambda: self.clock.now >= until, until + 1)
        require(self._polls <= QUIET_POLLS_PER_S * QUIET_S, "quiet is quiet", f"{self._polls} polls")

    def totals(self) -> Counter[str]:
        """How often each fault struck, and whatever else was counted."""
        totals = Counter(self.counts)
        for link in self._all_links:
            for fast, bulk in zip(link.fast, link.bulk, strict=True):
                totals.update(fast.counts)
                totals.update(bulk.counts)
        return totals
