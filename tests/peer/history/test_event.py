"""Events are the bytes they came in: whatever arrives is an event of ours or a `BadEvent`, never anything else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.errors import BadEvent, TooLong
from overfence.history.event import (
    ANEW_BYTES,
    EVENT_LIMIT_BYTES,
    LAMPORT_LIMIT,
    SALT_BYTES,
    App,
    Event,
    Profile,
    Text,
    Unknown,
    body_of,
    digest,
)
from overfence.history.log import extend
from overfence_reliability import Run

from .conftest import CONV, device_of, log_of, writes

[GENUINE] = writes("ada", ["over the fence"])
JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=40) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=30,
)


@given(st.text(min_size=1, max_size=300))
def test_what_is_written_reads_back_the_same(said: str) -> None:
    [event] = writes("ada", [said])
    read = Event.parse(event.header_bytes, event.body)
    assert read == event
    assert read.id == event.id
    assert read.content() == Text(said)


@given(st.binary(max_size=400), st.none() | st.binary(max_size=100))
def test_bytes_from_anywhere_are_a_bad_event(header: bytes, body: bytes | None) -> None:
    with pytest.raises(BadEvent):
        Event.parse(header, body)


@given(JSON_LIKE)
def test_well_formed_messagepack_that_is_no_header_is_a_bad_event(value: object) -> None:
    with pytest.raises(BadEvent):
        Event.parse(msgspec.msgpack.encode(value), None)


@given(st.data())
def test_a_header_with_one_field_of_another_type_or_size_is_a_bad_event(data: st.DataObject) -> None:
    fields = msgspec.msgpack.decode(GENUINE.header_bytes, type=list[object])
    at = data.draw(st.sampled_from([0, 1, 2, 3, 4, 5, 7]))
    fields[at] = data.draw(st.sampled_from([None, -1, 0, 2**63, 1.5, "", "x" * 65, b"", bytes(31), bytes(33), [], {}]))
    if (at, fields[at]) == (7, "x" * 65) or fields[at] != 0 or at != 3:
        with pytest.raises(BadEvent):
            Event.parse(msgspec.msgpack.encode(fields), None)


@given(st.integers(0, 8 * len(GENUINE.header_bytes) - 1))
def test_a_flipped_bit_makes_another_event_or_none(bit: int) -> None:
    raw = bytearray(GENUINE.header_bytes)
    raw[bit // 8] ^= 1 << bit % 8
    try:
        other = Event.parse(bytes(raw), None)
    except BadEvent:
        return
    assert other.id != GENUINE.id


def test_a_body_that_is_not_the_one_named_is_a_bad_event() -> None:
    assert GENUINE.body is not None
    for body in (GENUINE.body + b"x", GENUINE.body[:-1], b"", bytes(SALT_BYTES)):
        with pytest.raises(BadEvent):
            Event.parse(GENUINE.header_bytes, body)


@pytest.mark.parametrize("kind", ["text", "profile", "addresses", "devices", "topic"])
@given(inside=st.binary(max_size=80) | JSON_LIKE.map(msgspec.msgpack.encode))
def test_a_body_of_a_known_kind_is_what_it_calls_for_or_a_bad_event(kind: str, inside: bytes) -> None:
    body = bytes(SALT_BYTES) + inside
    header = msgspec.structs.replace(GENUINE.header, kind=kind, body_hash=digest(body))
    event = Event.parse(msgspec.msgpack.encode(header), body)
    try:
        content = event.content()
    except BadEvent:
        return
    assert type(content).__name__.lower() == kind


def test_a_kind_not_known_here_is_kept_and_says_so() -> None:
    body = body_of(Profile("Ada"), bytes(SALT_BYTES))
    for kind, meaning in (("poll", Unknown()), ("app/board", App(body[SALT_BYTES:]))):
        header = msgspec.structs.replace(GENUINE.header, kind=kind, body_hash=digest(body))
        assert Event.parse(msgspec.msgpack.encode(header), body).content() == meaning


def test_an_event_of_sixteen_kibibytes_is_the_longest() -> None:
    def event(length: int) -> Event:
        return extend(
            Run(),
            conv=CONV,
            device=device_of("ada"),
            log=log_of("ada"),
            lamport=LAMPORT_LIMIT,
            at_ms=2**53 - 1,
            kind="app/blob",
            content=App(bytes(length)),
            salt=bytes(SALT_BYTES),
        )

    small = event(1)
    room = EVENT_LIMIT_BYTES - ANEW_BYTES - len(small.header_bytes) - SALT_BYTES
    longest = event(room)
    assert Event.parse(longest.header_bytes, longest.body) == longest
    with pytest.raises(TooLong) as caught:
        event(room + 1)
    limit_bytes = EVENT_LIMIT_BYTES - ANEW_BYTES  # what saying it anew would add
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (limit_bytes + 1, limit_bytes)
    with pytest.raises(BadEvent):
        Event.parse(longest.header_bytes, (longest.body or b"") + b"x")
