"""One device's supply of one log in a world that loses things, on a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from overfence.delivery.sync import AHEAD_LIMIT_MESSAGES, OFFER_AGAIN_S, LogKey, Progress, Supply
from overfence_reliability import Run, ranges


@dataclass(frozen=True)
class Sent:
    """One sealed message on its way: the numbers in it."""

    first: int
    last: int


class World:
    """I write a log; the other takes it by a link that dies and by mailboxes that forget, and says what it holds."""

    def __init__(self, *, batch: int = 3) -> None:
        self.batch = batch
        self.now = 100.0
        self.end = 0
        self.held: set[int] = set()
        self.told = Run()  # as the database has it
        self.puts: list[Sent] = []  # as the database has them, until covered
        self.mailbox: list[Sent] = []
        self.link: list[Sent] | None = None
        self.haves: list[Run] = []
        self.progress = Progress(Run())
        self.ever_sent = 0

    def write(self, count: int) -> None:
        self.end += count

    def pump(self) -> None:
        while (lacking := self.progress.lacks(self.end)) is not None:
            first, last = lacking[0], min(lacking[1], lacking[0] + self.batch - 1)
            assert 1 <= first <= last <= self.end
            told = self.progress.held
            assert not any(told.holds(number) for number in range(first, last + 1)), "confirmed, and sent again"
            self.progress.send(last, now=self.now, again=self.link is not None)
            message = Sent(first, last)
            if self.link is not None:
                self.link.append(message)
            else:
                self.puts.append(message)
                self.mailbox.append(message)
                assert len(self.puts) <= AHEAD_LIMIT_MESSAGES
            self.ever_sent += 1

    def holds(self) -> Run:
        end = next(number for number in range(self.end + 1) if number + 1 not in self.held)
        return Run(end, bytes(32), ranges(sorted(number for number in self.held if number > end)))

    def take(self, message: Sent) -> None:
        self.held |= set(range(message.first, message.last + 1))
        self.haves.append(self.holds())

    def hear(self, run: Run) -> None:
        before = self.progress.held.end
        assert self.progress.told(run, now=self.now) == (run.end > before)
        assert self.progress.held.end == max(before, run.end), "a tick never goes back"
        if run.end > self.told.end:
            self.told = Run(run.end, run.tip)
            self.puts = [put for put in self.puts if put.last > run.end]

    def reload(self) -> None:
        """As after a restart, or the loss of a path: only what is stored is known."""
        self.progress = Progress(self.told, on_the_way=[put.last for put in self.puts])

    def open_link(self) -> None:
        if self.link is None:
            self.link = []
            self.hear(self.holds())
            self.progress.lost_path()

    def cut_link(self) -> None:
        if self.link is not None:
            self.link = None
            self.reload()

    def lapse(self, place: int) -> None:
        """A mailbox lost an envelope: its node says it is gone, and what was in it was never confirmed."""
        if self.puts:
            put = self.puts.pop(place % len(self.puts))
            self.mailbox = [message for message in self.mailbox if message is not put]
            self.reload()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        timer = self.progress.next_timer()
        due = timer is not None and timer <= self.now
        assert self.progress.poll(now=self.now) is due
        assert not self.progress.poll(now=self.now), "asked twice, due once"

    def step(self, move: str, size: int) -> None:
        match move:
            case "write":
                self.write(size % 9)
            case "pump":
                self.pump()
            case "open":
                self.open_link()
            case "cut":
                self.cut_link()
            case "arrive":
                queue = self.mailbox if self.link is None else self.link
                if queue:
                    # A link keeps its order; mailboxes of several nodes do not.
                    self.take(queue.pop(size % len(queue) if self.link is None else 0))
            case "lose":
                if self.link:
                    self.link.pop(0)
            case "hear":
                if self.haves:
                    self.hear(self.haves[size % len(self.haves)])
            case "forget haves":
                self.haves.clear()
            case "lapse":
                self.lapse(size)
            case "restart":
                self.link = None
                self.reload()
            case "wait":
                self.pass_time(size / 10)

    def settle(self) -> None:
        """From now on nothing is lost."""
        for _ in range(40 + 2 * self.end):
            self.pump()
            queue = self.mailbox if self.link is None else self.link
            if queue:
                while queue:
                    self.take(queue.pop(0))
            elif self.link is None and self.puts:
                self.lapse(0)
            self.hear(self.holds())
            self.pass_time(OFFER_AGAIN_S)
            if self.progress.held.end == self.end and self.progress.lacks(self.end) is None:
                return
        raise AssertionError(f"{self.progress.held.end} of {self.end} confirmed")


MOVES = ["write", "pump", "pump", "open", "cut", "arrive", "arrive", "arrive", "lose", "hear", "hear"]
MOVES += ["forget haves", "lapse", "restart", "wait"]


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 120)), min_size=20, max_size=60), st.integers(1, 5))
def test_everything_is_confirmed_in_the_end_and_nothing_confirmed_is_sent(
    moves: list[tuple[str, int]], batch: int
) -> None:
    world = World(batch=batch)
    for move, size in moves:
        world.step(move, size)
        assert world.progress.held.end <= world.end
        assert world.progress.sent <= world.end
        assert len(world.puts) <= AHEAD_LIMIT_MESSAGES
    world.write(2)
    world.settle()
    assert world.held == set(range(1, world.end + 1))
    world.pump()
    assert world.progress.next_timer() is None, "nothing is left to ask after"


def test_a_device_that_is_away_gets_a_thousand_messages_and_the_rest_waits_unsealed() -> None:
    world = World(batch=1)
    world.write(5000)
    world.pump()
    assert len(world.mailbox) == AHEAD_LIMIT_MESSAGES
    world.reload()
    world.pump()
    assert len(world.mailbox) == AHEAD_LIMIT_MESSAGES, "a restart is no confirmation"


def test_each_confirmation_makes_room_for_what_it_confirmed_and_no_more() -> None:
    """A device that confirms one message at a time never has more than the limit before it."""
    world = World(batch=1)
    world.write(3000)
    for confirmed in range(1, 200):
        world.pump()
        assert len(world.puts) == AHEAD_LIMIT_MESSAGES
        world.take(world.mailbox.pop(0))
        world.hear(world.holds())
        assert world.told.end == confirmed
        if confirmed % 50 == 0:
            world.reload()


def test_what_a_link_does_not_confirm_is_offered_again_after_ten_seconds_and_not_before() -> None:
    world = World()
    world.open_link()
    world.write(6)
    world.pump()
    assert world.link is not None
    world.link.clear()
    world.pass_time(OFFER_AGAIN_S - 0.1)
    world.pump()
    assert world.ever_sent == 2
    world.pass_time(0.1)
    world.pump()
    assert world.ever_sent == 4
    assert world.link == [Sent(1, 3), Sent(4, 6)]


def test_progress_on_a_link_puts_the_question_off() -> None:
    world = World()
    world.open_link()
    world.write(6)
    world.pump()
    assert world.link is not None
    world.pass_time(OFFER_AGAIN_S - 1)
    world.take(world.link.pop(0))
    world.hear(world.holds())
    world.pass_time(OFFER_AGAIN_S - 1)
    world.pump()
    assert world.ever_sent == 2


def test_a_mailbox_is_not_offered_the_same_again() -> None:
    world = World()
    world.write(6)
    world.pump()
    world.pass_time(3600)
    world.pump()
    assert world.mailbox == [Sent(1, 3), Sent(4, 6)]


def test_only_the_gap_is_sent() -> None:
    world = World(batch=100)
    world.write(10_000)
    world.held = set(range(1, 10_001)) - {4711}
    world.open_link()
    world.pump()
    assert world.link == [Sent(4711, 4711)]


KEYS = [LogKey(bytes(32), bytes(32), bytes(7) + bytes((name,))) for name in range(3)]


@given(
    st.lists(st.integers(0, 900), min_size=3, max_size=3),
    st.lists(st.tuples(st.sampled_from(["send", "send", "tell", "lose"]), st.integers(0, 2), st.integers(1, 900))),
)
def test_several_logs_share_the_room_and_each_is_sent_in_its_order(
    ends: list[int], moves: list[tuple[str, int, int]]
) -> None:
    supply, logs = Supply({}), list(zip(KEYS, ends, strict=True))
    next_of, under_way = dict.fromkeys(KEYS, 1), dict.fromkeys(KEYS, 0)
    for move, which, size in moves:
        key, end = logs[which]
        if move == "send" and (lacking := supply.lacks(logs)) is not None:
            lacked, first, last = lacking
            assert first == next_of[lacked], "the next of its log"
            assert all(next_of[earlier] > its_end for earlier, its_end in logs[: KEYS.index(lacked)]), "log by log"
            for number in range(first, min(last, first + size) + 1):
                if sum(under_way.values()) < AHEAD_LIMIT_MESSAGES:
                    supply.send(lacked, number, now=0.0, again=False)
                    next_of[lacked], under_way[lacked] = number + 1, under_way[lacked] + 1
        elif move == "tell":
            told = min(size, next_of[key] - 1, end)
            if told > supply.held(key).end:
                supply.told(key, Run(told, bytes(32)), now=0.0)
                under_way[key] = next_of[key] - 1 - told
        elif move == "lose":
            supply.lost_path()
            for other in KEYS:
                next_of[other], under_way[other] = supply.held(other).end + 1, 0
        assert sum(under_way.values()) <= AHEAD_LIMIT_MESSAGES
        if sum(under_way.values()) >= AHEAD_LIMIT_MESSAGES:
            assert supply.lacks(logs) is None, "whichever log they are of"
