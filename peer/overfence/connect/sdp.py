"""Session descriptions (RFC 8866, RFC 8841): what a foreign text must be, and the text we write (§5). Pure.

Nothing of a foreign text goes any further than the fields of `Description`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, cast

from .errors import BadSdp

# Each bound keeps one description from costing more than a glance: bytes to read, addresses to probe.
TEXT_LIMIT_BYTES = 16 * 1024
CANDIDATE_LIMIT = 32

# A packet is one SCTP chunk that fits one datagram of 1,200 bytes, whatever is around it: unreliable
# messages of more than one chunk are lost in bulk.
PACKET_LIMIT_BYTES = 1160
SCTP_PORT = 5000

Kind = Literal["offer", "answer"]
Setup = Literal["actpass", "active", "passive"]
CandidateKind = Literal["host", "srflx", "relay"]

_LINE = re.compile(r"[a-z]=[\x20-\x7e]*")
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PWD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_FINGERPRINT = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){31}")
_FOUNDATION = re.compile(r"[A-Za-z0-9+/]{1,32}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")
_MEDIA = re.compile(r"application ([0-9]{1,5}) UDP/DTLS/SCTP webrtc-datachannel")
_CANDIDATE = re.compile(
    r"(?P<foundation>\S+) (?P<component>\S+) (?P<transport>\S+) (?P<priority>\S+) (?P<address>\S+) (?P<port>\S+)"
    r" typ (?P<kind>\S+)(?P<rest>( \S+ \S+)*)"
)

# The setup values a kind may carry (RFC 8842 §5.2, §5.3).
_SETUPS: dict[Kind, tuple[Setup, ...]] = {"offer": ("actpass",), "answer": ("active", "passive")}

# One value each; said twice, differently, they would let two readers see two descriptions.
_SINGLE = frozenset({"ice-ufrag", "ice-pwd", "setup", "mid", "sctp-port", "max-message-size"})


@dataclass(frozen=True)
class Candidate:
    """One address the other side may be reached at, over UDP (RFC 8839 §5.1)."""

    foundation: str
    priority: int
    ip: str = field(repr=False)
    port: int = field(repr=False)
    kind: CandidateKind

    def __str__(self) -> str:
        line = f"candidate:{self.foundation} 1 udp {self.priority} {self.ip} {self.port} typ {self.kind}"
        if self.kind == "host":
            return line
        # The address behind it is nobody's business (RFC 8839 §5.1 allows to hide it like this).
        nowhere = ipaddress.ip_address(self.ip).__class__(0)
        return f"{line} raddr {nowhere} rport 9"

    @classmethod
    def parse(cls, value: str) -> Candidate | None:
        """Read what follows `a=candidate:`; None for one we do not use; raises `BadSdp`."""
        match = _CANDIDATE.fullmatch(value)
        if match is None:
            raise BadSdp("a candidate line is malformed")
        if match["component"] != "1" or not _FOUNDATION.fullmatch(match["foundation"]):
            raise BadSdp("a candidate has a bad component or foundation")
        # An mDNS name would make us ask the network; its owner is found by its own checks instead.
        if match["transport"].lower() != "udp" or match["address"].endswith(".local"):
            return None
        priority = _number(match["priority"], "candidate priority", 1, 2**31 - 1)
        port = _number(match["port"], "candidate port", 1, 65_535)
        ip = _usable_address(match["address"])
        kind = match["kind"]
        if ip is None or kind == "prflx":
            return None
        if kind not in ("host", "srflx", "relay"):
            raise BadSdp("a candidate is of an unknown type")
        return cls(match["foundation"], priority, ip, port, cast(CandidateKind, kind))


@dataclass(frozen=True)
class Description:
    """Everything one side tells the other before a link: no more than this is ever read or written (§5)."""

    kind: Kind
    ufrag: str
    pwd: str = field(repr=False)
    fingerprint: str
    setup: Setup
    candidates: tuple[Candidate, ...]
    max_message_bytes: int = PACKET_LIMIT_BYTES

    def __str__(self) -> str:
        lines = [
            "v=0",
            "o=- 1 1 IN IP4 0.0.0.0",
            "s=-",
            "t=0 0",
            "a=group:BUNDLE 0",
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
            "c=IN IP4 0.0.0.0",
            *(f"a={candidate}" for candidate in self.candidates),
            "a=end-of-candidates",
            f"a=ice-ufrag:{self.ufrag}",
            f"a=ice-pwd:{self.pwd}",
            f"a=fingerprint:sha-256 {self.fingerprint}",
            f"a=setup:{self.setup}",
            "a=mid:0",
            f"a=sctp-port:{SCTP_PORT}",
            f"a=max-message-size:{self.max_message_bytes}",
        ]
        return "\r\n".join(lines) + "\r\n"

    @classmethod
    def parse(cls, text: str, kind: Kind) -> Description:
        """Read the other side's text; raises `BadSdp`, and nothing else, for anything we do not accept."""
        single: dict[str, str] = {}
        fingerprints: set[str] = set()
        candidates: list[Candidate] = []
        candidate_count = 0
        for name, value in _attributes(text):
            if name in _SINGLE:
                if single.setdefault(name, value) != value:
                    raise BadSdp(f"{name} is given twice")
            elif name == "fingerprint" and value.lower().startswith("sha-256 "):
                fingerprints.add(value[len("sha-256 ") :].upper())
            elif name == "ice-lite":
                raise BadSdp("an ICE lite side is not supported")
            elif name == "candidate":
                candidate_count += 1
                if candidate_count > CANDIDATE_LIMIT:
                    raise BadSdp(f"more than {CANDIDATE_LIMIT} candidates")
                candidate = Candidate.parse(value)
                if candidate is not None:
                    candidates.append(candidate)
        return cls(
            kind=kind,
            ufrag=_matching(_UFRAG, single, "ice-ufrag"),
            pwd=_matching(_PWD, single, "ice-pwd"),
            fingerprint=_one_fingerprint(fingerprints),
            setup=_setup(single, kind),
            candidates=tuple(candidates),
            max_message_bytes=_channel(single),
        )


def _attributes(text: str) -> Iterator[tuple[str, str]]:
    """The `a=` lines of a text that holds exactly one data channel section."""
    if len(text) > TEXT_LIMIT_BYTES:
        raise BadSdp(f"longer than {TEXT_LIMIT_BYTES} bytes")
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if lines[0] != "v=0":
        raise BadSdp("it does not begin with v=0")
    sections = 0
    for line in lines:
        if not _LINE.fullmatch(line):
            raise BadSdp("a line is malformed")
        if line.startswith("m="):
            sections += 1
            media = _MEDIA.fullmatch(line[2:])
            if media is None or not 1 <= int(media[1]) <= 65_535:
                raise BadSdp("a section is not an open data channel")
        elif line.startswith("a="):
            name, _, value = line[2:].partition(":")
            yield name, value
    if sections != 1:
        raise BadSdp("it must have exactly one section")


def _matching(pattern: re.Pattern[str], values: dict[str, str], name: str) -> str:
    value = values.get(name, "")
    if not pattern.fullmatch(value):
        raise BadSdp(f"{name} is missing or malformed")
    return value


def _one_fingerprint(values: set[str]) -> str:
    # Without one the DTLS handshake would wait for ever; with two we could not say whom we met.
    if len(values) != 1:
        raise BadSdp("there must be exactly one sha-256 fingerprint")
    value = values.pop()
    if not _FINGERPRINT.fullmatch(value):
        raise BadSdp("the fingerprint is malformed")
    return value


def _setup(values: dict[str, str], kind: Kind) -> Setup:
    for setup in _SETUPS[kind]:
        if values.get("setup") == setup:
            return setup
    raise BadSdp(f"setup is missing or does not fit an {kind}")


def _channel(values: dict[str, str]) -> int:
    """How long a message the other side takes, in bytes; 0 is no limit (RFC 8841 §6.1)."""
    if values.get("mid") != "0":
        raise BadSdp("the section must have mid 0")
    if values.get("sctp-port", str(SCTP_PORT)) != str(SCTP_PORT):
        raise BadSdp(f"the SCTP port must be {SCTP_PORT}")
    size = _number(values.get("max-message-size", ""), "max-message-size", 0, 2**32 - 1)
    if 0 < size < PACKET_LIMIT_BYTES:
        raise BadSdp(f"the other side takes less than {PACKET_LIMIT_BYTES} bytes a message")
    return size


def _number(value: str, name: str, low: int, high: int) -> int:
    if not _NUMBER.fullmatch(value) or not low <= int(value) <= high:
        raise BadSdp(f"{name} is missing or out of range")
    return int(value)


def _usable_address(value: str) -> str | None:
    """The canonical form of a unicast IP address; None if it means nothing here; names and scopes are refused."""
    try:
        ip = ipaddress.ip_address(value)
    except ValueError:
        raise BadSdp("a candidate's address is not an IP address") from None
    if "%" in value:
        raise BadSdp("a candidate's address has a scope")
    # A description must not make us send to a group, to everybody, or to "whatever this is here".
    if ip.is_multicast or ip.is_unspecified or ip == ipaddress.IPv4Address("255.255.255.255"):
        raise BadSdp("a candidate's address is not one device's")
    return None if ip.is_link_local else str(ip)
