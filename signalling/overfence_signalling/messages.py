"""What clients and nodes say to each other: every record of docs/protocol.md §4, and its MessagePack form.

Each frame is one MessagePack map whose ``t`` names its type. Unknown fields are ignored; an unknown
type, a wrong type or a value out of bounds is `BadFrame`. Byte strings have the lengths noted below.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec

SUBPROTOCOL = "overfence.1"
VERSION = 1

# A frame longer than this is refused unread: one peer's message never makes a node, or a client, hold more.
FRAME_LIMIT_BYTES = 64 * 1024
# What is left for an envelope once its frame's other fields are counted.
ENVELOPE_LIMIT_BYTES = 60 * 1024
CARD_LIMIT_BYTES = 8 * 1024
ENTRY_LIMIT_BYTES = 1024
TTL_LIMIT_S = 30 * 24 * 3600
# What a refusal quotes of a bad frame, which may be one long word.
TEXT_LIMIT = 200

Integer = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
MailboxAddress = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
PutId = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
TopicId = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
EntryBytes = Annotated[bytes, msgspec.Meta(max_length=ENTRY_LIMIT_BYTES)]
CardBytes = Annotated[bytes, msgspec.Meta(max_length=CARD_LIMIT_BYTES)]
EnvelopeBytes = Annotated[bytes, msgspec.Meta(max_length=ENVELOPE_LIMIT_BYTES)]
Feature = Annotated[str, msgspec.Meta(max_length=32)]
Features = Annotated[tuple[Feature, ...], msgspec.Meta(max_length=32)]


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", omit_defaults=True):
    """One frame on the wire; its subclasses are the whole vocabulary."""


# ── what a client says ────────────────────────────────────────────────────────────────────────────


class ClientHello(Frame, frozen=True, kw_only=True, tag="hello"):
    """§4.1 The first frame of a client; ``nonce`` is fresh, and what the node signs."""

    version: Integer
    features: Features = ()
    nonce: Key


class Open(Frame, frozen=True, kw_only=True, tag="open"):
    """§4.2 Create the mailbox of ``mk`` where there is none, and follow it from a cursor.

    ``(epoch, seq)`` is the last item the owner holds durably; (0, 0) when it holds none.
    """

    ref: Integer
    mk: Key
    epoch: Integer = 0
    seq: Integer = 0


class Ack(Frame, frozen=True, kw_only=True, tag="ack"):
    """§4.2 The owner holds everything up to ``seq`` durably; the node may forget it. Never answered."""

    mailbox: MailboxAddress
    epoch: Integer
    seq: Integer


class Put(Frame, frozen=True, kw_only=True, tag="put"):
    """§4.2 Leave an envelope. ``ttl_s`` 0: only if the owner is here now, and nothing is stored."""

    ref: Integer
    mailbox: MailboxAddress
    id: PutId
    envelope: EnvelopeBytes
    ttl_s: Annotated[int, msgspec.Meta(ge=0, le=TTL_LIMIT_S)] = TTL_LIMIT_S


class CardSet(Frame, frozen=True, kw_only=True, tag="card.set"):
    """§4.2 Replace the mailbox's card. Creates the mailbox where there is none."""

    ref: Integer
    mk: Key
    card: CardBytes


class CardGet(Frame, frozen=True, kw_only=True, tag="card.get"):
    """§4.2 Ask for a mailbox's card."""

    ref: Integer
    mailbox: MailboxAddress


class Close(Frame, frozen=True, kw_only=True, tag="close"):
    """§4.2 Delete a mailbox and all it holds; puts to it answer ``no_mailbox`` from now on."""

    ref: Integer
    mk: Key


class Enter(Frame, frozen=True, kw_only=True, tag="enter"):
    """§4.3 Enter a topic, or replace one's entry in it; a snapshot follows, then changes."""

    ref: Integer
    topic: TopicId
    entry: EntryBytes


class Leave(Frame, frozen=True, kw_only=True, tag="leave"):
    """§4.3 Leave a topic; never answered."""

    topic: TopicId


ClientFrame = ClientHello | Open | Ack | Put | CardSet | CardGet | Close | Enter | Leave

# ── what a node says ──────────────────────────────────────────────────────────────────────────────


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """§4.1 The node's limits, so that a client needn't find them by being refused."""

    frame_bytes: Integer = FRAME_LIMIT_BYTES
    ttl_s: Integer = TTL_LIMIT_S
    mailbox_bytes: Integer = 0
    mailbox_items: Integer = 0


class NodeHello(Frame, frozen=True, kw_only=True, tag="welcome"):
    """§4.1 The node's answer: who it is, proved by a signature over the client's nonce."""

    version: Integer
    features: Features = ()
    node: Key  # Ed25519 public key; the node's id is BLAKE2b-256 of it
    signature: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
    unix_s: Integer
    limits: Limits
    policy: Literal["open", "code", "oidc"] = "open"
    durable: bool = True


class Opened(Frame, frozen=True, kw_only=True, tag="opened"):
    """§4.2 The mailbox is followed; items up to ``head`` were there already and come first."""

    ref: Integer
    mailbox: MailboxAddress
    epoch: Integer
    head: Integer


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """§4.2 One envelope in a mailbox; ``day`` is the UTC day of its arrival, in days since 1970."""

    seq: Integer
    id: PutId
    envelope: EnvelopeBytes
    day: Integer


class Items(Frame, frozen=True, kw_only=True, tag="items"):
    """§4.2 Items for the mailbox's owner, in seq order. An item of a ttl-0 put has seq 0 and no acknowledgement."""

    mailbox: MailboxAddress
    epoch: Integer
    items: tuple[Item, ...]


PutAnswer = Literal["stored", "held", "taken", "passed", "absent"]


class Accepted(Frame, frozen=True, kw_only=True, tag="accepted"):
    """§4.2 What became of a put.

    ``stored``: new and fsynced (where the node is durable). ``held``: a repeat, still waiting for its
    owner. ``taken``: a repeat whose owner has acknowledged it, or which expired. ``passed``: ttl 0,
    handed to the owner's connection. ``absent``: ttl 0, and the owner isn't here.
    """

    ref: Integer
    state: PutAnswer
    durable: bool = True


class Card(Frame, frozen=True, kw_only=True, tag="card"):
    """§4.2 A mailbox's card; None where its owner has set none."""

    ref: Integer
    card: CardBytes | None = None


class Done(Frame, frozen=True, kw_only=True, tag="done"):
    """§4.2 `CardSet` or `Close` is done, and fsynced."""

    ref: Integer


class Fenced(Frame, frozen=True, kw_only=True, tag="fenced"):
    """§4.2 A newer connection follows this mailbox; this one gets nothing more of it."""

    mailbox: MailboxAddress


class TopicEntry(msgspec.Struct, frozen=True, kw_only=True):
    """§4.3 One member of a topic; ``member`` is the node's number for one connection's entry."""

    member: Integer
    entry: EntryBytes


class Snapshot(Frame, frozen=True, kw_only=True, tag="snapshot"):
    """§4.3 Who is in a topic, the asker left out; ``more`` while further pages follow. Pages ≤ 32 KiB."""

    ref: Integer
    topic: TopicId
    entries: tuple[TopicEntry, ...] = ()
    more: bool = False


class Changes(Frame, frozen=True, kw_only=True, tag="changes"):
    """§4.3 Members who entered or changed their entry, and members who left."""

    topic: TopicId
    entered: tuple[TopicEntry, ...] = ()
    left: tuple[Integer, ...] = ()


Code = Literal[
    "malformed",
    "unknown_type",
    "too_large",
    "hello_expected",
    "version",
    "no_mailbox",
    "mailbox_full",
    "node_full",
    "too_many",
    "rate_limited",
    "not_following",
    "slow_reader",
    "storage",
    "shutting_down",
]


class Error(Frame, frozen=True, kw_only=True, tag="error"):
    """§4.4 A refusal. ``ref`` names the request it answers; without one the connection closes after it."""

    code: Code
    text: str = ""
    ref: Integer | None = None
    retry_after_s: float | None = None


NodeFrame = NodeHello | Opened | Items | Accepted | Card | Done | Fenced | Snapshot | Changes | Error


class BadFrame(Exception):
    """Bytes that are no frame of this protocol; whoever sent them gets `Error` and the connection closes.

    ``code`` is ``malformed``, ``unknown_type`` or ``too_large``.
    """

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code: Code = code


T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_client_decoder: msgspec.msgpack.Decoder[ClientFrame] = msgspec.msgpack.Decoder(ClientFrame)
_node_decoder: msgspec.msgpack.Decoder[NodeFrame] = msgspec.msgpack.Decoder(NodeFrame)


def encode(frame: Frame) -> bytes:
    """A frame's bytes."""
    return _encoder.encode(frame)


def decode_client(data: bytes) -> ClientFrame:
    """The client's frame in ``data``; `BadFrame` for anything else."""
    return _decode(_client_decoder, data)


def decode_node(data: bytes) -> NodeFrame:
    """The node's frame in ``data``; `BadFrame` for anything else."""
    return _decode(_node_decoder, data)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    if len(data) > FRAME_LIMIT_BYTES:
        raise BadFrame("too_large", f"{len(data)} bytes, of at most {FRAME_LIMIT_BYTES}")
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        code: Code = "unknown_type" if "Invalid value" in str(error) and "$.t" in str(error) else "malformed"
        raise BadFrame(code, str(error)[:TEXT_LIMIT]) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame("malformed", str(error)[:TEXT_LIMIT]) from None
