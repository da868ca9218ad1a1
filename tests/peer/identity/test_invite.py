"""Invites, as they were made and as they come out of mail programs, chat windows and clipboards."""

from __future__ import annotations

import base64
import re
import textwrap
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.identity import BadInvite, H, Invite, InviteFault, L

INVITE = Invite(
    account=H(b"account"),
    node="wss://node.example.org:8443/overfence",
    mailbox=H(b"mailbox")[:16],
    key=H(b"key"),
    expires_s=1_900_000_000,
    device_hash=H(b"device")[:16],
)
LINK = str(INVITE)
DATA = LINK.removeprefix("overfence:")


def reason_of(text: str) -> InviteFault:
    with pytest.raises(BadInvite) as caught:
        Invite.parse(text)
    return caught.value.reason


def quoted(text: str, width: int) -> str:
    return "\r\n".join("> " + line for line in textwrap.wrap(text, width))


def test_a_link_is_read_as_it_was_made() -> None:
    assert Invite.parse(LINK) == INVITE
    assert re.fullmatch(r"overfence:[A-Za-z0-9_-]+", LINK)
    assert len(LINK) < 240


@pytest.mark.parametrize(
    "text",
    [
        f"  {LINK}\n",
        f"<{LINK}>",
        f'"{LINK}"',
        f"“{LINK}”",
        f"`{LINK}`.",
        f"({LINK}),",
        "OVERFENCE:" + DATA,
        "overfence%3A" + DATA,
        f"https://chat.example.org/#{DATA}",
        f"https://chat.example.org/app/?lang=en#{LINK}",
        f"http://127.0.0.1:8400/#overfence%3A{DATA}",
        f"https://overfence:8443/#{DATA}",
        f"<https://chat.example.org/#{DATA}>",
        "\n".join(textwrap.wrap(LINK, 76)),
        "=\r\n".join(textwrap.wrap(LINK, 75)),
        quoted(LINK, 60),
        "> " + quoted(LINK, 60).replace("\n", "\n> "),
        "\ufeff" + LINK[:40] + "\u200b" + LINK[40:] + "\u00a0",
        f"Come and chat with me: {LINK}",
        f"{LINK}\n\nSee you, Bob (https://example.org/#me)",
        f"Come and chat:\n<{LINK}>\nBob",
    ],
)
def test_what_people_and_programs_put_around_it_does_no_harm(text: str) -> None:
    assert Invite.parse(text) == INVITE


@pytest.mark.parametrize("length", range(4, len(LINK)))
def test_a_cut_link_is_called_incomplete_wherever_it_was_cut(length: int) -> None:
    assert reason_of(LINK[:length]) == "incomplete"


def test_a_cut_web_link_is_incomplete() -> None:
    assert reason_of(f"https://chat.example.org/#{DATA[:-1]}") is InviteFault.INCOMPLETE
    assert reason_of("https://chat.example.org/#") is InviteFault.INCOMPLETE


@pytest.mark.parametrize("at", range(2, len(DATA), 3))
def test_a_changed_or_lost_character_is_noticed(at: int) -> None:
    changed = "A" if DATA[at] != "A" else "B"
    assert reason_of("overfence:" + DATA[:at] + changed + DATA[at + 1 :]) in ("damaged", "incomplete")
    assert reason_of("overfence:" + DATA[:at] + "*" + DATA[at + 1 :]) is InviteFault.DAMAGED
    assert reason_of("overfence:" + DATA[:at] + DATA[at + 1 :]) in ("damaged", "incomplete")


@pytest.mark.parametrize(
    "text", ["", "hello", "https://example.org/", "mailto:ada@example.org", "a" * 5000, "over"[:3]]
)
def test_something_else_is_no_invite(text: str) -> None:
    assert reason_of(text) is InviteFault.NOT_AN_INVITE


@pytest.mark.parametrize("path", ["", "a", "ab"])
def test_the_spare_bits_of_the_last_character_are_no_room_for_a_second_spelling(path: str) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    link = str(replace(INVITE, node="ws://node.example.org/" + path))
    other = alphabet[(alphabet.index(link[-1]) + 1) % 64]
    assert reason_of(link[:-1] + other) is InviteFault.DAMAGED


def test_an_invite_of_a_newer_version_says_so_only_if_whole() -> None:
    body = b"\x02a later layout"
    whole = base64.urlsafe_b64encode(body + H(L("invite") + body)[:4]).decode().rstrip("=")
    assert reason_of("overfence:" + whole) is InviteFault.NEWER_VERSION
    assert reason_of("overfence:Ag" + whole[2:-2]) is InviteFault.DAMAGED


@pytest.mark.parametrize(
    "node",
    [
        "ws://127.0.0.1:8400",
        "ws://localhost:8400/",
        "wss://node.example.org",
        "wss://node.example.org:443/a/path",
        "ws://[2001:db8::1]:8400",
        "wss://" + "a" * 190 + ".org",
    ],
)
def test_a_node_is_a_websocket_address(node: str) -> None:
    invite = replace(INVITE, node=node)
    assert Invite.parse(str(invite)).node == node


@pytest.mark.parametrize(
    "node",
    [
        "",
        "ws://",
        "wss:///path",
        "http://node.example.org",
        "WSS://node.example.org",
        "javascript:alert(1)",
        "ws://ada@node.example.org",
        "ws://ada:secret@node.example.org",
        "ws://node.example.org:0",
        "ws://node.example.org:99999",
        "ws://node.example.org:",
        "ws://node.example.org:port",
        "ws://node.example.org?query",
        "ws://node.example.org/#fragment",
        "ws://node.example.org\\@evil.example",
        "ws://node example.org",
        "ws://nøde.example.org",
        "ws://node.example.org/\r\nHost: evil",
        "ws://[::1",
        "ws://[v1.x]",
        "ws://[fe80::1%25eth0]",
        "ws://-node.example.org",
        "wss://" + "a" * 191 + ".org",
    ],
)
def test_no_other_address_is_taken_or_given(node: str) -> None:
    with pytest.raises(BadInvite) as caught:
        replace(INVITE, node=node)
    assert caught.value.reason is InviteFault.BAD_NODE
    # Somebody else's program may have put it in, checksum and all.
    raw = base64.urlsafe_b64decode(DATA + "=" * (-len(DATA) % 4))[:105]
    told = node.encode()[:255]
    body = raw + bytes((len(told),)) + told
    forged = base64.urlsafe_b64encode(body + H(L("invite") + body)[:4]).decode().rstrip("=")
    assert reason_of("overfence:" + forged) is InviteFault.BAD_NODE


def test_fields_of_a_wrong_size_make_no_invite() -> None:
    for change in ({"account": b""}, {"mailbox": bytes(15)}, {"key": bytes(33)}, {"expires_s": 2**53}):
        with pytest.raises(BadInvite):
            replace(INVITE, **change)


@given(text=st.one_of(st.text(max_size=300), st.text(max_size=300).map(lambda rest: "overfence:" + rest)))
def test_any_text_is_an_invite_or_a_reason(text: str) -> None:
    assert reason_of(text) in InviteFault


@given(raw=st.binary(max_size=300))
def test_any_bytes_in_a_link_are_an_invite_or_a_reason(raw: bytes) -> None:
    body = b"\x01" + raw
    checked = body + H(L("invite") + body)[:4]
    for content in (raw, body, checked):
        assert reason_of("overfence:" + base64.urlsafe_b64encode(content).decode().rstrip("=")) in InviteFault


@given(
    invite=st.builds(
        Invite,
        account=st.binary(min_size=32, max_size=32),
        node=st.from_regex(
            r"wss?://[a-z0-9]{1,20}(\.[a-z]{2,8}){0,3}(:[1-9][0-9]{0,3})?(/[a-z]{0,20})?", fullmatch=True
        ),
        mailbox=st.binary(min_size=16, max_size=16),
        key=st.binary(min_size=32, max_size=32),
        expires_s=st.integers(0, 2**53 - 1),
        device_hash=st.binary(min_size=16, max_size=16),
    ),
    width=st.integers(10, 80),
)
def test_every_invite_survives_being_wrapped_and_quoted(invite: Invite, width: int) -> None:
    assert Invite.parse(str(invite)) == invite
    assert Invite.parse(quoted(str(invite), width)) == invite


def test_the_secret_is_in_the_link_and_in_no_log() -> None:
    assert INVITE.key.hex() not in repr(INVITE)
    assert repr(INVITE.key)[2:-1] not in repr(INVITE)
    assert LINK not in repr(INVITE)


def test_the_code_fits_a_terminal_and_a_page() -> None:
    lines = INVITE.qr().splitlines()
    assert max(map(len, lines)) <= 78
    assert len(lines) <= 38
    assert set("".join(lines)) <= set("█▀▄ \xa0")
    assert INVITE.svg().startswith("<svg")
