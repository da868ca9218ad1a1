"""Two connections against two plain lists, step by step: Hypothesis looks for the shortest way to fail."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from overfence_reliability import (
    BufferFull,
    Config,
    Connection,
    Discontinuity,
    Lane,
    Opened,
    Received,
    Silent,
    Writable,
)

WHO = st.integers(0, 1)
BUFFER_BYTES = 20_000
CONFIG = Config(buffer_bytes=BUFFER_BYTES)
# What a perfect path needs to bring everything, in seconds and steps.
SETTLING_S = 30.0
STEPS = 3_000


class Conversation(RuleBasedStateMachine):
    """Two connections and every packet between them in the rules' hands."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.lives = [0, 0]
        self.ends = [self.born(0), self.born(1)]
        self.streams = [end.open() for end in self.ends]
        self.said: list[list[bytes]] = [[], []]
        self.heard: list[list[bytes]] = [[], []]
        self.wire: list[deque[tuple[Lane, bytes]]] = [deque(), deque()]
        self.is_full = [False, False]
        self.count = 0
        self.open_path()

    def born(self, who: int) -> Connection:
        self.lives[who] += 1
        return Connection(bytes((who + 1, *self.lives[who].to_bytes(7, "big"))), CONFIG)

    def open_path(self) -> None:
        for who in (0, 1):
            self.wire[who].clear()
            self.ends[who].path_opened(now=self.now)
        self.poll(0)
        self.poll(1)

    def poll(self, who: int) -> None:
        self.wire[who].extend(self.ends[who].poll(now=self.now))
        due = self.ends[who].next_timer()
        assert due is None or due >= self.now
        self.drain(who)

    def drain(self, who: int) -> None:
        for event in self.ends[who].events():
            match event:
                case Received(_, body):
                    self.heard[who].append(body)
                case Discontinuity():
                    # The other is new: nothing that was said is promised any more.
                    self.said[who].clear()
                    self.heard[who].clear()
                case Writable():
                    self.is_full[who] = False
                case Opened() | Silent():
                    pass
                case _:
                    raise AssertionError(event)

    def give(self, who: int, lane: Lane, packet: bytes) -> None:
        self.ends[who].receive(packet, lane=lane, now=self.now)
        self.poll(who)

    @rule(who=WHO, size_bytes=st.sampled_from([0, 1, 200, 1_090, 1_091, 4_000, 9_000]))
    def say(self, who: int, size_bytes: int) -> None:
        self.count += 1
        body = self.count.to_bytes(4, "big") + bytes(size_bytes)
        try:
            self.ends[who].send(self.streams[who], body)
        except BufferFull:
            self.is_full[who] = True
        else:
            self.said[who].append(body)
        self.poll(who)

    @rule(who=WHO, at=st.integers(0, 30))
    def deliver(self, who: int, at: int) -> None:
        """Any packet under way, not only the next."""
        wire = self.wire[who]
        if wire:
            wire.rotate(-(at % len(wire)))
            lane, packet = wire.popleft()
            self.give(1 - who, lane, packet)

    @rule(who=WHO)
    def deliver_all(self, who: int) -> None:
        for _ in range(len(self.wire[who])):
            lane, packet = self.wire[who].popleft()
            self.give(1 - who, lane, packet)

    @rule(who=WHO, at=st.integers(0, 30))
    def drop(self, who: int, at: int) -> None:
        """Only the fast lane loses anything."""
        wire = self.wire[who]
        if wire and wire[at % len(wire)][0] is Lane.FAST:
            del wire[at % len(wire)]

    @rule(who=WHO, at=st.integers(0, 30))
    def duplicate(self, who: int, at: int) -> None:
        wire = self.wire[who]
        if wire:
            wire.append(wire[at % len(wire)])

    @rule(by_s=st.sampled_from([0.0, 0.004, 0.02, 0.3, 1.0, 5.0]))
    def advance(self, by_s: float) -> None:
        self.now += by_s
        self.poll(0)
        self.poll(1)

    @rule()
    def lose_path(self) -> None:
        self.open_path()

    @precondition(lambda self: self.count)
    @rule(who=WHO)
    def restart(self, who: int) -> None:
        self.ends[who] = self.born(who)
        self.streams[who] = self.ends[who].open()
        self.said[who].clear()
        self.heard[who].clear()
        self.heard[1 - who].clear()
        self.is_full[who] = False
        # What the survivor said is open until the newcomer's hello tells it so; then it is forgotten.
        self.said[1 - who] = []
        self.open_path()

    @invariant()
    def nothing_is_doubled_or_misordered(self) -> None:
        for who in (0, 1):
            heard, said = self.heard[who], self.said[1 - who]
            if self.lives == [1, 1]:
                assert heard == said[: len(heard)]
            else:
                assert len(set(heard)) == len(heard)

    @invariant()
    def the_buffer_is_bounded(self) -> None:
        for end in self.ends:
            assert end.unconfirmed_bytes <= BUFFER_BYTES

    def teardown(self) -> None:
        """Once packets pass again everything arrives, and whoever was full may write."""
        until = self.now + SETTLING_S
        for _ in range(STEPS):
            for who in (0, 1):
                self.deliver_all(who)
            if not any(self.wire) and not any(end.unconfirmed_bytes for end in self.ends):
                break
            if not any(self.wire):
                self.now = min(end.next_timer() or until for end in self.ends)
                assert self.now <= until
            self.poll(0)
            self.poll(1)
        assert not any(end.unconfirmed_bytes for end in self.ends)
        assert self.is_full == [False, False]
        if self.lives == [1, 1]:
            assert self.heard == [self.said[1], self.said[0]]
        for who in (0, 1):
            last = b"the last word of %d" % who
            self.ends[who].send(self.streams[who], last)
            self.poll(who)
        for _ in range(STEPS):
            if all(self.heard[who][-1:] == [b"the last word of %d" % (1 - who)] for who in (0, 1)):
                return
            self.deliver_all(0)
            self.deliver_all(1)
            if not any(self.wire):
                self.now = min(end.next_timer() or until for end in self.ends)
                self.poll(0)
                self.poll(1)
        raise AssertionError("the last words didn't arrive")


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
