"""Every decoder of bytes from outside: what it may raise, what must hold of what it returns, and real values for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from struct import pack_into

from aiortc.rtcsctptransport import parse_packet
from google_crc32c import value as crc32c
from msgspec.structs import replace
from overfence.connect.errors import BadSdp
from overfence.connect.guard import read_packet
from overfence.connect.sdp import Description
from overfence.delivery.payload import Have, Sdp, decode_payload, encode_payload
from overfence.errors import BadEvent, BadPayload, SafetyMismatch
from overfence.history.event import Event
from overfence.identity import (
    BadDeviceList,
    BadInvite,
    BadVerifyCode,
    DeviceList,
    Identity,
    Invite,
    check_shown,
    read_verify_code,
    verify_code,
)
from overfence.sealing import BadCard, MalformedMessage, Pre
from overfence.sealing.card import Prekeys
from overfence.sealing.ratchet import Header
from overfence_reliability import Violation
from overfence_reliability.frame import FRAMES_LIMIT, decode
from overfence_signalling.messages import BadFrame, Frame, decode_client, decode_node, encode

from . import sealed
from .sealed import KEY, MAILBOX, require
from .stateful import converse

CORPUS = Path(__file__).parent / "corpus"
__all__ = ["CORPUS", "KEY", "MAILBOX", "ME", "TARGETS", "Target"]

ME = Identity.create(lambda size: bytes(range(7, 7 + size)))


@dataclass(frozen=True)
class Target:
    """One decoder: ``run`` raises only for what must never happen."""

    name: str
    run: Callable[[bytes], None]
    words: tuple[bytes, ...] = ()
    limit: int = 4096

    def corpus(self) -> list[bytes]:
        """What is committed, in the order of its names."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).glob("*"))]


def frame(data: bytes) -> None:
    try:
        number, frames = decode(data)
    except Violation:
        return
    require(0 <= number < 2**48 and 1 <= len(frames) <= FRAMES_LIMIT, "a packet out of bounds")


def guard(data: bytes) -> None:
    packet = bytearray(data.ljust(12, b"\0"))
    pack_into("<L", packet, 8, crc32c(bytes(packet[:8]) + bytes(4) + bytes(packet[12:])))
    spans = read_packet(bytes(packet))
    if spans is not None:
        require(all(12 < begin <= end <= len(packet) for _, _, begin, end in spans), "a chunk out of bounds")
        parse_packet(bytes(packet))


def shown(data: bytes) -> None:
    """What somebody showed for comparison: a code, digits, or anything."""
    text = data.decode("utf-8", "replace")
    try:
        found = read_verify_code(text)
        require(read_verify_code(verify_code(*found)) == found, "a code that does not read back")
    except BadVerifyCode:
        pass
    try:
        check_shown(text, ME.account, bytes(32))
    except (BadVerifyCode, SafetyMismatch):
        return
    require(False, "verified by chance")


def sdp(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for kind in ("offer", "answer"):
        try:
            found = Description.parse(text, "offer" if kind == "offer" else "answer")
        except BadSdp:
            continue
        require(Description.parse(str(found), found.kind) == found, "a description that does not read back")


def payload(data: bytes) -> None:
    try:
        items = decode_payload(data)
        for item in items:
            if isinstance(item, Have):
                for run in item.runs:
                    run.run()
            elif isinstance(item, Sdp):
                sdp(item.text.encode("utf-8", "replace"))
    except BadPayload:
        return
    require(decode_payload(encode_payload(*items)) == items, "a payload that does not read back")


def message(data: bytes) -> None:
    try:
        before = Pre.peek(data)
        header = Header.parse(data if before is None else data[len(before.raw) :])
    except MalformedMessage:
        return
    require((header.encode() in data) and (before is None or data.startswith(before.raw)), "a header made up")


def devices(data: bytes) -> None:
    """Signed by the account it names, so that what follows the signature is reached."""
    body = data[:1] + ME.account + data[33:]
    for raw in (data, body + ME.sign_account("devices", body)):
        try:
            found = DeviceList.parse(raw)
        except BadDeviceList:
            continue
        require(found.raw == raw and 1 <= len(found.devices) <= 5, "a device list out of bounds")


def card(data: bytes) -> None:
    sealed.sealed_card(data)
    body = data[:1] + ME.dsk + data[33:]
    for raw in (data, body + ME.sign_device("prekeys", body)):
        try:
            found = Prekeys.parse(raw)
        except BadCard:
            continue
        require(found.raw == raw and len(found.kpk) == 1184, "prekeys out of bounds")


def invite(data: bytes) -> None:
    try:
        found = Invite.parse(data.decode("utf-8", "replace"))
    except BadInvite:
        return
    require(Invite.parse(str(found)) == found, "an invite that does not read back")


def event(data: bytes) -> None:
    """A header, with the rest as its body; then what a body of each kind may hold."""
    size = int.from_bytes(data[:2], "big")
    for body in (None, data[2 + size :]):
        try:
            found = Event.parse(data[2 : 2 + size], body)
        except BadEvent:
            continue
        for kind in ("text", "profile", "addresses", "devices", "topic", "app/x", found.header.kind):
            try:
                Event(replace(found.header, kind=kind), found.header_bytes, data[2 + size :].rjust(16, b"\0")).content()
            except BadEvent:
                continue


def client_frame(data: bytes) -> None:
    _signalling(decode_client, data)


def node_frame(data: bytes) -> None:
    _signalling(decode_node, data)


def _signalling(read: Callable[[bytes], Frame], data: bytes) -> None:
    try:
        found = encode(read(data))
    except BadFrame:
        return
    # Compared as bytes: a number that is none differs from itself.
    require(encode(read(found)) == found, "a frame that does not read back")


TARGETS = {
    target.name: target
    for target in (
        Target("frame", frame, limit=1300),
        Target("connection", converse, limit=500),
        Target("guard", guard, limit=1500),
        Target(
            "sdp", sdp, (b"a=candidate:", b" typ host", b"\r\n", b"m=application ", b" tcp ", b"::1", b"a=mid:0"), 6000
        ),
        Target(
            "payload",
            payload,
            (b"\x93", b"\xa4have", b"\xa3sdp", b"\xc4\x20", b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff"),
        ),
        Target("message", message, (b"\x01\x02", b"\x01\x01")),
        Target("devices", devices),
        Target("card", card),
        Target("envelope", sealed.envelope),
        Target("handshake", sealed.first, (b"\x91\x91", b"\xa5intro", b"\x01\x02", b"\xff" * 8)),
        Target("sessions", sealed.later, (b"\x01\x01", b"\xff" * 4, bytes(32))),
        Target("stored", sealed.stored, (b"overfence identity\n\x01\x01", b"\x96\x01", b"\x9e", b"\xc4\x20")),
        Target("entry", sealed.entry, (b"\x93\xc4\x20", b"\xa4here", b"\x91" * 16), 1024),
        Target("have", sealed.have, (b"\x95\xc4\x20", b"\xc4\x08", b"\xdc\x00\x21", b"\xcf\x00\x1f")),
        Target("hello", sealed.hello, (b"\xa1t\xa7welcome", b"\xa6limits", b"\xc4\x40", b"\x01\x01", bytes(8)), 1300),
        Target(
            "invite", invite, (b"overfence:", b"https://a/#", b"ws://", b"%3A", b"=\r\n> ", b"[::1]", b"\xe2\x80\x8b")
        ),
        Target("shown", shown, (b"overfence-verify:", b"%3A", b"=\r\n> ", b"12345 67890", b"\xe2\x80\x8b")),
        Target("event", event, (b"\xa4text", b"\xc4\x20", b"\x9b", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff")),
        Target("client_frame", client_frame, (b"\xa1t", b"\xa3put", b"\xc4\x10", b"\x81", b"\xdf\xff\xff\xff\xff")),
        Target("node_frame", node_frame, (b"\xa1t", b"\xa5items", b"\xc4\x10", b"\x81", b"\xdf\xff\xff\xff\xff")),
    )
}
