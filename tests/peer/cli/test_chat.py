"""Two people at two keyboards, through pipes and through terminals, as they see it."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
from overfence.cli.exits import Exit
from overfence.identity import Invite

from .conftest import Start, Typist

pytestmark = pytest.mark.timeout(240)

LINK = r"^(overfence:[\w-]+)$"


def meet(start: Start, node: str, folder: Path, *, terminal: bool = False) -> tuple[Typist, Typist]:
    """Ada invites, Bob accepts, and both have seen it."""
    ada = start("--home", folder / "ada", "chat", "--name", "Ada", "--server", node, terminal=terminal)
    link = ada.sees(LINK)[1]
    # Bob has no server of his own: he uses the one the invite names.
    bob = start("--home", folder / "bob", "chat", link, "--name", "Bob", terminal=terminal)
    ada.sees(r"Bob is now your contact")
    bob.sees(r"Ada is now your contact$")
    # He learns her name together with her answer: nobody was renamed, and no way was tried in vain.
    assert "is called" not in bob.said and "no direct connection" not in ada.said + bob.said
    assert bob.said.count("hasn't answered yet") <= 1 and ada.said.count("It works once") == 1
    return ada, bob


def test_two_people_talk_through_pipes_and_one_leaves(start: Start, node: str, tmp_path: Path) -> None:
    ada, bob = meet(start, node, tmp_path)
    assert f"messages lie in {tmp_path / 'ada'}" in ada.said
    assert (tmp_path / "bob" / "config.toml").read_text().count(node) == 1

    ada.types("hello \x1b[31mBob\x07")
    bob.sees(r"^\d\d:\d\d Ada: hello ␛\[31mBob␇$")
    ada.sees(r"You: hello .* ✓✓?$")
    ada.sees(r"✓✓")
    bob.types("//etc is a folder")
    ada.sees(r"^\d\d:\d\d Bob: /etc is a folder$")
    ada.sees(r"^connected straight to Bob \(\w+–\w+\)$")  # noqa: RUF001 - an en dash is between two ends

    # The first seconds, in which nothing had been tried yet, were not told as a failure.
    assert "no direct connection" not in ada.said

    ada.types("/helo")
    ada.sees(r"^there is no command /helo; did you mean /help\?")
    ada.types("x" * 20_000)
    ada.sees(r"one message holds .* Send it in parts\.")
    ada.types("/contacts")
    ada.sees(r"Bob  here, \w{8} ← you are writing to them")
    ada.types("/search folder")
    ada.sees(r"^1 message with “folder”$")
    ada.types("/rename Bobby")
    ada.sees(r"^Bob is called Bobby here$")
    assert "called Bobby now" not in ada.said

    # Bob leaves by the end of his input, and comes back to what was said meanwhile.
    bob.hangs_up()
    assert bob.ends() == Exit.OK
    assert "delivered yet" not in bob.said
    ada.sees(r"^Bobby has left$")
    ada.types("while you were away")
    ada.sees(r"You: while you were away ✓$")
    back = start("--home", tmp_path / "bob", "chat")
    back.sees(r"Ada: while you were away$")
    ada.sees(r"✓✓ delivered up to \d\d:\d\d “while you were away”")
    assert back.said.count("while you were away") == 1

    ada.types("/remove")
    ada.sees(r"Type Bobby to confirm")
    ada.types("no")
    ada.sees(r"^Bobby stays your contact$")
    ada.types("/remove")
    ada.sees(r"Type Bobby to confirm", ada.said.index("stays your contact"))
    ada.types("bobby")
    ada.sees(r"^Bobby is removed; the history stays$")
    ada.types("into the void")
    ada.sees(r"You have no contact to write to yet.* line \d+ was not sent: “into the void”")
    ada.types("/quit")
    # A script that wrote these lines is told that not all could be followed; the first was a mistyped command.
    assert ada.ends() == Exit.BAD_INPUT
    for one in (ada, bob, back):
        assert "Traceback" not in one.said and "\x07" not in one.said


def test_what_is_queued_is_told_and_ctrl_c_is_130(start: Start, node: str, tmp_path: Path) -> None:
    ada, bob = meet(start, node, tmp_path)
    ada.sees(r"Bob is here")
    bob.process.kill()
    ada.sees(r"Bob has left")
    ada.types("are you there?")
    ada.sees(r"You: are you there\? ✓$")
    ada.process.send_signal(signal.SIGINT)
    assert ada.ends() == Exit.INTERRUPTED
    assert f"1 message to Bob isn't delivered yet: safe in {tmp_path / 'ada'}" in ada.said
    assert "Traceback" not in ada.said

    again = start("--home", tmp_path / "ada", "chat")
    again.sees(r"You: are you there\? ✓$")
    second = start("--home", tmp_path / "ada", "chat")
    assert second.ends() == Exit.IN_USE
    assert "Close that one" in second.said
    again.process.send_signal(signal.SIGTERM)
    assert again.ends() == Exit.TERMINATED


def test_a_server_that_is_away_keeps_nobody_from_typing(start: Start, node: str, tmp_path: Path) -> None:
    lonely = start("--home", tmp_path / "eve", "chat", "--name", "Eve", "--server", "ws://127.0.0.1:1")
    lonely.sees(r"no connection to the server ws://127\.0\.0\.1:1 .*trying again")
    lonely.sees(r"The link appears here as soon as the server can be reached")
    lonely.types("hello?")
    lonely.sees(r"You have no contact to write to yet")
    lonely.hangs_up()
    assert lonely.ends() == Exit.FAILED
    assert len(re.findall(r"no connection to the server", lonely.said)) == 1


def test_a_plain_server_behind_wss_is_guessed(start: Start, node: str, tmp_path: Path) -> None:
    eve = start("--home", tmp_path / "eve", "chat", "--name", "Eve", "--server", f"wss{node.removeprefix('ws')}")
    eve.sees(r"Is it a server without TLS\? Then its address begins with ws://")
    eve.hangs_up()
    assert eve.ends() == Exit.OK


def test_without_any_server_it_says_how_to_get_one(start: Start, tmp_path: Path) -> None:
    alone = start("--home", tmp_path / "eve", "chat", "--name", "Eve")
    alone.sees(r"Name one with --server ws://… or start your own: overfence serve")
    alone.hangs_up()
    assert alone.ends() == Exit.OK


@pytest.mark.parametrize(
    ("link", "said"),
    [("hello", "not an invite"), ("overfence:AbCd", "incomplete")],
)
def test_a_bad_invite_is_said_and_nothing_is_made(start: Start, tmp_path: Path, link: str, said: str) -> None:
    refused = start("--home", tmp_path / "bob", "chat", link, "--name", "Bob")
    assert refused.ends() == Exit.BAD_INPUT
    assert said in refused.said
    assert not (tmp_path / "bob").exists()


def test_an_expired_invite_leaves_no_home_behind(start: Start, tmp_path: Path) -> None:
    link = str(Invite(bytes(32), "ws://127.0.0.1:1", bytes(16), bytes(32), 1, bytes(16)))
    for more in ((), ("--server", "ws://127.0.0.1:1")):
        refused = start("--home", tmp_path / "bob", "chat", link, "--name", "Bob", *more)
        assert refused.ends() == Exit.BAD_INPUT
        assert refused.said.count("sk for a new one") == 1
        assert not (tmp_path / "bob").exists()


def test_what_a_pipe_says_to_nobody_is_named_and_no_success(start: Start, tmp_path: Path) -> None:
    eve = start("--home", tmp_path / "eve", "chat", "--name", "Eve")
    eve.types("hi")
    eve.types_bytes(b"b\xffd\n")
    eve.hangs_up()
    assert eve.ends() == Exit.FAILED
    assert re.search(r"no contact to write to yet.* line 1 was not sent: “hi”", eve.said)
    assert re.search(r"no UTF-8.* line 2 was not sent", eve.said)


def test_whoever_used_an_invite_second_is_told_that_nothing_is_on_its_way(
    start: Start, node: str, tmp_path: Path
) -> None:
    ada, _ = meet(start, node, tmp_path)
    late = start("--home", tmp_path / "eve", "chat", ada.sees(LINK)[1], "--name", "Eve")
    late.types("too late?")
    late.sees(r"someone else used it first")
    late.types("hello?")
    late.sees(r"You: hello\? ✓ kept, not sent: someone else used the invite first")
    late.hangs_up()
    assert late.ends() == Exit.FAILED
    assert re.search(r"^not sent: 2 messages to \w+, kept in ", late.said, re.MULTILINE)
    assert "sent on whenever" not in late.said
    person = json.loads(run_once(start, "--home", tmp_path / "eve", "history", "--json").splitlines()[0])["contact"]
    once = start("--home", tmp_path / "eve", "send", person, "still?")
    assert once.ends() == Exit.FAILED
    assert "kept, not sent to" in once.said


def run_once(start: Start, *arguments: str | Path) -> str:
    one = start(*arguments)
    assert one.ends() == Exit.OK
    return one.said


def test_two_people_talk_in_terminals_and_an_unfinished_line_is_kept(start: Start, node: str, tmp_path: Path) -> None:
    ada, bob = meet(start, node, tmp_path, terminal=True)
    assert "█" in ada.said
    bob.sees(r"connected straight to Ada")
    bob.types("hi Ada", end="\r")
    ada.sees(r"\d\d:\d\d Bob: hi Ada")
    bob.sees(r"\d\d:\d\d You: hi Ada ✓✓")

    # A message that arrives while one types leaves the typed words whole.
    bob.types("half a l", end="")
    bob.sees(r"half a l")
    ada.types("look up", end="\r")
    # A key pressed while a line is being written above the prompt is the terminal's: the prompt comes back first.
    heard = bob.sees(r"Ada: look up")
    again = bob.sees(r"half a l", heard.end())
    bob.types("ine", end="")
    bob.sees(r"ine", again.end())
    bob.types("\x03", end="")
    assert bob.ends() == Exit.INTERRUPTED
    assert "kept for the next start: “half a line”" in bob.said

    back = start("--home", tmp_path / "bob", "chat", terminal=True)
    back.sees(r"Ada> half a line")
    back.types(" and the rest", end="\r")
    ada.sees(r"Bob: half a line and the rest")
    ticked = back.sees(r"You: half a line and the rest ✓✓|✓✓ delivered up to")
    back.sees(r"Ada>", ticked.end())
    back.types("\x04", end="")
    assert back.ends() == Exit.OK
    assert not (tmp_path / "bob" / "draft").exists()


def test_the_first_start_asks_a_name_and_asks_again_for_a_bad_one(start: Start, tmp_path: Path) -> None:
    eve = start("--home", tmp_path / "eve", "chat", terminal=True)
    eve.sees(r"What should others see you as\?")
    eve.types("x" * 100, end="\r")
    eve.sees(r"Choose another name")
    eve.types("Eve", end="\r")
    eve.sees(r"Welcome, Eve\. Your keys, contacts and messages lie in")
    eve.sees(r"^>")
    eve.types("/quit", end="\r")
    assert eve.ends() == Exit.OK
