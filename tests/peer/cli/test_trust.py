"""Verifying, blocking, inviting and declining as two people see it on their screens."""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path

import pytest
from overfence.cli.exits import Exit
from overfence.identity import Invite, fingerprint

from .conftest import Start
from .test_chat import LINK, meet

pytestmark = pytest.mark.timeout(240)

CODE = r"^(overfence-verify:[\w-]+)$"
NUMBER = r"((?:^  (?:\d{5} ?){4}\n){3})"


def test_two_people_compare_block_and_let_in_again(start: Start, node: str, tmp_path: Path) -> None:
    ada, bob = meet(start, node, tmp_path)
    for one in (ada, bob):
        one.types("/verify")
    digits = [re.sub(r"\s", "", one.sees(NUMBER)[1]) for one in (ada, bob)]
    codes = [one.sees(CODE)[1] for one in (ada, bob)]
    assert digits[0] == digits[1] and codes[0] != codes[1]
    assert "█" not in ada.said  # no code to photograph in a pipe

    ada.types(f"/verify {codes[0]}")
    ada.sees(r"^This is the code you show them; take the one they show you\. Nothing was verified\.")
    ada.types(f"/verify {digits[0][:-1]}{(int(digits[0][-1]) + 1) % 10}")
    ada.sees(r"^These digits are not the safety number of the two of you\. Do not trust this contact")
    ada.types("/trust")
    ada.sees(r"^Bob is not verified: /verify shows what to compare\. Their id is \w{52}$")
    ada.types(f"/verify {codes[1]}")
    ada.sees(r"^Bob is verified")
    bob.types(f"/verify {digits[0]}")
    bob.sees(r"^Ada is verified")
    bob.types("/unverify")
    bob.sees(r"^Ada is not verified any more")
    bob.types("/verify yes")
    bob.sees(r"^Ada is verified", bob.said.index("not verified any more"))
    ada.types("/trust")
    ada.sees(r"^Bob is verified: you compared on \d+ \w+ \d{4}\. ")
    ada.types("/contacts")
    ada.sees(r"^  Bob  here, \w{8}, ✔ verified ← you are writing to them$")
    ada.types("/renew")
    ada.sees(r"^Bob gets new mailboxes of yours")

    ada.types("/block")
    ada.sees(r"^Block Bob\?.* Type Bob to confirm")
    ada.types("no")
    ada.sees(r"^Bob is not blocked$")
    ada.types("/block")
    ada.sees(r"Type Bob to confirm", ada.said.index("is not blocked"))
    ada.types("Bob")
    ada.sees(r"^Bob is blocked; /unblock Bob lets them in again$")
    bob.sees(r"^Ada has left$")
    bob.types("are you cross with me?")
    bob.sees(r"You: are you cross with me\? ✓$")
    ada.types("/contacts")
    ada.sees(r"^Blocked: Bob; /unblock NAME lets them in$")
    ada.types("/to Bob")
    ada.sees(r"There is no contact Bob\.")
    ada.types("/unblock Carol")
    ada.sees(r"There is no contact Carol\.")
    assert "cross with me" not in ada.said
    ada.types("/unblock bob")
    ada.sees(r"^Bob is let in again")
    ada.sees(r"Bob: are you cross with me\?$")
    ada.types("not any more")
    bob.sees(r"Ada: not any more$")
    assert ada.said.count("is blocked") == 1
    ada.types("/unblock Bob")
    ada.sees(r"^Nobody is blocked\.")
    for one in (ada, bob):
        assert "Traceback" not in one.said


def test_invites_are_listed_withdrawn_and_declined(start: Start, node: str, tmp_path: Path) -> None:
    ada = start("--home", tmp_path / "ada", "chat", "--name", "Ada", "--server", node)
    first = ada.sees(LINK)[1]
    ada.types("/invites")
    ada.sees(rf"^  1  not used yet, ends in 7 days: …{re.escape(first[-6:])}$")
    ada.types("/cancel 2")
    ada.sees(r"^There is no invite of that number")
    ada.types("/cancel 1")
    ada.sees(r"^invite 1 is withdrawn")
    ada.types("/cancel 1")
    ada.sees(r"^No open invite of yours has that link\.")
    ada.types("/invites")
    ada.sees(r"^none of your invites is open")

    ada.types("/invite")
    second = ada.sees(LINK, ada.said.index("none of your invites"))[1]
    bob = start("--home", tmp_path / "bob", "chat", "--name", "Bob", "--server", node)
    bob.sees(LINK)
    bob.types(f"/decline {second}")
    bob.sees(r"^declined: they hear that it was")
    ada.sees(rf"^your invite …{re.escape(second[-6:])} was declined, and is closed$")
    bob.types(f"/accept {first}")
    bob.sees(r"can't be reached by this invite")
    bob.types("/decline nonsense")
    bob.sees(r"^This is not an invite")
    assert second not in ada.said[ada.said.index("was declined") - 200 :]


def stolen_way(home: Path) -> str:
    """What a home keeps of its contact's mailbox, in the shape of an invite."""
    kept = sqlite3.connect(home / "history.db")
    dsk, node, mailbox, key = kept.execute("SELECT dsk, node, mailbox, key FROM addresses").fetchone()
    dik, account = kept.execute("SELECT dik, account FROM devices d JOIN contacts c ON c.id = d.contact").fetchone()
    kept.close()
    return str(Invite(account, node, mailbox, key, int(time.time()) + 3600, fingerprint(dsk, dik)))


@pytest.mark.parametrize("verified", [True, False])
def test_a_changed_key_is_told_and_decided(start: Start, node: str, tmp_path: Path, verified: bool) -> None:
    ada, bob = meet(start, node, tmp_path)
    if verified:
        ada.types("/verify yes")
        ada.sees(r"^Bob is verified")
    bob.hangs_up()
    assert bob.ends() == Exit.OK
    again = start("--home", tmp_path / "again", "chat", stolen_way(tmp_path / "bob"), "--name", "Bob")
    again.types("it is me, Bob")
    ada.sees(r"^Somebody writes for Bob from Bob's own mailbox, but under another key")
    ada.types("who are you?")
    if verified:
        ada.sees(r"^Somebody writes for Bob under another key: decide first who it is\. .*/trust says what to do")
    else:
        ada.sees(r"You: who are you\? ✓")
    ada.types("/contacts")
    ada.sees(r"^  Bob  away, \w{8},.* key changed: /trust")
    ada.hangs_up()
    ada.ends()
    ada = start("--home", tmp_path / "ada", "chat")
    ada.sees(r"^Somebody writes for Bob from Bob's own mailbox, but under another key")
    ada.types("/trust")
    ada.sees(r"^The other id is \w{52}\. /trust new goes on with that one")
    if not verified:
        ada.types("/trust old")
        ada.sees(r"^Bob stays who they were")
        ada.types("/trust new")
        ada.sees(r"^No changed key of Bob waits for a decision\.")
        return
    ada.types("/trust new")
    ada.sees(r"^Go on with the key \w{8}…\?.* Type Bob to confirm")
    ada.types("hm")
    ada.sees(r"the question stays too$")
    ada.types("/trust new")
    ada.sees(r"Type Bob to confirm", ada.said.index("the question stays too"))
    ada.types("bob")
    ada.sees(r"^Bob goes on under the new key, not verified")
    ada.sees(r"Bob: it is me, Bob$")
    ada.types("so you are")
    again.sees(r"Ada: so you are$")
    ada.sees(r"^Bob is here$", ada.said.index("so you are"))
    ada.types("/contacts")
    ada.sees(r"^  Bob  here, \w{8} ← you are writing to them$", ada.said.index("so you are"))


def test_on_a_terminal_the_code_is_drawn_and_the_status_line_says_verified(
    start: Start, node: str, tmp_path: Path
) -> None:
    ada = start("--home", tmp_path / "ada", "chat", "--name", "Ada", "--server", node)
    link = ada.sees(LINK)[1]
    bob = start("--home", tmp_path / "bob", "chat", link, "--name", "Bob", terminal=True, size=(50, 110))
    bob.sees(r"Ada is now your contact")
    bob.types("/verify", end="\r")
    bob.sees(r"█ ▄▄▄▄▄ █")
    bob.types("/verify yes", end="\r")
    bob.sees(r"Ada: here · .*✔ verified")
    small = start("--home", tmp_path / "eve", "chat", "--name", "Eve", "--server", node, terminal=True, size=(20, 110))
    small.sees(r"In a larger window, /invite also shows a code to photograph")
