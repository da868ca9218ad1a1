"""What happens within one turn of the loop: new items and a newer follower at once."""

from __future__ import annotations

from overfence_signalling import Code, Fenced, Frame, Item, Items, NodeLimits
from overfence_signalling.delivery import Delivery
from overfence_signalling.store import Followed, Store

BOX = b"m" * 16


class Reader:
    """A connection that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Frame] = []
        self.promised_bytes = 0
        self.easy = True

    def say(self, frame: Frame) -> None:
        self.told.append(frame)

    def promise(self, size_bytes: int) -> None:
        self.promised_bytes += size_bytes

    def fail(self, code: Code, text: str, *, retry_after_s: float | None = None) -> None:
        raise AssertionError(code)


def item(seq: int) -> Item:
    return Item(seq=seq, id=b"i" * 16, envelope=b"x" * 20_000, day=1)


async def test_what_came_before_a_fence_is_said_before_it_and_nothing_after() -> None:
    store = await Store.open(None, NodeLimits())
    delivery = Delivery(store, NodeLimits())
    old, new = Reader(), Reader()
    delivery.follow(old, BOX, Followed(epoch=7, head=0, after=0))
    for seq in (1, 2, 3):
        delivery.stored(BOX, item(seq))
    assert old.promised_bytes > 60_000
    delivery.follow(new, BOX, Followed(epoch=7, head=3, after=3))
    delivery.stored(BOX, item(4))
    await store.answers()
    assert [[one.seq for one in page.items] for page in old.told if isinstance(page, Items)] == [[1], [2], [3]]
    assert old.told[-1] == Fenced(mailbox=BOX)
    assert [[one.seq for one in page.items] for page in new.told if isinstance(page, Items)] == [[4]]
    assert old.promised_bytes == new.promised_bytes == 0
    await store.close()
