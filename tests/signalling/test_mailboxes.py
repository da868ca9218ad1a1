"""The rules of mailboxes, without a node: addresses, days, quotas, cursors and windows."""

from __future__ import annotations

import hashlib
import os

from hypothesis import given
from hypothesis import strategies as st
from overfence_signalling import Item, NodeLimits, mailbox_address
from overfence_signalling.mailboxes import (
    Cursor,
    Full,
    Usage,
    Window,
    admit,
    day_of,
    last_day,
    resume_after,
    size_of,
    told_epoch,
)

DAY_S = 86_400


def test_an_address_is_the_hash_the_protocol_says() -> None:
    mk = os.urandom(32)
    assert mailbox_address(mk) == hashlib.blake2b(b"overfence/1 mailbox" + mk, digest_size=32).digest()[:16]


@given(st.integers(0, 4 * 10**9), st.integers(1, 30 * DAY_S))
def test_an_item_lives_its_ttl_and_less_than_a_day_more(unix_s: int, ttl_s: int) -> None:
    gone_at = (last_day(unix_s, ttl_s) + 1) * DAY_S  # the first moment whose day is past its last
    assert day_of(gone_at - 1) == last_day(unix_s, ttl_s) < day_of(gone_at)
    assert unix_s + ttl_s < gone_at <= unix_s + ttl_s + DAY_S


def test_a_put_fits_until_it_does_not() -> None:
    limits = NodeLimits(mailbox_bytes=100, mailbox_items=3)
    assert admit(Usage(2, 60), 40, node_is_full=False, limits=limits) is None
    assert admit(Usage(2, 60), 41, node_is_full=False, limits=limits) is Full.MAILBOX
    assert admit(Usage(3, 0), 0, node_is_full=False, limits=limits) is Full.MAILBOX
    assert admit(Usage(0, 0), 1, node_is_full=True, limits=limits) is Full.NODE


def test_a_cursor_counts_only_in_its_epoch_and_if_it_can_be() -> None:
    assert resume_after(Cursor(7, 5), epoch=7, head=9) == 5
    assert resume_after(Cursor(7, 9), epoch=7, head=9) == 9
    assert resume_after(Cursor(7, 10), epoch=7, head=9) == 0, "the node went back in time: start over"
    assert resume_after(Cursor(6, 5), epoch=7, head=9) == 0
    assert told_epoch(123, 1) != told_epoch(123, 2)
    assert told_epoch(2**52 - 1, 2**52 - 1) < 2**53


def item(seq: int, size_bytes: int = 10) -> Item:
    return Item(seq=seq, id=b"i" * 16, envelope=b"x" * size_bytes, day=1)


@given(st.data(), st.integers(200, 5_000))
def test_a_window_sends_each_item_once_in_order_within_its_bound(data: st.DataObject, limit_bytes: int) -> None:
    stored = [item(seq, data.draw(st.integers(0, 700))) for seq in range(1, data.draw(st.integers(1, 30)) + 1)]
    window = Window(after=0, head=len(stored), limit_bytes=limit_bytes)
    sent: list[int] = []
    acknowledged = 0
    for _ in range(200):
        while window.behind and window.fits(following := stored[window.sent_to]):
            window.sent(following)
            sent.append(following.seq)
            flying = sum(size_of(one) for one in stored[acknowledged : window.sent_to])
            assert window.in_flight_bytes == flying
            assert flying <= max(limit_bytes, size_of(following))
        if not window.behind and acknowledged == len(stored):
            break
        claimed = data.draw(st.integers(0, len(stored) + 5))
        if acknowledged < window.sent_to:
            claimed = max(claimed, acknowledged + 1)
        forget = window.acknowledge(claimed)
        assert forget is None or acknowledged < forget <= sent[-1], "only what was sent can be forgotten"
        acknowledged = forget or acknowledged
    assert sent == list(range(1, len(stored) + 1))
    assert window.in_flight_bytes == 0


def test_a_new_item_goes_past_the_store_only_if_it_is_next() -> None:
    window = Window(after=3, head=3, limit_bytes=1_000)
    assert window.follows(4) and not window.follows(5)
    window.appeared(5)
    assert window.behind
    window.nothing_until(5)
    assert not window.behind and window.follows(6)
