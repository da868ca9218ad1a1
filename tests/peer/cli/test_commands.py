"""What a typed line means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.cli import commands as c
from overfence.cli.commands import parse


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("", c.Nothing()),
        ("   ", c.Nothing()),
        ("hello", c.Say("hello")),
        ("  indented /quit", c.Say("  indented /quit")),
        ("//etc/passwd", c.Say("/etc/passwd")),
        ("/help", c.Help()),
        ("/HELP", c.Help()),
        ("/quit ", c.Quit()),
        ("/invite", c.MakeInvite()),
        ("/accept  overfence:AbC ", c.Accept("overfence:AbC")),
        ("/to Bob from work", c.To("Bob from work")),
        ("/rename Bobby", c.Rename("Bobby")),
        ("/remove", c.Remove()),
        ("/contacts", c.Contacts()),
        ("/verify", c.Verify("")),
        ("/verify 12345 67890", c.Verify("12345 67890")),
        ("/verify overfence-verify:AbC", c.Verify("overfence-verify:AbC")),
        ("/unverify", c.Unverify()),
        ("/trust", c.Trust("")),
        ("/trust NEW", c.Trust("new")),
        ("/trust old", c.Trust("old")),
        ("/block", c.Block()),
        ("/unblock Bob from work", c.Unblock("Bob from work")),
        ("/renew", c.Renew()),
        ("/invites", c.Invites()),
        ("/cancel 2", c.Cancel(2)),
        ("/decline  overfence:AbC", c.Decline("overfence:AbC")),
        ("/search key  cupboard", c.Search("key  cupboard")),
        ("/history", c.History(c.HISTORY_LINES)),
        ("/history 7", c.History(7)),
        ("/history 999999999", c.History(c.HISTORY_LIMIT)),
    ],
)
def test_each_line_means_one_thing(line: str, meant: c.Command) -> None:
    assert parse(line) == meant


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/helo", "did you mean /help?"),
        ("/", "/help lists them"),
        ("/xyzzy", "no command /xyzzy; /help"),
        ("/accept", "/accept needs"),
        ("/rename  ", "/rename needs"),
        ("/remove Carol", "takes nothing after it"),
        ("/quit now", "takes nothing after it"),
        ("/block Carol", "takes nothing after it"),
        ("/unblock", "/unblock needs"),
        ("/decline", "/decline needs"),
        ("/trust me", "nothing, new or old"),
        ("/cancel", "a number"),
        ("/cancel all", "a number"),
        ("/cancel 0", "a number"),
        ("/history some", "a number"),
        ("/history 0", "a number"),
        ("/history -3", "a number"),
        ("/history ²", "a number"),
        ("/history 99999999999999999999", "a number"),
    ],
)
def test_a_mistake_is_explained_and_nothing_is_done(line: str, said: str) -> None:
    meant = parse(line)
    assert isinstance(meant, c.Mistake)
    assert said in meant.why


@given(st.text())
def test_only_a_leading_slash_makes_a_line_more_than_words(line: str) -> None:
    meant = parse(line)
    if line.strip() and not line.startswith("/"):
        assert meant == c.Say(line)
    if isinstance(meant, c.Say):
        assert meant.text in (line, line[1:]) and meant.text.strip()


@given(st.text(min_size=1).filter(lambda text: text.strip() and not text.startswith("/")))
def test_two_slashes_say_a_line_that_begins_with_one(text: str) -> None:
    assert parse("//" + text) == c.Say("/" + text)


def test_help_names_every_command() -> None:
    assert all(name in c.HELP for name in c.NAMES)
