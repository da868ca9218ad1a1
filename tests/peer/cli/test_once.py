"""`send` and `history`: one thing, and out; and what the command line itself says."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from overfence.cli.app import divide, main
from overfence.cli.exits import Exit

from .conftest import Start
from .test_chat import meet

pytestmark = pytest.mark.timeout(240)

# What a `send` without --wait may take longer than one that hardly waits: it gives the server 2 s to take the message.
MORE_S = 6.0


def test_a_script_sends_and_reads_back(start: Start, node: str, tmp_path: Path) -> None:
    ada, bob = meet(start, node, tmp_path)
    home = tmp_path / "ada"
    busy = start("--home", home, "send", "bob", "hello")
    assert busy.ends() == Exit.IN_USE
    assert f"{home} is open in another process" in busy.said and "type it there" in busy.said
    ada.types("/quit")
    assert ada.ends() == Exit.OK

    sent = start("--home", home, "send", "bo", "--", "-v from a script")
    assert sent.ends() == Exit.OK
    assert sent.said == "✓✓ delivered to Bob\n"
    bob.sees(r"Ada: -v from a script$")

    piped = start("--home", home, "send", "Bob", "-", "--wait", "20")
    piped.types("two\nlines \x9b31m")
    piped.hangs_up()
    assert piped.ends() == Exit.OK
    bob.sees(r"Ada: two⏎lines \N{REPLACEMENT CHARACTER}31m$")

    bob.process.kill()
    began_at = time.monotonic()
    unheard = start("--home", home, "send", "Bob", "later", "--wait", "0.5")
    assert unheard.ends() == Exit.FAILED
    waiting_hardly_s = time.monotonic() - began_at
    assert "not delivered to Bob yet" in unheard.said
    # Without --wait it stays only until the server has it.
    began_at = time.monotonic()
    quick = start("--home", home, "send", "Bob", "and later")
    assert quick.ends() == Exit.OK
    assert "not delivered to Bob yet" in quick.said
    assert time.monotonic() - began_at < waiting_hardly_s + MORE_S
    nobody = start("--home", home, "send", "Carol", "hello")
    assert nobody.ends() == Exit.BAD_INPUT
    assert "There is no contact Carol. You know Bob." in nobody.said

    past = start("--home", home, "history", "--limit", "3")
    assert past.ends() == Exit.OK
    assert [line[5:] for line in past.said.splitlines()] == [
        " You: two⏎lines \N{REPLACEMENT CHARACTER}31m ✓✓",
        " You: later ✓",
        " You: and later ✓",
    ]
    told = start("--home", home, "history", "Bob", "--json")
    assert told.ends() == Exit.OK
    records = [json.loads(line) for line in told.said.splitlines()]
    assert [(one["text"], one["state"]) for one in records] == [
        ("-v from a script", "delivered"),
        ("two\nlines \x9b31m", "delivered"),
        ("later", "sent"),
        ("and later", "sent"),
    ]
    assert told.said.isascii()

    found = start("--home", home, "search", "script", "FROM")
    assert (found.ends(), found.said[5:]) == (Exit.OK, " You → Bob: -v from a script ✓✓\n".replace(" → Bob", ""))
    as_json = start("--home", home, "search", "later", "--json", "--limit", "1")
    assert (as_json.ends(), json.loads(as_json.said)["text"]) == (Exit.OK, "and later")
    missing = start("--home", home, "search", "zebra")
    assert (missing.ends(), missing.said) == (Exit.FAILED, "no message with “zebra”\n")

    # Nothing is sent that would arrive as something else.
    garbled = start("--home", home, "send", "Bob", "-")
    garbled.types_bytes(b"good\nb\xffd\n")
    garbled.hangs_up()
    assert garbled.ends() == Exit.BAD_INPUT
    assert "Line 2 has bytes that are no UTF-8; nothing was sent" in garbled.said
    again = start("--home", home, "history", "--limit", "1")
    assert again.ends() == Exit.OK and "and later" in again.said


def test_a_home_with_nothing_in_it_stays_that_way(start: Start, tmp_path: Path) -> None:
    empty = start("--home", tmp_path / "none", "history")
    assert empty.ends() == Exit.BAD_INPUT
    assert f"no Overfence home in {tmp_path / 'none'}. Begin with: overfence chat" in empty.said
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_is_no_fault_of_the_disk(start: Start) -> None:
    refused = start("--home", "/proc/x", "chat", "--name", "X")
    assert refused.ends() == Exit.BAD_INPUT
    assert "No home can be made there: /proc/x" in refused.said and "--home" in refused.said
    assert "disk" not in refused.said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--version"], Exit.OK, "overfence 0."),
        (["--help"], Exit.OK, "Exit codes: 0 done"),
        (["chat", "--help"], Exit.OK, "OVERFENCE_SERVER"),
        (["chta"], Exit.USAGE, "chat"),
        (["serve", "--port", "many"], Exit.USAGE, "--port"),
        (["send", "Bob"], Exit.USAGE, "TEXT"),
        (["history", "--limit", "0"], Exit.USAGE, "from 1 up"),
        (["chat", "--home"], Exit.USAGE, "--home"),
        (["chat", "--server", "example.com"], Exit.USAGE, "no server's address"),
        (["chat", "--server", "ws://a:99999"], Exit.USAGE, "no server's address"),
        (["serve", "--port", "99999"], Exit.USAGE, "--port takes a number from 0 to 65535"),
        (["serve", "--port", "-1"], Exit.USAGE, "--port"),
        (["dev-chat", "ada", "--port", "0"], Exit.USAGE, "--port takes a number from 1"),
        (["history", "--home", ""], Exit.USAGE, "--home (or OVERFENCE_HOME) is empty"),
        (["history", "--home="], Exit.USAGE, "--home (or OVERFENCE_HOME) is empty"),
        (["send", "Bob", "hi", "--wait", "-1"], Exit.USAGE, "from 0 up"),
        (["send", "Bob", "hi", "--wait", "nan"], Exit.USAGE, "from 0 up"),
        (["send", "Bob", "b\udcffd"], Exit.BAD_INPUT, "no UTF-8"),
        (["search"], Exit.USAGE, "what to look for"),
        (["help"], Exit.OK, "Exit codes: 0 done"),
        (["help", "send"], Exit.OK, "a few seconds at most, until the server has it"),
        (["demo", "--help"], Exit.OK, "at least 50"),
        (["-v", "demo"], Exit.USAGE, "demo has no -v"),
    ],
)
def test_the_command_line_answers_with_a_number_and_words(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: Exit, said: str
) -> None:
    assert main(arguments) == code
    words = capsys.readouterr()
    assert said in " ".join((words.out if code is Exit.OK else words.err).split())


@pytest.mark.parametrize(
    ("words", "everywhere", "rest"),
    [
        ("-v chat --home h", "-v --home h", "chat"),
        ("chat --home=h LINK --verbose", "--home=h --verbose", "chat LINK"),
        ("send Bob -- -v --home x", "", "send Bob -- -v --home x"),
        ("send Bob -vote", "", "send Bob -vote"),
        ("chat --home", "--home", "chat"),
    ],
)
def test_options_for_everything_stand_anywhere_but_never_in_what_is_said(
    words: str, everywhere: str, rest: str
) -> None:
    assert divide(words.split()) == (everywhere.split(), rest.split())
