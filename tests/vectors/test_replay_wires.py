"""Node hellos, mailboxes, topics and packets give the vectors' bytes and errors."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from overfence.delivery.presence import Entry
from overfence.identity import L
from overfence.sealing import BadEntry, decline_message, declines, hkdf, mailbox_address, seal_entry, topic_id
from overfence_reliability import Lane, Violation
from overfence_reliability.frame import (
    DELAY_UNIT_S,
    Ack,
    Credit,
    Data,
    Finish,
    Frame,
    Goodbye,
    Hello,
    Now,
    Ping,
    decode,
    encode,
    encode_ack,
    encode_data,
    encode_number,
)
from overfence_signalling.admission import hello_is_genuine, node_hello_bytes, node_id
from overfence_signalling.messages import BadFrame, ClientHello, NodeHello, decode_client, decode_node

from .replay import Case, each, fed


@each("mailbox")
def test_mailboxes(case: Case) -> None:
    assert mailbox_address(case.raw("mk")) == case.raw("address")


@each("decline")
def test_declines(case: Case) -> None:
    key, mailbox = case.raw("key"), case.raw("mailbox")
    assert hkdf(bytes(32), key, L("decline"), 32) == case.raw("decline_key")
    assert declines(case.raw("message"), key, mailbox) is case["declines"]
    if case["declines"]:
        assert decline_message(key, mailbox) == case.raw("message")


@each("hello")
def test_hellos(case: Case) -> None:
    if "error" in case:
        assert case["error"] == BadFrame.__name__
        with pytest.raises(BadFrame):
            decode_node(case.raw("welcome"))
        return
    welcome = decode_node(case.raw("welcome"))
    assert isinstance(welcome, NodeHello)
    assert hello_is_genuine(welcome, nonce=case.raw("nonce")) is case["genuine"]
    if "hello" not in case:
        return
    hello = decode_client(case.raw("hello"))
    assert isinstance(hello, ClientHello)
    assert hello.nonce == case.raw("nonce")
    assert (welcome.node, node_id(welcome.node)) == (case.raw("node"), case.raw("node_id"))
    told = node_hello_bytes(nonce=hello.nonce, unix_s=case["unix_s"], version=case["version"], durable=case["durable"])
    assert told == case.raw("signed")


@each("topic")
def test_topics(case: Case) -> None:
    secret, topic = case.raw("secret"), case.raw("topic")
    if "date" in case:
        assert topic_id(secret, case.raw("node_id"), case["date"]) == topic
    if "entry" not in case:
        return
    if "error" in case:
        assert case["error"] == BadEntry.__name__
        with pytest.raises(BadEntry):
            read_entry(secret, topic, case.raw("entry"))
        return
    found = read_entry(secret, topic, case.raw("entry"))
    assert (found.device, found.counter, found.status) == (case.raw("DSK"), case["counter"], case["status"])
    assert msgspec.msgpack.encode(found) == case.raw("plaintext")
    assert hkdf(bytes(32), secret, L("entry") + topic, 32) == case.raw("entry_key")
    assert seal_entry(secret, topic, case.raw("plaintext"), fed({24: case.raw("nonce")})) == case.raw("entry")


def read_entry(secret: bytes, topic: bytes, raw: bytes) -> Entry:
    return Entry.open(secret, topic, raw)


@each("packet")
def test_packets(case: Case) -> None:
    if "error" in case:
        assert case["error"] == Violation.__name__
        with pytest.raises(Violation) as caught:
            decode(case.raw("packet"))
        assert caught.value.rule.name.lower() == case["rule"]
        return
    frames = [frame_of(told) for told in case["frames"]]
    assert decode(case.raw("packet")) == (case["number"], frames)
    assert encode_number(case["number"]) + b"".join(map(written, frames)) == case.raw("packet")


def frame_of(told: dict[str, Any]) -> Frame:
    match told["frame"]:
        case "HELLO":
            return Hello(told["version"], bytes.fromhex(told["me"]), bytes.fromhex(told["you"]))
        case "ACK":
            lane = Lane.FAST if told["lane"] == "fast" else Lane.BULK
            ranges = tuple((first, last) for first, last in told["ranges"])
            return Ack(lane, told["delay"] * DELAY_UNIT_S, ranges)
        case "DATA":
            body = bytes.fromhex(told["body"])
            return Data(told["stream"], told["message"], told["exactly_once"], told["offset"], told["total"], body)
        case "NOW":
            return Now(told["stream"], bytes.fromhex(told["body"]))
        case "CREDIT":
            return Credit(told["stream"], told["limit"])
        case "PING":
            return Ping()
        case "FINISH":
            return Finish(told["stream"], told["messages"])
        case "GOODBYE":
            return Goodbye(told["code"], told["reason"])
        case other:
            raise AssertionError(f"{other} is no frame")


def written(frame: Frame) -> bytes:
    if isinstance(frame, Data):
        return encode_data(frame)
    return encode_ack(frame) if isinstance(frame, Ack) else encode(frame)
