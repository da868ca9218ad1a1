"""A line over links that come and go, on a clock that moves by itself when nobody has anything to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
from overfence.connect.errors import LinkClosed
from overfence.connect.line import BUFFER_BYTES, WINDOW_BYTES, BufferFull, Line, News
from overfence_reliability import PACKET_LIMIT_BYTES, Lane, Priority

DELAY_S = 0.025


class MovingClock(asyncio.SelectorEventLoop):
    """A loop whose time jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(_NoWait(self))

    def time(self) -> float:
        return self.now


class _NoWait(selectors.SelectSelector):
    def __init__(self, loop: MovingClock) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        self._loop.now += timeout or 0.0
        return super().select(0)


def on_moving_clock(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(3600):
            await story()

    with asyncio.Runner(loop_factory=MovingClock) as runner:
        runner.run(bounded())


class End:
    """One device: its line, and what it heard."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[bytes] = []
        self.news: list[News] = []
        self.held: list[Callable[[], None]] = []
        self.releases = True
        self.begin()

    def begin(self) -> None:
        """A new process."""
        self.line = Line(Random(self.name).randbytes(8), received=self._received, happened=self.news.append)  # noqa: S311 (told apart, not secret)

    def _received(self, message: bytes, release: Callable[[], None]) -> None:
        self.heard.append(message)
        if self.releases:
            release()
        else:
            self.held.append(release)


class Cable:
    """One link between two ends; can be cut, which nobody is told, or ended, which both are."""

    def __init__(
        self, ada: End, bob: End, *, loses: Callable[[bytes], bool] = lambda packet: False, delay_s: float = DELAY_S
    ) -> None:
        self.delay_s = delay_s
        self.cut = False
        # One whom nothing reaches.
        self.deaf: End | None = None
        self.ended = False
        self.loses = loses
        self.packets = 0
        self._sides = {ada: _Side(self, bob), bob: _Side(self, ada)}
        for end, side in self._sides.items():
            end.line.attach(side)

    def deliver(self, end: End, lane: Lane, packet: bytes) -> None:
        if not self.ended and not self.cut and end is not self.deaf and end.line.carries(self._sides[end]):
            end.line.arrived(lane, packet)

    def end(self) -> None:
        self.ended = True
        for end, side in self._sides.items():
            if end.line.carries(side):
                end.line.detach()


class _Side:
    def __init__(self, cable: Cable, other: End) -> None:
        self._cable = cable
        self._other = other

    def post(self, lane: Lane, packet: bytes) -> None:
        if self._cable.ended:
            raise LinkClosed(None)
        assert 0 < len(packet) <= PACKET_LIMIT_BYTES
        self._cable.packets += 1
        if lane is Lane.FAST and self._cable.loses(packet):
            return
        asyncio.get_running_loop().call_later(self._cable.delay_s, self._cable.deliver, self._other, lane, packet)

    def room_bytes(self, lane: Lane) -> int:
        return 64 * 1024


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(600):
        while not true():  # noqa: ASYNC110 (nothing tells a test of everything it may look at)
            await asyncio.sleep(0.005)


def test_messages_go_both_ways_in_order_and_urgent_ones_pass() -> None:
    async def story() -> None:
        ada, bob = End("ada"), End("bob")
        Cable(ada, bob)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        usual = [bytes([number]) * 60_000 for number in range(8)]
        for message in usual:
            ada.line.send(message)
        ada.line.send(b"urgent", Priority.CONTROL)
        bob.line.send(b"hello")
        await until(lambda: len(bob.heard) == 9 and ada.heard == [b"hello"])
        assert [message for message in bob.heard if message != b"urgent"] == usual
        assert bob.heard.index(b"urgent") < 4
        await until(lambda: ada.line.unconfirmed_bytes == 0)

    on_moving_clock(story)


def test_it_goes_on_over_the_next_link_with_nothing_lost_or_doubled() -> None:
    async def story() -> None:
        random = Random(7)  # noqa: S311 (a world that can be repeated)
        ada, bob = End("ada"), End("bob")
        said = [random.randbytes(random.randint(1, 5000)) for _ in range(300)]
        cable = Cable(ada, bob, loses=lambda packet: random.random() < 0.2)
        for number, message in enumerate(said):
            ada.line.send(message)
            await asyncio.sleep(random.random() / 20)
            if number % 50 == 25:
                cable.end()
                assert not ada.line.is_up
                await asyncio.sleep(random.random())
                cable = Cable(ada, bob, loses=cable.loses)
        await until(lambda: len(bob.heard) >= len(said))
        assert bob.heard == said
        assert ada.news.count(News.BEGUN) == 1
        assert ada.news.count(News.RESUMED) == 6

    on_moving_clock(story)


def test_a_link_that_falls_silent_is_told_and_heard_again_within_a_second() -> None:
    async def story() -> None:
        ada, bob = End("ada"), End("bob")
        cable = Cable(ada, bob)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        cable.cut = True
        cut_at = asyncio.get_running_loop().time()
        await until(lambda: not ada.line.is_up and not bob.line.is_up)
        assert 2.9 <= asyncio.get_running_loop().time() - cut_at <= 4.5
        assert ada.news == bob.news == [News.BEGUN, News.SILENT]
        ada.line.send(b"into the void")
        await asyncio.sleep(20)
        assert ada.news.count(News.SILENT) == 1, "told once"
        cable.cut = False
        back_at = asyncio.get_running_loop().time()
        await until(lambda: bob.heard == [b"into the void"] and ada.line.is_up)
        assert asyncio.get_running_loop().time() - back_at <= 1.2
        assert ada.news == [News.BEGUN, News.SILENT, News.HEARD]

    on_moving_clock(story)


def test_who_asks_and_hears_nothing_doubts_the_line_within_a_second() -> None:
    async def story() -> None:
        ada, bob = End("ada"), End("bob")
        cable = Cable(ada, bob)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        await asyncio.sleep(10)
        cable.cut = True
        ada.line.send(b"are you there?")
        cut_at = asyncio.get_running_loop().time()
        await until(lambda: not ada.line.is_up)
        assert 0.99 <= asyncio.get_running_loop().time() - cut_at <= 1.2
        assert bob.line.is_up, "he asked nothing"
        cable.cut = False
        await until(lambda: ada.line.is_up and bob.heard == [b"are you there?"])
        assert ada.news == [News.BEGUN, News.SILENT, News.HEARD]

    on_moving_clock(story)


def test_a_long_round_trip_is_no_reason_to_doubt() -> None:
    async def story() -> None:
        ada, bob = End("ada"), End("bob")
        Cable(ada, bob, delay_s=0.7)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        for _ in range(5):
            ada.line.send(b"hello, Moon")
            await until(lambda: not ada.line.unconfirmed_bytes)
        assert ada.news == [News.BEGUN]

    on_moving_clock(story)


def test_who_stood_still_asks_before_doubting() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, MovingClock)
        ada, bob = End("ada"), End("bob")
        Cable(ada, bob)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        await asyncio.sleep(0.5)
        ada.line.send(b"good night")
        await asyncio.sleep(0)
        loop.now += 60
        await until(lambda: bob.heard == [b"good night"] and not ada.line.unconfirmed_bytes)
        assert ada.news == [News.BEGUN]

    on_moving_clock(story)


def test_who_is_told_to_be_unheard_believes_it_until_something_is_confirmed() -> None:
    async def story() -> None:
        ada, bob = End("ada"), End("bob")
        cable = Cable(ada, bob)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        ada.line.unheard()
        assert ada.line.is_up, "all that she said was confirmed"
        cable.deaf = bob
        ada.line.send(b"hello?")
        await asyncio.sleep(0.5)
        ada.line.unheard()
        assert not ada.line.is_up
        assert ada.news == [News.BEGUN, News.SILENT], "told in the same moment"
        bob.line.send(b"I hear nothing")
        await until(lambda: ada.heard == [b"I hear nothing"])
        await asyncio.sleep(2)
        assert not ada.line.is_up, "that she hears him says nothing of the way there"
        assert ada.news == [News.BEGUN, News.SILENT]
        cable.deaf = None
        await until(lambda: ada.line.is_up and bob.line.is_up)
        assert bob.heard == [b"hello?"]
        assert ada.news == [News.BEGUN, News.SILENT, News.HEARD]

    on_moving_clock(story)


def test_a_new_process_on_the_other_side_is_told_and_gets_nothing_old() -> None:
    async def story() -> None:
        ada, bob = End("ada"), End("bob")
        cable = Cable(ada, bob)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        cable.cut = True
        ada.line.send(b"lost with him")
        await asyncio.sleep(0.5)
        cable.end()
        bob.name = "bob's next life"
        bob.begin()
        Cable(ada, bob)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        assert ada.news == [News.BEGUN, News.BEGUN]
        assert ada.line.unconfirmed_bytes == 0, "it is for sync to say again"
        ada.line.send(b"new")
        await until(lambda: bob.heard == [b"new"])

    on_moving_clock(story)


def test_who_does_not_take_in_brakes_the_other_and_holds_no_more_than_the_window() -> None:
    async def story() -> None:
        ada, bob = End("ada"), End("bob")
        bob.releases = False
        Cable(ada, bob)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        said = 0
        with pytest.raises(BufferFull):
            while True:
                ada.line.send(said.to_bytes(4) + bytes(10_000))
                said += 1
        assert ada.line.unconfirmed_bytes <= BUFFER_BYTES
        await asyncio.sleep(60)
        assert sum(map(len, bob.heard)) <= WINDOW_BYTES // 2, "one stream's share of it"
        assert ada.line.is_up, "braking is no offence"
        bob.releases = True
        while bob.held:
            bob.held.pop()()
        await until(lambda: len(bob.heard) == said)
        assert [int.from_bytes(message[:4]) for message in bob.heard] == list(range(said))

    on_moving_clock(story)


def test_room_waits_for_confirmations_and_ends_with_the_line() -> None:
    async def story() -> None:
        ada, bob = End("ada"), End("bob")
        cable = Cable(ada, bob)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        ada.line.send(bytes(60_000))
        assert ada.line.unconfirmed_bytes == 60_000
        await ada.line.room(1000)
        assert ada.line.unconfirmed_bytes <= 1000
        ada.line.send(bytes(60_000))
        waiting = asyncio.ensure_future(ada.line.room(1000))
        await asyncio.sleep(0)
        cable.end()
        with pytest.raises(LinkClosed):
            await waiting

    on_moving_clock(story)


def test_a_peer_that_breaks_the_rules_breaks_the_line_and_nothing_is_sent_on_it() -> None:
    async def story() -> None:
        ada, bob = End("ada"), End("bob")
        Cable(ada, bob)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        ada.line.arrived(Lane.FAST, b"\xff" * 40)
        await until(lambda: ada.news[-1] is News.BROKEN and bob.news[-1] is News.ENDED)
        assert not ada.line.is_up
        with pytest.raises(LinkClosed):
            ada.line.send(b"too late")

    on_moving_clock(story)


def test_what_is_sent_in_the_very_turn_in_which_the_other_side_ended_the_line_is_refused_as_on_a_broken_one() -> None:
    async def story() -> None:
        ada, bob = End("ada"), End("bob")
        Cable(ada, bob)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        ada.line.arrived(Lane.BULK, bytes(5) + b"\x63" + b"\x09\x00\x00")
        with pytest.raises(LinkClosed):
            ada.line.send(b"too late")
        await until(lambda: ada.news[-1] is News.ENDED)

    on_moving_clock(story)


def test_a_peer_that_only_seems_deaf_ends_the_line_and_broke_no_rule() -> None:
    """Its path carries no large packets: what is asked again and again in one never comes."""

    async def story() -> None:
        ada, bob = End("ada"), End("bob")
        cable = Cable(ada, bob)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        cable.loses = lambda packet: len(packet) > 600
        ada.line.send(bytes(1000))
        for _ in range(120):
            bob.line.send(b"typing")
            await asyncio.sleep(0.5)
            if News.ENDED in ada.news:
                break
        assert News.ENDED in ada.news
        assert News.BROKEN not in ada.news

    on_moving_clock(story)


def test_a_closed_line_has_no_timer_left_and_says_goodbye() -> None:
    async def story() -> None:
        ada, bob = End("ada"), End("bob")
        cable = Cable(ada, bob)
        await until(lambda: ada.line.is_up and bob.line.is_up)
        ada.line.close()
        await until(lambda: News.ENDED in bob.news)
        assert ada.news == [News.BEGUN], "no news to whoever did it"
        sent = cable.packets
        await asyncio.sleep(600)
        assert cable.packets == sent

    on_moving_clock(story)
