"""The promise, whatever happens to the packets: each message once, in order; and no timer that is already due."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from overfence_reliability import Closed, Discontinuity, Lane, Mode, Priority
from overfence_reliability.errors import BufferFull

from .conftest import Flight, Side, Wire

SIZES = (1, 200, 1090, 1091, 4096, 4097, 9000)
ACTS = (
    "say",
    "say",
    "say",
    "say at least",
    "say for the moment",
    "wait",
    "wait",
    "wait long",
    "new path",
    "cut",
    "worse",
    "well",
)
PATIENCE_S = 30.0

seeds = st.integers(0, 2**32 - 1)


class Weather:
    """A wire that loses, delays and repeats by one seed."""

    def __init__(self, seed: int, loss: float) -> None:
        self.random = Random(seed)  # noqa: S311 (a run that can be repeated)
        self.loss = loss
        self.wire = Wire(one_way_s=self.random.choice((0.0005, 0.01, 0.05, 0.2)))
        self.wire.room = self.random.choice((None, 4096))
        self.wire.loses = lambda _flight: self.random.random() < self.loss
        self.wire.delays = self._delay
        self.said: dict[str, dict[int, list[bytes]]] = {"ada": {}, "bob": {}}
        self.at_least: dict[str, list[bytes]] = {"ada": [], "bob": []}
        self.now: dict[str, list[bytes]] = {"ada": [], "bob": []}
        self._count = 0

    def _delay(self, _flight: Flight) -> float:
        return self.wire.one_way_s * self.random.choice((1.0, 1.0, 1.0, 1.05, 1.5))

    def say(self, mode: Mode) -> None:
        side = self.random.choice(self.wire.sides)
        priority = self.random.choice(list(Priority))
        stream = side.stream(priority)
        self._count += 1
        # Which side, which stream, which message: so that a mix-up is seen.
        size = self.random.choice(SIZES) if mode is not Mode.AT_MOST_ONCE else 20
        body = f"{side.name} {stream} {self._count} ".encode().ljust(size, b".")
        try:
            side.connection.send(stream, body, mode)
        except BufferFull:
            return
        if mode is Mode.EXACTLY_ONCE:
            self.said[side.name].setdefault(stream, []).append(body)
        else:
            (self.at_least if mode is Mode.AT_LEAST_ONCE else self.now)[side.name].append(body)

    def act(self, act: str) -> None:
        wire = self.wire
        match act:
            case "say":
                self.say(Mode.EXACTLY_ONCE)
            case "say at least":
                self.say(Mode.AT_LEAST_ONCE)
            case "say for the moment":
                self.say(Mode.AT_MOST_ONCE)
            case "wait":
                wire.run_for(self.random.random() * 0.1)
            case "wait long":
                wire.run_for(self.random.random() * 4)
            case "new path":
                wire.connect()
            case "cut":
                wire.cut()
            case "worse":
                self.loss = self.random.choice((0.2, 0.5, 1.0))
            case "well":
                self.loss = 0.02


def heard_as_said(weather: Weather, speaker: Side, hearer: Side) -> None:
    heard = hearer.heard
    for bodies in weather.said[speaker.name].values():
        expected = set(bodies)
        assert [body for body in heard if body in expected] == bodies
    for body in weather.at_least[speaker.name]:
        assert heard.count(body) == 1
    for body in weather.now[speaker.name]:
        assert heard.count(body) <= 1
    known = {body for bodies in weather.said[speaker.name].values() for body in bodies}
    assert set(heard) <= known | set(weather.at_least[speaker.name]) | set(weather.now[speaker.name])


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(seeds, st.lists(st.sampled_from(ACTS), max_size=60), st.sampled_from((0.0, 0.02, 0.1, 0.3)))
def test_each_message_arrives_once_and_in_order(seed: int, acts: list[str], loss: float) -> None:
    weather = Weather(seed, loss)
    wire = weather.wire
    wire.connect()
    for act in acts:
        weather.act(act)
    weather.loss = 0.02
    wire.connect()
    wire.run_for(PATIENCE_S)
    for side in wire.sides:
        assert not side.told(Closed)
        assert not side.told(Discontinuity)
        heard_as_said(weather, side, wire.other(side))
        assert side.connection.unconfirmed_bytes == 0
    assert wire.most_timers_at_once <= 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    seeds,
    st.lists(st.sampled_from(ACTS), max_size=30),
    st.floats(0.0, 1e9, allow_nan=False),
    st.sampled_from((0.0, 0.3, 1.0)),
)
def test_after_a_poll_no_timer_is_due(seed: int, acts: list[str], began_at: float, loss: float) -> None:
    """On any clock: of a machine just started, or one that has run for thirty years."""
    weather = Weather(seed, loss)
    wire = weather.wire
    wire.now = began_at
    wire.connect()
    for act in acts:
        weather.act(act)
        for side in wire.sides:
            for _ in range(2):
                side.connection.poll(now=wire.now, room=0)
                due_at = side.connection.next_timer()
                assert due_at is None or due_at > wire.now
        wire.run_for(0.01)


def test_it_is_the_same_run_each_time() -> None:
    def trace(seed: int) -> list[tuple[float, Lane, bytes]]:
        weather = Weather(seed, 0.2)
        weather.wire.connect()
        for _ in range(40):
            weather.say(Mode.EXACTLY_ONCE)
            weather.wire.run_for(0.05)
        return [(flight.at, flight.lane, flight.packet) for side in weather.wire.sides for flight in side.left]

    assert trace(11) == trace(11)
    assert trace(11) != trace(12)
