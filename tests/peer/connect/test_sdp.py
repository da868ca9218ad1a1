"""Only a description we would have written, or a browser's, is read; everything else is one typed error."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st
from overfence.connect.errors import BadSdp
from overfence.connect.sdp import CANDIDATE_LIMIT, TEXT_LIMIT_BYTES, Candidate, Description, Kind

FINGERPRINT = ":".join(["A7"] * 32)

# The shape of what Chromium writes for one data channel, mDNS candidate included.
BROWSER_OFFER = f"""v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=extmap-allow-mixed
a=msid-semantic: WMS
m=application 51472 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 203.0.113.7
a=candidate:2933104116 1 udp 2113937151 0f2a7c1e-1b7b-4c7a-9d0e-000000000001.local 51472 typ host generation 0
a=candidate:842163049 1 udp 1677729535 203.0.113.7 51472 typ srflx raddr 0.0.0.0 rport 0 generation 0 network-cost 999
a=candidate:1052353102 1 tcp 1518149375 192.0.2.44 9 typ host tcptype active generation 0
a=ice-ufrag:Wk/B
a=ice-pwd:n7Jx5cG+0V0kz3pQW1yZr2tA
a=ice-options:trickle
a=fingerprint:sha-256 {FINGERPRINT}
a=setup:actpass
a=mid:0
a=sctp-port:5000
a=max-message-size:262144
""".replace("\n", "\r\n")

ICE_CHARS = "ABCXYZabcxyz0189+/"

candidates = st.builds(
    Candidate,
    foundation=st.text(ICE_CHARS, min_size=1, max_size=32),
    priority=st.integers(1, 2**31 - 1),
    ip=st.ip_addresses()
    .filter(lambda ip: not (ip.is_multicast or ip.is_unspecified or ip.is_link_local))
    .filter(lambda ip: ip != ipaddress.ip_address("255.255.255.255"))
    .map(str),
    port=st.integers(1, 65_535),
    kind=st.sampled_from(["host", "srflx", "relay"]),
)


@st.composite
def descriptions(draw: st.DrawFn) -> Description:
    kind: Kind = draw(st.sampled_from(["offer", "answer"]))
    return Description(
        kind=kind,
        ufrag=draw(st.text(ICE_CHARS, min_size=4, max_size=256)),
        pwd=draw(st.text(ICE_CHARS, min_size=22, max_size=256)),
        fingerprint=draw(st.binary(min_size=32, max_size=32)).hex(":").upper(),
        setup="actpass" if kind == "offer" else draw(st.sampled_from(["active", "passive"])),
        candidates=tuple(draw(st.lists(candidates, max_size=CANDIDATE_LIMIT))),
        max_message_bytes=draw(st.sampled_from([0, 1160, 262_144, 2**32 - 1])),
    )


OFFER = Description("offer", "ufra", "p" * 22, FINGERPRINT, "actpass", (Candidate("1", 7, "192.0.2.1", 9, "host"),))


@given(descriptions())
def test_what_we_write_is_what_we_read(description: Description) -> None:
    assert Description.parse(str(description), description.kind) == description


@given(descriptions())
def test_an_independent_parser_reads_the_same(description: Description) -> None:
    [media] = SessionDescription.parse(str(description)).media
    assert (media.kind, media.sctp_port, media.rtp.muxId) == ("application", 5000, "0")
    assert media.dtls is not None
    assert media.ice is not None
    assert [each.value for each in media.dtls.fingerprints] == [description.fingerprint]
    assert media.ice.usernameFragment == description.ufrag
    assert [(each.ip, each.port) for each in media.ice_candidates] == [
        (each.ip, each.port) for each in description.candidates
    ]


def test_a_browsers_offer_keeps_only_what_can_be_probed_without_asking() -> None:
    offer = Description.parse(BROWSER_OFFER, "offer")
    assert offer.candidates == (Candidate("842163049", 1677729535, "203.0.113.7", 51472, "srflx"),)
    assert (offer.ufrag, offer.fingerprint, offer.max_message_bytes) == ("Wk/B", FINGERPRINT, 262_144)


def test_other_fingerprints_beside_the_one_are_ignored() -> None:
    text = BROWSER_OFFER + f"a=fingerprint:sha-512 {':'.join(['B0'] * 64)}\r\n"
    assert Description.parse(text, "offer").fingerprint == FINGERPRINT


def test_an_own_private_address_is_not_told_beside_a_public_one() -> None:
    assert str(Candidate("1", 7, "203.0.113.7", 9, "srflx")).endswith("raddr 0.0.0.0 rport 9")
    assert str(Candidate("1", 7, "2001:db8::7", 9, "relay")).endswith("raddr :: rport 9")


def test_secrets_and_addresses_stay_out_of_a_repr() -> None:
    assert "p" * 22 not in repr(OFFER)
    assert "192.0.2.1" not in repr(OFFER)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (f"a=fingerprint:sha-256 {FINGERPRINT}\r\n", ""),
        (f"sha-256 {FINGERPRINT}", f"sha-1 {FINGERPRINT}"),
        (FINGERPRINT, FINGERPRINT[:-3]),
        ("a=mid:0", "a=mid:0\r\na=fingerprint:sha-256 " + ":".join(["B1"] * 32)),
        ("a=ice-ufrag:ufra", "a=ice-ufrag:ufr"),
        ("a=ice-ufrag:ufra", "a=ice-ufrag:ufra\r\na=ice-ufrag:other"),
        ("a=ice-ufrag:ufra", "a=ice-ufrag:uf:a"),
        ("a=ice-pwd:" + "p" * 22, "a=ice-pwd:" + "p" * 21),
        ("a=setup:actpass", "a=setup:active"),
        ("a=setup:actpass\r\n", ""),
        ("a=mid:0", "a=mid:1"),
        ("a=sctp-port:5000", "a=sctp-port:5001"),
        ("a=max-message-size:1160", "a=max-message-size:1159"),
        ("a=max-message-size:1160", "a=max-message-size:-1"),
        ("a=max-message-size:1160\r\n", ""),
        ("m=application 9", "m=application 0"),
        ("m=application 9", "m=audio 9"),
        ("UDP/DTLS/SCTP", "TCP/DTLS/SCTP"),
        ("m=application 9", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nm=application 9"),
        ("v=0\r\n", ""),
        ("s=-", "s=\x00"),
        ("s=-", "s=\xe9"),
        ("s=-", "no line"),
        ("a=mid:0", "a=mid:0\r\na=ice-lite"),
        ("192.0.2.1 9 typ", "ada.example.org 9 typ"),
        ("192.0.2.1 9 typ", "fe80::1%eth0 9 typ"),
        ("192.0.2.1 9 typ", "224.0.0.251 5353 typ"),
        ("192.0.2.1 9 typ", "0.0.0.0 9 typ"),
        ("192.0.2.1 9 typ", "255.255.255.255 9 typ"),
        ("192.0.2.1 9 typ", "192.0.2.1 0 typ"),
        ("192.0.2.1 9 typ", "192.0.2.1 65536 typ"),
        ("typ host", "typ guest"),
        ("candidate:1 1 udp", "candidate:1 2 udp"),
        ("candidate:1 1 udp 7", f"candidate:1 1 udp {2**31}"),
        ("candidate:1 1 udp", f"candidate:{'9' * 33} 1 udp"),
    ],
)
def test_one_thing_wrong_is_enough(was: str, becomes: str) -> None:
    text = str(OFFER)
    assert was in text
    with pytest.raises(BadSdp):
        Description.parse(text.replace(was, becomes, 1), "offer")


def test_an_answer_must_choose_its_role() -> None:
    with pytest.raises(BadSdp):
        Description.parse(str(OFFER), "answer")


def test_more_candidates_than_the_limit_are_refused_even_if_unusable() -> None:
    line = "a=candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype active\r\n"
    assert Description.parse(str(OFFER) + line * (CANDIDATE_LIMIT - 1), "offer").candidates == OFFER.candidates
    with pytest.raises(BadSdp):
        Description.parse(str(OFFER) + line * CANDIDATE_LIMIT, "offer")


def test_a_text_over_the_limit_is_refused() -> None:
    text = str(OFFER)
    padding = "a=" + "x" * (TEXT_LIMIT_BYTES - len(text) - 4) + "\r\n"
    Description.parse(text + padding, "offer")
    with pytest.raises(BadSdp):
        Description.parse(text + padding + "\n", "offer")


@given(st.text(max_size=400))
def test_garbage_is_bad_sdp_and_nothing_else(text: str) -> None:
    with pytest.raises(BadSdp):
        Description.parse(text, "offer")


@given(descriptions(), st.data())
def test_a_damaged_description_is_read_whole_or_refused(description: Description, data: st.DataObject) -> None:
    text = str(description)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    damaged = text[:start] + data.draw(st.text(max_size=40)) + text[end:]
    try:
        read = Description.parse(damaged, description.kind)
    except BadSdp:
        return
    # Whatever was read can be written and read again: no field holds anything unchecked.
    assert Description.parse(str(read), read.kind) == dataclasses.replace(read)
