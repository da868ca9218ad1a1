"""What the worst peers can make one connection keep, in bytes really allocated."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from random import Random

import pytest
from overfence_reliability import Closed, Config, ConnectionClosed, Lane, Priority, ReliabilityError
from overfence_reliability.frame import FRAGMENT_BYTES, Credit, Data, Finish, Frame, Now, Ping
from overfence_reliability.streams import AHEAD_LIMIT

from .conftest import Puppet, pack, whole

KIB = 1024
STREAMS = 64


def acknowledges_nothing(puppet: Puppet) -> None:
    """… while we have as much to say as our own buffer takes."""
    streams = [puppet.honest.open(priority) for priority in Priority for _ in range(4)]
    for _ in range(400):
        for stream in streams:
            try:
                puppet.honest.send(stream, bytes(4000))
            except ReliabilityError:
                break
        puppet.say(Ping())
        puppet.wait(0.1)


def never_closes_a_gap(puppet: Puppet) -> None:
    """Message 0 of every stream is missing for ever; all that may follow it comes."""
    for number in range(1, AHEAD_LIMIT):
        for stream in range(STREAMS):
            if stream < 4 or number < 4:
                puppet.say(whole(stream, number, bytes(FRAGMENT_BYTES)))
            if puppet.told(Closed):
                return


def sends_empty_messages_beyond_a_gap(puppet: Puppet) -> None:
    for number in range(1, AHEAD_LIMIT):
        frames = [whole(stream, number, b"") for stream in range(STREAMS)]
        puppet.say(*frames)
        puppet.acknowledge()


def never_finishes_a_message(puppet: Puppet) -> None:
    """The first fragment of each of as many messages as may be open, each claiming the longest."""
    for number in range(AHEAD_LIMIT):
        puppet.say(Data(0, number, True, 0, 65_536, bytes(FRAGMENT_BYTES)))


def opens_streams(puppet: Puppet) -> None:
    for stream in range(800):
        puppet.say(whole(stream, 0, b"x"))
        puppet.say(Finish(stream, 1))
        puppet.acknowledge()


def skips_every_second_packet(puppet: Puppet) -> None:
    for number in range(100, 6_000, 2):
        puppet.throw(pack(number, Ping()))
        if number % 100 == 0:
            puppet.wait(0.05)


def floods_with_pings(puppet: Puppet) -> None:
    for _ in range(9_000):
        puppet.say(Ping())


def floods_with_messages_for_the_moment(puppet: Puppet) -> None:
    for _ in range(3_000):
        puppet.say(Now(0, bytes(1000)))
        puppet.wait(0.0001)


def repeats_itself(puppet: Puppet) -> None:
    for _ in range(9_000):
        puppet.throw(pack(99, whole(0, 0, b"again")))


def sends_noise(puppet: Puppet) -> None:
    random = Random(7)  # noqa: S311 (noise that can be repeated)
    frames: list[Frame] = [Ping(), Finish(3, 9), whole(2, 5, b"x")]
    for _ in range(3_000):
        packet = bytearray(pack(random.randrange(10**6), *random.choices(frames, k=3)))
        packet[random.randrange(len(packet))] ^= 1 << random.randrange(8)
        puppet.throw(bytes(packet), lane=random.choice(list(Lane)))


# What is kept: beyond gaps no more than the window of all streams; of our own the buffer, with its fragments and
# packets; then the queue and records of a few thousand packets.
BOUNDS: dict[Callable[[Puppet], None], int] = {
    acknowledges_nothing: 3 * 1024 * KIB,
    never_closes_a_gap: 1536 * KIB,
    sends_empty_messages_beyond_a_gap: 1536 * KIB,
    never_finishes_a_message: 1536 * KIB,
    opens_streams: 512 * KIB,
    skips_every_second_packet: 512 * KIB,
    floods_with_pings: 512 * KIB,
    floods_with_messages_for_the_moment: 512 * KIB,
    repeats_itself: 512 * KIB,
    sends_noise: 512 * KIB,
}


class Forgetful(Puppet):
    """Keeps no more of what it heard than whether the connection is over."""

    def _hears(self) -> list[Frame]:
        said = super()._hears()
        self.events = self.told(Closed)
        return said


@pytest.mark.parametrize("attack", BOUNDS, ids=lambda attack: attack.__name__)
def test_what_a_peer_can_make_us_keep_is_bounded(
    attack: Callable[[Puppet], None], record_property: Callable[[str, object], None]
) -> None:
    puppet = Forgetful(Config()).shake_hands()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        attack(puppet)
        gc.collect()
        kept, most = (each - before for each in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    bound = BOUNDS[attack]
    print(f"{attack.__name__}: kept {kept / KIB:,.0f} KiB, at most {most / KIB:,.0f}, of {bound / KIB:,.0f} allowed")
    record_property("kept_bytes", kept)
    assert most <= bound
    assert isinstance(puppet.honest.unconfirmed_bytes, int)


def test_what_is_confirmed_is_kept_by_nobody() -> None:
    puppet = Forgetful(Config()).shake_hands()
    stream = puppet.honest.open()

    def talk(messages: int) -> int:
        for _ in range(messages):
            puppet.honest.send(stream, bytes(500))
            puppet.wait(0.01)
            puppet.acknowledge()
            assert puppet.say(Credit(0, 2**40), Credit(None, 2**40)) is not None
        puppet.acknowledge()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        after_some = talk(200)
        after_many = talk(1000)
    finally:
        tracemalloc.stop()
    assert puppet.honest.unconfirmed_bytes == 0
    assert after_many - after_some < 64 * KIB


def test_a_closed_connection_takes_no_more() -> None:
    puppet = Forgetful(Config()).shake_hands()
    stream = puppet.honest.open()
    puppet.throw(b"")
    with pytest.raises(ConnectionClosed):
        puppet.honest.send(stream, b"x")
