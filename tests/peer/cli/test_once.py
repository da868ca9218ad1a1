"""`send` and `history`: one thing, and out; and what the command line itself says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from overfence.cli.app import divide, main
from overfence.cli.exits import Exit

from .conftest import Start
from .test_chat import meet

pytestmark = pytest.mark.timeout(240)


def test_a_script_sends_and_reads_back(start: Start, node: str, tmp_path: Path) -> None:
    ada, bob = meet(start, node, tmp_path)
    home = tmp_path / "ada"
    busy = start("--home", home, "send", "bob", "hello")
    assert busy.ends() == Exit.IN_USE
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
    unheard = start("--home", home, "send", "Bob", "later", "--wait", "0.5")
    assert unheard.ends() == Exit.FAILED
    assert "not delivered to Bob yet" in unheard.said
    nobody = start("--home", home, "send", "Carol", "hello")
    assert nobody.ends() == Exit.BAD_INPUT
    assert "There is no contact Carol. You know Bob." in nobody.said

    past = start("--home", home, "history", "--limit", "2")
    assert past.ends() == Exit.OK
    assert [line[5:] for line in past.said.splitlines()] == [
        " You: two⏎lines \N{REPLACEMENT CHARACTER}31m ✓✓",
        " You: later ✓",
    ]
    told = start("--home", home, "history", "Bob", "--json")
    assert told.ends() == Exit.OK
    records = [json.loads(line) for line in told.said.splitlines()]
    assert [(one["text"], one["state"]) for one in records] == [
        ("-v from a script", "delivered"),
        ("two\nlines \x9b31m", "delivered"),
        ("later", "sent"),
    ]
    assert told.said.isascii()


def test_a_home_with_nothing_in_it_stays_that_way(start: Start, tmp_path: Path) -> None:
    empty = start("--home", tmp_path / "none", "history")
    assert empty.ends() == Exit.BAD_INPUT
    assert "Begin with: overfence chat" in empty.said
    assert not (tmp_path / "none").exists()


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
        (["chat", "--server", "example.com"], Exit.BAD_INPUT, "no server's address"),
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
