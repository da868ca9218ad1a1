"""Events: the immutable things people and devices say, and their bytes (docs/protocol.md §6.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Annotated

import msgspec

from ..errors import BadEvent, TooLong
from ..identity import is_node

# One event, header and body. Bounds what a single line of chat can make every recipient store and index.
EVENT_LIMIT_BYTES = 16 * 1024
# What a copy's header may be longer: what it stands for, and a higher number.
ANEW_BYTES = 64
SALT_BYTES = 16
NO_ID = bytes(32)
# A lamport clock beyond this would let one forged event exhaust the range for everyone.
LAMPORT_LIMIT = 2**48

# Kinds that say something about an account; people see what comes of them, not them.
FACTS = ("profile", "addresses", "devices", "topic", "closed")
FACTS_SQL = f"({', '.join(repr(kind) for kind in FACTS)})"

Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
LogName = Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
# log[8] ‖ seq u64 ‖ id[32]: where something was said first, and as what.
Origin = Annotated[bytes, msgspec.Meta(min_length=48, max_length=48)]
Kind = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Header(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """§6.1 Everything about an event but its body; the event's id is the hash of these bytes."""

    conv: Hash
    device: Hash
    log: LogName
    seq: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    prev: Hash
    lamport: Annotated[int, msgspec.Meta(ge=1, le=LAMPORT_LIMIT)]
    at_ms: Count
    kind: Kind
    expires_ms: Count | None = None
    was: Origin | None = None
    body_hash: Hash


class Text(msgspec.Struct, frozen=True):
    """Kind ``text``: something a person said."""

    text: Annotated[str, msgspec.Meta(min_length=1)]


class Profile(msgspec.Struct, frozen=True):
    """Kind ``profile``: what the author wants to be called."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Address(msgspec.Struct, frozen=True, array_like=True):
    """§1 Where one device takes envelopes from one contact: a mailbox at a node, and the key they are sealed for."""

    node: Annotated[str, msgspec.Meta(max_length=200, pattern=r"^wss?://[!-~]+\Z")]
    mailbox: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    key: Hash

    @property
    def is_sound(self) -> bool:
        """Whether it names a node and nothing else: a query, say, would speak to any web server we can reach."""
        return is_node(self.node)


class Addresses(msgspec.Struct, frozen=True):
    """Kind ``addresses``: where the author device can be written to; replaces what it said before."""

    addresses: Annotated[tuple[Address, ...], msgspec.Meta(max_length=8)]


class Devices(msgspec.Struct, frozen=True):
    """Kind ``devices``: the author account's signed device list (§1)."""

    device_list: Annotated[bytes, msgspec.Meta(max_length=1024)]


class Closed(msgspec.Struct, frozen=True):
    """Kind ``closed``: the author device's logs that forked, and up to where each is compared (§6.2)."""

    logs: Annotated[tuple[tuple[LogName, Count], ...], msgspec.Meta(max_length=64)]


class Topic(msgspec.Struct, frozen=True):
    """Kind ``topic``: a secret under which the two of us meet (§4.3); the last by order holds."""

    secret: Hash


class App(msgspec.Struct, frozen=True):
    """Kind ``app/…``: an embedder's own bytes."""

    data: bytes


class Unknown(msgspec.Struct, frozen=True):
    """A kind this version does not know: kept, and shown as needing a newer one."""


Fact = Profile | Addresses | Devices | Closed | Topic
Content = Text | Fact | App | Unknown

_KINDS: dict[str, msgspec.msgpack.Decoder[Text | Fact]] = {
    "text": msgspec.msgpack.Decoder(Text),
    "profile": msgspec.msgpack.Decoder(Profile),
    "addresses": msgspec.msgpack.Decoder(Addresses),
    "devices": msgspec.msgpack.Decoder(Devices),
    "closed": msgspec.msgpack.Decoder(Closed),
    "topic": msgspec.msgpack.Decoder(Topic),
}
_encoder = msgspec.msgpack.Encoder()
_header_decoder = msgspec.msgpack.Decoder(Header)


@dataclass(frozen=True)
class Event:
    """A header, the exact bytes it came in, and its body (None where only the header is known)."""

    header: Header
    header_bytes: bytes
    body: bytes | None

    @cached_property
    def id(self) -> bytes:
        """The hash of the header bytes."""
        return digest(self.header_bytes)

    @property
    def origin(self) -> bytes:
        """Where what it says was said first, and as what: here, or before a fork (§6.2). 48 bytes: log, number, id."""
        return self.header.was or self.header.log + self.header.seq.to_bytes(8, "big") + self.id

    @property
    def first_id(self) -> bytes:
        """Its id, or that of the event it stands for after a fork: what it is known by."""
        return self.origin[-32:]

    @classmethod
    def parse(cls, header_bytes: bytes, body: bytes | None) -> Event:
        """The event in these bytes; `BadEvent` if they are none, or the body isn't the one the header names."""
        if len(header_bytes) + len(body or b"") > EVENT_LIMIT_BYTES:
            raise BadEvent(f"an event of {len(header_bytes) + len(body or b''):,} bytes")
        try:
            header = _header_decoder.decode(header_bytes)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadEvent(f"no event header: {type(error).__name__}") from None
        if body is not None and (len(body) < SALT_BYTES or digest(body) != header.body_hash):
            raise BadEvent("the body isn't the one its header names")
        return cls(header, header_bytes, body)

    def content(self) -> Content:
        """What the body says; `BadEvent` where it isn't what its kind calls for."""
        kind = self.header.kind
        if self.body is None:
            return Unknown()
        if kind.startswith("app/"):
            return App(self.body[SALT_BYTES:])
        shape = _KINDS.get(kind)
        if shape is None:
            return Unknown()
        try:
            content = shape.decode(self.body[SALT_BYTES:])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadEvent(f"a body that isn't what its kind calls for: {type(error).__name__}") from None
        if isinstance(content, Addresses) and not all(address.is_sound for address in content.addresses):
            raise BadEvent("an address that is no node's")
        return content


def digest(data: bytes) -> bytes:
    """BLAKE2b-256."""
    return blake2b(data, digest_size=32).digest()


def kind_of(content: Text | Fact) -> str:
    """The kind a content of ours is sent under."""
    return type(content).__name__.lower()


def body_of(content: Content, salt: bytes) -> bytes:
    """A body: 16 random bytes, then the content."""
    if isinstance(content, App):
        return salt + content.data
    return salt + _encoder.encode(content)


def make(header: Header, body: bytes) -> Event:
    """A new event of ours; `TooLong` past 16 KiB, less what saying it anew after a fork would add."""
    header_bytes = _encoder.encode(header)
    limit_bytes = EVENT_LIMIT_BYTES - (ANEW_BYTES if header.was is None else 0)
    if (size := len(header_bytes) + len(body)) > limit_bytes:
        raise TooLong(size, limit_bytes)
    return Event(header, header_bytes, body)
