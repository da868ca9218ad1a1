"""Bytes from strangers: a frame, or `BadFrame`; never anything else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence_signalling import (
    CARD_LIMIT_BYTES,
    ENTRY_LIMIT_BYTES,
    ENVELOPE_LIMIT_BYTES,
    FRAME_LIMIT_BYTES,
    TTL_LIMIT_S,
    Accepted,
    Ack,
    BadFrame,
    CardGet,
    CardSet,
    ClientFrame,
    ClientHello,
    Close,
    Enter,
    Error,
    Item,
    Items,
    Leave,
    Open,
    Put,
    decode_client,
    decode_node,
    encode,
)

numbers = st.integers(0, 2**53 - 1)
key = st.binary(min_size=32, max_size=32)
half = st.binary(min_size=16, max_size=16)
frames: st.SearchStrategy[ClientFrame] = st.one_of(
    st.builds(ClientHello, version=numbers, nonce=key, features=st.lists(st.text(max_size=8), max_size=4).map(tuple)),
    st.builds(Open, ref=numbers, mk=key, epoch=numbers, seq=numbers),
    st.builds(Ack, mailbox=half, epoch=numbers, seq=numbers),
    st.builds(
        Put,
        ref=numbers,
        mailbox=half,
        id=half,
        envelope=st.binary(max_size=600),
        ttl_s=st.integers(0, TTL_LIMIT_S),
    ),
    st.builds(CardSet, ref=numbers, mk=key, card=st.binary(max_size=600)),
    st.builds(CardGet, ref=numbers, mailbox=half),
    st.builds(Close, ref=numbers, mk=key),
    st.builds(Enter, ref=numbers, topic=key, entry=st.binary(max_size=ENTRY_LIMIT_BYTES)),
    st.builds(Leave, topic=key),
)


@given(frames)
def test_every_frame_survives_the_wire(frame: ClientFrame) -> None:
    assert decode_client(encode(frame)) == frame


@given(st.binary(max_size=2_000))
def test_any_bytes_are_a_frame_or_bad(data: bytes) -> None:
    for decode in (decode_client, decode_node):
        try:
            decode(data)
        except BadFrame as bad:
            assert bad.code in ("malformed", "unknown_type")


@given(frames, st.data())
def test_a_mutated_frame_is_a_frame_or_bad(frame: ClientFrame, data: st.DataObject) -> None:
    raw = bytearray(encode(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for mutant in (bytes(raw), bytes(raw[:cut])):
        try:
            got = decode_client(mutant)
        except BadFrame:
            continue
        assert decode_client(encode(got)) == got


@given(st.recursive(st.none() | st.integers(-(2**31), 2**31) | st.binary() | st.text(), lambda inner: st.lists(inner)))
def test_a_frame_of_another_shape_is_bad(value: object) -> None:
    with pytest.raises(BadFrame):
        decode_client(msgspec.msgpack.encode(value))
    with pytest.raises(BadFrame):
        decode_client(msgspec.msgpack.encode({"t": value if value != "leave" else 0, "topic": b"x" * 32}))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"t": "no.such"}, "unknown_type"),
        ({}, "malformed"),
        ({"t": 7}, "malformed"),
        ({"t": "welcome"}, "unknown_type"),
        ({"t": "leave", "topic": b"x" * 31}, "malformed"),
        ({"t": "leave", "topic": "x" * 32}, "malformed"),
        ({"t": "open", "ref": 2**53, "mk": b"x" * 32}, "malformed"),
        ({"t": "open", "ref": -1, "mk": b"x" * 32}, "malformed"),
        ({"t": "open", "ref": 1.5, "mk": b"x" * 32}, "malformed"),
        ({"t": "open", "mk": b"x" * 32}, "malformed"),
        (
            {"t": "put", "ref": 1, "mailbox": b"x" * 16, "id": b"x" * 16, "envelope": b"", "ttl_s": TTL_LIMIT_S + 1},
            "malformed",
        ),
        (
            {
                "t": "put",
                "ref": 1,
                "mailbox": b"x" * 16,
                "id": b"x" * 16,
                "envelope": b"x" * (ENVELOPE_LIMIT_BYTES + 1),
            },
            "malformed",
        ),
        ({"t": "card.set", "ref": 1, "mk": b"x" * 32, "card": b"x" * (CARD_LIMIT_BYTES + 1)}, "malformed"),
        ({"t": "enter", "ref": 1, "topic": b"x" * 32, "entry": b"x" * (ENTRY_LIMIT_BYTES + 1)}, "malformed"),
    ],
)
def test_each_bound_has_its_refusal(fields: dict[str, object], code: str) -> None:
    with pytest.raises(BadFrame) as caught:
        decode_client(msgspec.msgpack.encode(fields))
    assert caught.value.code == code


def test_unknown_fields_are_ignored() -> None:
    raw = msgspec.msgpack.encode({"t": "leave", "topic": b"x" * 32, "later": [1, {"a": None}]})
    assert decode_client(raw) == Leave(topic=b"x" * 32)


def test_a_frame_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadFrame) as caught:
        decode_client(b"\xc1" * (FRAME_LIMIT_BYTES + 1))
    assert caught.value.code == "too_large"


def test_nesting_without_end_is_bad_and_no_crash() -> None:
    with pytest.raises(BadFrame):
        decode_client(b"\x81\xa1z" + b"\x91" * 60_000)


def test_the_largest_envelope_fits_its_frames() -> None:
    envelope = b"x" * ENVELOPE_LIMIT_BYTES
    most = 2**53 - 1
    put = encode(Put(ref=most, mailbox=b"m" * 16, id=b"i" * 16, envelope=envelope, ttl_s=1))
    item = Item(seq=most, id=b"i" * 16, envelope=envelope, day=most)
    items = encode(Items(mailbox=b"m" * 16, epoch=most, items=(item,)))
    assert max(len(put), len(items)) <= FRAME_LIMIT_BYTES
    assert decode_client(put) and decode_node(items)


def test_answers_survive_the_wire() -> None:
    for frame in (
        Accepted(ref=1, state="held", durable=False),
        Error(code="mailbox_full", text="full", ref=3, retry_after_s=1.5),
    ):
        assert decode_node(encode(frame)) == frame
