"""What the director and the peers of the demo say to each other, one JSON object a line; and the texts themselves."""

from __future__ import annotations

import random

import msgspec

# Some outside ASCII, so that nobody's texts depend on an encoding.
_WORDS = (
    *("fence", "gate", "garden", "letter", "window", "river", "lantern", "winter", "apple", "harbour", "wagon"),
    *("copper", "meadow", "candle", "thunder", "pepper", "violet", "orchard", "compass", "feather", "ladder"),
    *("marble", "otter", "pebble", "quarry", "saddle", "timber", "velvet", "naïve", "größer", "señal", "дом", "橋"),
)


class Order(msgspec.Struct, frozen=True, tag_field="do"):
    """What the director tells a peer to do."""


class Invite(Order, frozen=True, tag="invite"):
    """Make an invite."""


class Accept(Order, frozen=True, tag="accept"):
    """Accept one."""

    link: str


class Send(Order, frozen=True, tag="send"):
    """Send a text; ``number`` counts its author's texts."""

    number: int
    text: str


class Ask(Order, frozen=True, tag="ask"):
    """Send each text after the answer to the one before it was heard, and measure."""

    first: int
    texts: tuple[str, ...]


class Answer(Order, frozen=True, tag="answer"):
    """Answer the next texts heard with these, one each."""

    first: int
    texts: tuple[str, ...]


class State(Order, frozen=True, tag="state"):
    """Say how many messages wait for the other side."""


class Quit(Order, frozen=True, tag="quit"):
    """Close the chat and end."""


class Report(msgspec.Struct, frozen=True, tag_field="is", kw_only=True):
    """What a peer tells the director; ``at`` is in monotonic seconds, one clock for all processes."""

    at: float


class Ready(Report, frozen=True, tag="ready"):
    """The chat is open."""


class Invited(Report, frozen=True, tag="invited"):
    """An invite was made."""

    link: str


class Met(Report, frozen=True, tag="met"):
    """The contact is in this state now."""

    state: str


class Sent(Report, frozen=True, tag="sent"):
    """`send` returned: the text is on this disk."""

    number: int
    seq: int


class Heard(Report, frozen=True, tag="heard"):
    """`messages` gave a text of the other side, the ``number``-th it sent."""

    number: int


class Delivered(Report, frozen=True, tag="delivered"):
    """The other side holds everything up to ``seq``."""

    seq: int


class Asked(Report, frozen=True, tag="asked"):
    """Every text of an `Ask` was answered; the round trips, in seconds."""

    round_trips_s: tuple[float, ...]


class Online(Report, frozen=True, tag="online"):
    """The other side came or went."""

    online: bool


class Path(Report, frozen=True, tag="path"):
    """The way messages go now; ``pair`` is the types of the nominated candidates of a direct one."""

    path: str
    pair: tuple[str, str] | None


class Server(Report, frozen=True, tag="server"):
    """The server is connected, or not."""

    connected: bool


class Queued(Report, frozen=True, tag="queued"):
    """So many messages wait for the other side's confirmation."""

    count: int


AnyOrder = Invite | Accept | Send | Ask | Answer | State | Quit
AnyReport = Ready | Invited | Met | Sent | Heard | Delivered | Asked | Online | Path | Server | Queued

_encoder = msgspec.json.Encoder()
_orders: msgspec.json.Decoder[AnyOrder] = msgspec.json.Decoder(AnyOrder)
_reports: msgspec.json.Decoder[AnyReport] = msgspec.json.Decoder(AnyReport)


def line_of(said: AnyOrder | AnyReport) -> bytes:
    """One line."""
    return _encoder.encode(said) + b"\n"


def order_in(line: bytes) -> AnyOrder:
    """The order in a line; raises `msgspec.MsgspecError`."""
    return _orders.decode(line)


def report_in(line: bytes) -> AnyReport:
    """The report in a line; raises `msgspec.MsgspecError`."""
    return _reports.decode(line)


def text_of(seed: int, author: str, number: int) -> str:
    """The ``number``-th text of an author: the same for the same seed, no two alike, mostly short, some long."""
    draw = random.Random(f"{seed}/{author}/{number}")  # noqa: S311 (a reproducible script, no secret)
    length = draw.choices((40, 200, 1000, 4000), weights=(60, 30, 9, 1))[0]
    words = draw.choices(_WORDS, k=draw.randint(1, max(1, length // 7)))
    return f"#{number} {' '.join(words)}"


def number_in(text: str) -> int:
    """The number a text of ours begins with, or 0."""
    head = text.partition(" ")[0]
    return int(head[1:]) if head[:1] == "#" and head[1:].isdecimal() else 0
