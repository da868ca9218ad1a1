"""Whatever a peer seals, it is a list of items or a `BadPayload`."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.delivery.payload import (
    ITEMS_LIMIT,
    LOGS_LIMIT,
    AnyItem,
    Batch,
    Have,
    HeldRun,
    Introduction,
    Refusal,
    Reset,
    Ring,
    Sdp,
    decode_payload,
    encode_payload,
)
from overfence.errors import BadPayload
from overfence.history.event import Address
from overfence_reliability import Run

HASH = st.binary(min_size=32, max_size=32)
EIGHT = st.binary(min_size=8, max_size=8)
COUNT = st.integers(0, 2**53 - 1)
NODE = st.from_regex(r"wss?://[a-z]{1,20}(:[1-9][0-9]{0,3})?(/[a-z~]{0,9})?", fullmatch=True)
ADDRESS = st.builds(Address, NODE, st.binary(min_size=16, max_size=16), HASH)
ITEM = st.one_of(
    st.builds(
        Introduction,
        st.binary(max_size=1024),
        st.lists(ADDRESS, max_size=8).map(tuple),
        st.binary(max_size=32),
    ),
    st.builds(
        Batch, st.lists(st.tuples(st.binary(max_size=60), st.none() | st.binary(max_size=60)), max_size=5).map(tuple)
    ),
    st.builds(
        Have,
        HASH,
        st.lists(
            st.builds(
                HeldRun,
                HASH,
                EIGHT,
                COUNT,
                st.binary(max_size=32),
                st.lists(st.tuples(COUNT, COUNT), max_size=4).map(tuple),
            ),
            max_size=4,
        ).map(tuple),
        COUNT,
    ),
    st.builds(Sdp, EIGHT, st.sampled_from(["offer", "answer"]), st.text(max_size=60)),
    st.just(Ring()),
    st.builds(Refusal, st.sampled_from(["used", "expired"])),
    st.builds(Reset, EIGHT),
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=20)
    | st.builds(msgspec.msgpack.Ext, st.integers(-128, 127), st.binary(max_size=20)),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=6) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=25,
)
TAGS = st.sampled_from(["intro", "events", "have", "sdp", "ring", "refusal", "reset"])


def read(data: bytes) -> list[AnyItem] | None:
    """The items, or None for a `BadPayload`; anything else fails the test."""
    try:
        items = decode_payload(data)
    except BadPayload:
        return None
    for item in items:
        if isinstance(item, Have):
            for held in item.runs:
                try:
                    held.run()
                except BadPayload:
                    continue
    return items


@given(st.lists(ITEM, max_size=6))
def test_what_is_said_reads_back_the_same(items: list[AnyItem]) -> None:
    assert decode_payload(encode_payload(*items)) == items


@given(st.binary(max_size=300))
def test_bytes_from_anywhere(data: bytes) -> None:
    read(data)


@given(ANYTHING)
def test_messagepack_from_anywhere(value: object) -> None:
    read(msgspec.msgpack.encode(value))


@given(st.lists(st.tuples(TAGS | st.text(max_size=5), st.lists(ANYTHING, max_size=6)), max_size=4))
def test_items_with_the_right_names_and_anything_inside(items: list[tuple[str, list[object]]]) -> None:
    found = read(msgspec.msgpack.encode([[tag, *inside] for tag, inside in items]))
    if found is not None:
        assert len(found) <= len(items)


@given(st.lists(ITEM, min_size=1, max_size=4), st.data())
def test_damage_at_any_byte(items: list[AnyItem], data: st.DataObject) -> None:
    raw = bytearray(encode_payload(*items))
    at = data.draw(st.integers(0, len(raw) - 1))
    match data.draw(st.sampled_from(["change", "cut", "grow", "repeat"])):
        case "change":
            raw[at] = data.draw(st.integers(0, 255))
        case "cut":
            del raw[at:]
        case "grow":
            raw[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        case "repeat":
            raw += raw[at:]
    read(bytes(raw))


@pytest.mark.parametrize("deep", [100, 5_000, 60_000])
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1k", b"\x92\xa4poll\x91"])
def test_nesting_without_end(deep: int, opening: bytes) -> None:
    assert not read(opening * deep + b"\xc0")
    assert not read(b"\x91\x92\xa4poll" + opening * deep + b"\xc0")
    assert not read(b"\x91\x92\xa6events" + opening * deep + b"\xc0")


@pytest.mark.parametrize(
    "odd",
    [
        b"\xd6\xff\xff\xff\xff\xff",  # timestamps, the last beyond the year 9999
        b"\xc7\x0c\xff" + b"\xff" * 12,
        b"\xd7\xff" + b"\xff" * 8,
        b"\x81\x90\xc0",  # a map with a list as key, and one with a map
        b"\x81\x80\xc0",
        b"\xa2\xff\xfe",  # text that is no UTF-8
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
    ],
)
def test_values_that_have_no_python_shape(odd: bytes) -> None:
    for data in (odd, b"\x91" + odd, b"\x91\x92\xa4ring" + odd, b"\x91\x92\xa4poll" + odd, b"\x91\x92\xa4have" + odd):
        read(data)


def test_an_item_of_a_kind_not_known_yet_is_passed_over_and_the_others_hold() -> None:
    known = [msgspec.msgpack.decode(msgspec.msgpack.encode(item)) for item in (Ring(), Reset(b"12345678"))]
    mixed = msgspec.msgpack.encode([known[0], ["poll", {"a": 1}], ["", []], known[1]])
    assert decode_payload(mixed) == [Ring(), Reset(b"12345678")]


def test_a_known_item_gone_wrong_spoils_the_message() -> None:
    for bad in (
        ["reset", b"short"],
        ["sdp", b"12345678", "shout", ""],
        ["have", b"", []],
        ["events", [[b"x"]]],
        [],
        [1],
        7,
    ):
        with pytest.raises(BadPayload):
            decode_payload(msgspec.msgpack.encode([["ring"], bad]))


def test_what_would_make_us_answer_at_length_is_refused() -> None:
    with pytest.raises(BadPayload):
        decode_payload(encode_payload(*[Ring()] * (ITEMS_LIMIT + 1)))
    assert len(decode_payload(encode_payload(*[Ring()] * ITEMS_LIMIT))) == ITEMS_LIMIT
    run = HeldRun(bytes(32), bytes(8), 0, b"")
    with pytest.raises(BadPayload):
        decode_payload(encode_payload(Have(bytes(32), (run,) * (LOGS_LIMIT + 1))))


@pytest.mark.parametrize("above", [((3, 4),), ((5, 4),), ((6, 7), (7, 8)), ((6, 7), (8, 9)), ((9, 9), (6, 6))])
def test_a_run_that_contradicts_itself_is_a_bad_payload(above: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(BadPayload):
        HeldRun(bytes(32), bytes(8), 3, bytes(32), above).run()
    assert HeldRun(bytes(32), bytes(8), 3, bytes(32), ((5, 5), (7, 9))).run() == Run(3, bytes(32), ((5, 5), (7, 9)))


def test_what_is_wrong_with_a_payload_is_said_without_its_words() -> None:
    for bad in (["sdp", bytes(8), "secret words \x1b[2J", "v"], ["refusal", "secret words"]):
        with pytest.raises(BadPayload) as caught:
            decode_payload(msgspec.msgpack.encode([bad]))
        assert "secret" not in str(caught.value)
