"""What travels inside one sealed message: a few items, each of a kind (docs/protocol.md §6.3). Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from overfence_reliability import RANGES_LIMIT, BadRun, Run

from ..errors import BadPayload
from ..history.event import Address, Count, Hash, LogName

# Items of one message; a sealer sends a handful.
ITEMS_LIMIT = 64
# Logs a have may name: two logs per device and some from restores. More would make us answer at length.
LOGS_LIMIT = 64
SDP_LIMIT_CHARACTERS = 16 * 1024


class Item(msgspec.Struct, frozen=True, array_like=True, tag_field="t"):
    """One thing said inside a message; its subclasses are the whole vocabulary."""


class Introduction(Item, frozen=True, array_like=True, tag="intro"):
    """§6.3 First in each session: who writes, where that device is written to, and an invite's proof.

    ``consent`` is the device's own signature, ``Sig(DSK, "device", AK ‖ DIK)``: nobody can list another's device.
    """

    device_list: Annotated[bytes, msgspec.Meta(max_length=1024)]
    addresses: Annotated[tuple[Address, ...], msgspec.Meta(max_length=8)]
    consent: Annotated[bytes, msgspec.Meta(max_length=64)] = b""
    proof: Annotated[bytes, msgspec.Meta(max_length=32)] = b""
    topic: Annotated[bytes, msgspec.Meta(max_length=32)] = b""


class Batch(Item, frozen=True, array_like=True, tag="events"):
    """§6.3 Events in the order of their log: header and body each."""

    events: tuple[tuple[bytes, bytes | None], ...]


class HeldRun(msgspec.Struct, frozen=True, array_like=True):
    """§6.2 How much of one log is held."""

    device: Hash
    log: LogName
    end: Count
    tip: Annotated[bytes, msgspec.Meta(max_length=32)]
    above: Annotated[tuple[tuple[Count, Count], ...], msgspec.Meta(max_length=RANGES_LIMIT)] = ()

    def run(self) -> Run:
        """As a `Run`; `BadPayload` where it contradicts itself."""
        try:
            return Run(self.end, self.tip, self.above)
        except BadRun as error:
            raise BadPayload(str(error)) from None


class Have(Item, frozen=True, array_like=True, tag="have"):
    """§6.2 What the sender holds of the receiver's logs in their conversation, and the highest lamport it holds."""

    conv: Hash
    runs: Annotated[tuple[HeldRun, ...], msgspec.Meta(max_length=LOGS_LIMIT)]
    lamport: Count = 0


class Sdp(Item, frozen=True, array_like=True, tag="sdp"):
    """§5 One half of a call's set-up; ``call`` is drawn by the one who offers."""

    call: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
    kind: Literal["offer", "answer"]
    text: Annotated[str, msgspec.Meta(max_length=SDP_LIMIT_CHARACTERS)]


class Ring(Item, frozen=True, array_like=True, tag="ring"):
    """§5 I have no link to you: call me."""


class Refusal(Item, frozen=True, array_like=True, tag="refusal"):
    """§4 Why an invite's guest is not taken."""

    reason: Literal["used", "expired"]


class Reset(Item, frozen=True, array_like=True, tag="reset"):
    """§3 The session ``sid`` cannot be read here; never send on it again."""

    sid: Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]


class FreshPrekeys(Item, frozen=True, array_like=True, tag="prekeys"):
    """§2 Signed prekeys (§1) for the next session with their sender, whose own they are."""

    raw: Annotated[bytes, msgspec.Meta(max_length=2048)]


class Devices(Item, frozen=True, array_like=True, tag="devices"):
    """§1 A device list newer than the one the receiver showed."""

    device_list: Annotated[bytes, msgspec.Meta(max_length=1024)]


class Fork(Item, frozen=True, array_like=True, tag="fork"):
    """§6.2 At ``number`` of a log of the receiver's account the sender holds the event ``id``, and was sent another."""

    conv: Hash
    device: Hash
    log: LogName
    number: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    id: Hash


AnyItem = Introduction | Batch | Have | Sdp | Ring | Refusal | Reset | FreshPrekeys | Devices | Fork

_encoder = msgspec.msgpack.Encoder()
_items = msgspec.msgpack.Decoder(Annotated[tuple[msgspec.Raw, ...], msgspec.Meta(max_length=ITEMS_LIMIT)])
_item = msgspec.msgpack.Decoder(AnyItem)
_tag = msgspec.msgpack.Decoder(list[object])
_KNOWN = frozenset(("intro", "events", "have", "sdp", "ring", "refusal", "reset", "prekeys", "devices", "fork"))


def encode_payload(*items: AnyItem) -> bytes:
    """The items' bytes, to be sealed."""
    return _encoder.encode(items)


def decode_payload(data: bytes) -> list[AnyItem]:
    """The items known here, in order; one of an unknown kind is passed over. Raises `BadPayload`."""
    try:
        found = []
        for raw in _items.decode(data):
            try:
                found.append(_item.decode(raw))
            except msgspec.ValidationError:
                head = _tag.decode(raw)
                if not head or not isinstance(head[0], str) or head[0] in _KNOWN:
                    raise
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # What msgspec says quotes what it met: the other side's words, which belong in no log.
        raise BadPayload(f"no payload: {type(error).__name__}") from None
    if any(isinstance(item, Introduction) and not all(at.is_sound for at in item.addresses) for item in found):
        raise BadPayload("an address that is no node's")
    return found
