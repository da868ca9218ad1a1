"""Events, payloads and have-vectors give the vectors' bytes and errors."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from overfence.delivery.payload import Have, decode_payload, encode_payload
from overfence.errors import BadEvent, BadPayload
from overfence.history.event import (
    Addresses,
    App,
    Closed,
    Content,
    Devices,
    Event,
    Profile,
    Text,
    Topic,
    Unknown,
    body_of,
    make,
)
from overfence.identity import H, L
from overfence.sealing import direct_conversation, hkdf, hmac_sha256

from .replay import Case, each

SHAPES = {
    "text": Text,
    "profile": Profile,
    "addresses": Addresses,
    "devices": Devices,
    "topic": Topic,
    "closed": Closed,
}


def plain(value: object) -> object:
    """A record as JSON says it: fields by position, bytes as hex."""
    return hexed(msgspec.to_builtins(value, builtin_types=(bytes,)))


def hexed(value: object) -> object:
    match value:
        case bytes():
            return value.hex()
        case list() | tuple():
            return [hexed(inner) for inner in value]
        case dict():
            return {name: hexed(inner) for name, inner in value.items()}
        case _:
            return value


def bare(items: Any) -> list[list[object]]:
    """Each item without what is empty at its end: §0 leaves it to the writer."""
    found = []
    for item in items:
        kept = list(item)
        while kept and kept[-1] == "":
            kept.pop()
        found.append(kept)
    return found


@each("conversation")
def test_conversations(case: Case) -> None:
    assert direct_conversation(case.raw("AK"), case.raw("other_AK")) == case.raw("conv")


@each("event")
def test_events(case: Case) -> None:
    header_bytes, body = case.raw("header"), case.raw_or_none("body")
    if "error" in case:
        assert case["error"] == BadEvent.__name__
        with pytest.raises(BadEvent):
            Event.parse(header_bytes, body)
        return
    found = Event.parse(header_bytes, body)
    assert found.id == case.raw("id")
    if "origin" in case:
        assert found.origin == case.raw("origin")
    if "content_error" in case:
        assert case["content_error"] == BadEvent.__name__
        with pytest.raises(BadEvent):
            found.content()
    elif "content" in case:
        replay_content(case, found)


def replay_content(case: Case, found: Event) -> None:
    names = ("conv", "device", "log", "seq", "prev", "lamport", "at_ms", "kind", "expires_ms", "was", "body_hash")
    assert [hexed(getattr(found.header, name)) for name in names] == [case[name] for name in names]
    content, body = found.content(), case.raw("body")
    match content:
        case App():
            assert (content.data.hex(), case["kind"][:4]) == (case["content"], "app/")
        case Unknown():
            assert case["kind"] not in SHAPES
        case _:
            assert isinstance(content, SHAPES[case["kind"]])
            assert plain(content) == case["content"]
    if not isinstance(content, Unknown):
        remade(case, found, content)
    assert found.body == body


def remade(case: Case, found: Event, content: Content) -> None:
    body = body_of(content, case.raw("salt"))
    assert body == case.raw("body")
    assert make(found.header, body).header_bytes == case.raw("header")


@each("payload")
def test_payloads(case: Case) -> None:
    raw = case.raw("payload")
    if "error" in case:
        assert case["error"] == BadPayload.__name__
        with pytest.raises(BadPayload):
            decode_payload(raw)
        return
    items = decode_payload(raw)
    found = [plain(item) for item in items]
    assert bare(found) == bare(case["items"])
    if "read_only" not in case:
        written = encode_payload(*items)
        assert bare(hexed(msgspec.msgpack.decode(written))) == bare(case["items"])
        # A writer that knows more elements than the vector adds them, empty; any other writes the same bytes.
        assert (written == raw) is (found == case["items"])
    if "proof" in case:
        key = hkdf(bytes(32), case.raw("invite_key"), L("invite"), 32)
        assert key == case.raw("proof_key")
        assert H(case.raw("pre")) == case.raw("transcript")
        assert hmac_sha256(key, H(case.raw("pre"))) == case.raw("proof")


@each("have")
def test_haves(case: Case) -> None:
    (have,) = decode_payload(case.raw("payload"))
    assert isinstance(have, Have)
    (told,) = have.runs
    if "error" in case:
        assert case["error"] == BadPayload.__name__
        with pytest.raises(BadPayload):
            told.run()
        return
    run, of = told.run(), case["of"]
    assert [seq for first, last in run.gaps(of) for seq in range(first, last + 1)] == case["lacking"]
    assert [seq for seq in range(1, of + 1) if not run.holds(seq)] == case["lacking"]
    assert encode_payload(have) == case.raw("payload")
