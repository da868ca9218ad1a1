"""Names, ticks, news and days, as they come to stand on a screen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.cli import lines, news, refusals
from overfence.cli.exits import Exit, Told
from overfence.cli.people import find, label
from overfence.cli.screen import Part, Tone
from overfence.cli.ticks import REMEMBERED, Said, Ticks
from overfence.cli.wrapping import INDENT, hanging
from overfence.errors import DeviceListConflict, OverfenceError, RevokedDevice, SafetyMismatch, UnknownDevice
from overfence.sealing import BadCard, BadEnvelope, Forged, MalformedMessage

LOG = b"the log."
NOON = datetime(2026, 3, 4, 12, 34, tzinfo=UTC)


@dataclass(frozen=True)
class Somebody:
    id: str
    name: str


@dataclass(frozen=True)
class Spoken:
    text: str | None
    mine: bool = False
    kind: str = "text"
    data: bytes | None = None
    at: datetime = NOON
    state: str = "received"


BOB, OTHER_BOB, CAROL = Somebody("bbbbbbb1", "Bob"), Somebody("ccccccc2", "BOB"), Somebody("ddddddd3", "Carol")


def plain(parts: list[Part]) -> str:
    return "".join(part if isinstance(part, str) else part[1] for part in parts)


def test_a_name_that_could_mean_someone_else_carries_its_id() -> None:
    assert label(BOB, [BOB, CAROL]) == "Bob"
    assert label(BOB, [BOB, OTHER_BOB]) == "Bob (bbbbbb)"
    assert label(CAROL, [CAROL], own_name="carol") == "Carol (dddddd)"
    assert label(Somebody("eeeeeee4", "You"), []) == "You (eeeeee)"
    assert label(Somebody("eeeeeee4", "\x1b[1mEve\n12:00 Bob: hi"), []) == "␛[1mEve 12 00 Bob hi"


@pytest.mark.parametrize(
    "other",
    ["Bob\u200d", "Bo\u200cb", "Bob\ufe0f", "B\u034fob", "\u2800Bob", "Bob\u3164", "B\u0332ob", "\uff22ob", "B ob"],
)
def test_names_that_look_the_same_carry_their_ids(other: str) -> None:
    evil = Somebody("eeeeeee4", other)
    labels = [label(one, [BOB, evil]) for one in (BOB, evil)]
    assert labels[0] == "Bob (bbbbbb)"
    assert labels[1].endswith(" (eeeeee)")


@pytest.mark.parametrize("own", ["You\u200d", "y\u034fou", "ADA\u3164"])
def test_nobody_looks_like_oneself(own: str) -> None:
    assert label(Somebody("eeeeeee4", own), [BOB], "Ada").endswith(" (eeeeee)")


def test_an_id_that_begins_alike_is_shown_to_where_it_differs() -> None:
    """Six letters can be searched for."""
    real, forged = Somebody("aaaaaabbbb", "Bob"), Somebody("aaaaaabbcc", "Bob")
    assert [label(one, [real, forged]) for one in (real, forged)] == ["Bob (aaaaaabbb)", "Bob (aaaaaabbc)"]


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("You → Carol", "You Carol"),
        ("Bob (aaaaaa)", "Bob [aaaaaa]"),
        ("Bob: hi", "Bob hi"),
        ("Bob ✓✓", "Bob"),
        ("Bob\uff1ahi", "Bob hi"),
    ],
)
def test_a_name_says_nothing_that_our_own_lines_say(name: str, seen: str) -> None:
    assert label(Somebody("eeeeeee4", name), []) == seen


def test_what_wraps_does_not_begin_a_row_as_a_message_does() -> None:
    posing = "12:35 Bob: the password is hunter2"
    for filler in (" " * 67, "\u00a0" * 67, "\u3164" * 67, " word" * 13 + "  "):
        parts = lines.message(Spoken(f"ok{filler}{posing}"), "Eve", NOON.date())
        rows = plain(hanging(parts, 80, len)).split("\n")
        assert rows[0].startswith("12:34 Eve: ok")
        assert all(row.startswith(INDENT) for row in rows[1:])
        assert max(map(len, rows)) <= 80


def test_a_link_stays_whole_and_short_lines_stay_as_they_are() -> None:
    link = "overfence:" + "A" * 300
    assert link in plain(hanging(["Here: ", link], 80, len))
    short: list[Part] = ["12:34 ", (Tone.STRONG, "Bob:"), " hello there"]
    assert hanging(short, 80, len) == short
    assert plain(hanging(["█ █\n█ █"], 80, len)) == "█ █\n█ █"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("bob (bbbbbb)", BOB), ("ccccccc2", OTHER_BOB), ("car", CAROL), ("CAROL", CAROL), ("ddd", CAROL)],
)
def test_a_person_is_found_by_name_or_id_or_how_it_begins(typed: str, meant: Somebody) -> None:
    assert find(typed, [BOB, OTHER_BOB, CAROL]) is meant


@pytest.mark.parametrize(("typed", "said"), [("bob", "several: Bob (bbbbbb), BOB (cccccc)"), ("dave", "You know Bob")])
def test_a_name_that_means_nobody_or_several_is_no_guess(typed: str, said: str) -> None:
    with pytest.raises(Told) as failure:
        find(typed, [BOB, OTHER_BOB, CAROL])
    assert said in str(failure.value)
    assert failure.value.code is Exit.BAD_INPUT


def said(number: int) -> Said:
    return Said(LOG, number, NOON, f"text {number}")


def test_a_burst_of_ticks_is_told_as_one() -> None:
    ticks = Ticks()
    for number in (1, 2, 3):
        ticks.say(said(number), told=False)
    assert ticks.waiting == 3
    ticks.delivered(LOG, 1)
    ticks.delivered(LOG, 2)
    assert ticks.tell() == (said(2), 2)
    assert ticks.tell() is None
    ticks.delivered(LOG, 1)
    assert ticks.waiting == 1 and ticks.tell() is None


def test_a_tick_that_was_faster_than_its_line_is_not_lost() -> None:
    ticks = Ticks()
    ticks.delivered(LOG, 5)
    ticks.say(said(5), told=False)
    assert ticks.tell() == (said(5), 1)
    ticks.say(said(6), told=True)
    ticks.delivered(LOG, 6)
    assert ticks.tell() is None


@given(st.lists(st.sampled_from(["say", "deliver", "tell"]), max_size=60), st.data())
def test_every_message_gets_its_second_tick_once_and_only_when_covered(steps: list[str], data: st.DataObject) -> None:
    ticks, sent, upto, told = Ticks(), 0, 0, 0
    for step in steps:
        if step == "say":
            sent += 1
            ticks.say(said(sent), told=False)
        elif step == "deliver":
            upto = max(upto, data.draw(st.integers(0, sent)))
            ticks.delivered(LOG, upto)
        elif news_of := ticks.tell():
            told += news_of[1]
            assert news_of[0].seq <= upto
        assert told <= upto
    left = ticks.tell()
    assert told + (left[1] if left else 0) == upto
    assert ticks.waiting == sent - upto


def test_a_long_backlog_is_bounded() -> None:
    ticks = Ticks()
    for number in range(REMEMBERED + 10):
        ticks.say(said(number + 1), told=False)
    assert ticks.waiting == REMEMBERED


def test_a_message_is_one_line_and_only_mine_carries_a_tick() -> None:
    assert plain(lines.message(Spoken("hi\nthere \x07"), "Bob", NOON.date())) == "12:34 Bob: hi⏎there ␇"
    mine = Spoken("hi", mine=True, state="sent")
    assert plain(lines.message(mine, "You", NOON.date())) == "12:34 You: hi ✓"
    assert plain(lines.message(mine, "You", NOON.date(), lines.DELIVERED)) == "12:34 You: hi ✓✓"
    assert plain(lines.message(Spoken("late"), "Bob", date(2026, 3, 5))) == "4 Mar 2026 12:34 Bob: late"


def test_what_is_no_text_is_named() -> None:
    assert lines.words(Spoken(None, kind="app/\x1bx", data=b"1234")) == "[app/␛x, 4 bytes: for another program]"
    assert "newer version" in lines.words(Spoken(None, kind="poll"))


def test_a_history_says_where_another_day_begins() -> None:
    past = [(Spoken("a", at=datetime(2026, 3, 3, 9, 0, tzinfo=UTC)), "Bob"), (Spoken("b"), "Bob")]
    shown = [plain(parts) for parts in lines.history(past, NOON.date())]
    assert shown == ["── Tuesday 3 March 2026 ──", "09:00 Bob: a", "── Wednesday 4 March 2026 ──", "12:34 Bob: b"]


def test_the_server_is_news_only_when_it_comes_or_goes() -> None:
    server = news.Server("ws://n")
    assert server.change("ws://n", False, "refused\x1b", 2.0) == (
        "no connection to the server ws://n (refused␛); trying again in 2 s. What you type is kept and goes out later"
    )
    assert server.change("ws://n", False, "something else", 4.0) is None
    assert str(server) == "server away"
    assert server.change("ws://n", True, "", None) == "connected to the server ws://n"
    assert server.change("ws://n", True, "", None) is None
    for connected in (False, True, False):
        assert server.change("ws://a-contacts", connected, "no", 1.0) is None
    assert str(server) == "server connected"
    assert len(server.change("ws://n", False, "x" * 60_000, 1.0) or "") < 300


@pytest.mark.parametrize(
    ("detail", "worth"), [("", False), ("not here now", False), ("connected", False), ("no answer in time", True)]
)
def test_only_a_try_that_failed_is_news_of_the_way(detail: str, worth: bool) -> None:
    assert news.failed_to_connect(detail) is worth


def test_a_server_without_tls_at_the_other_end_is_guessed() -> None:
    plain = "cannot connect: [SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:992)"
    assert "begins with ws://" in news.server_hint("wss://n", plain)
    assert news.server_hint("ws://n", plain) == ""
    assert news.server_hint("wss://n", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed") == ""
    assert news.server_hint("wss://n", "cannot connect: Connection refused") == ""


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", ""),
        ("hello", ""),
        ("one\ntwo", "2 lines: Enter sends them as one message"),
        ("é" * 8001, "16,002 bytes, and one message holds about 16,000"),
    ],
)
def test_an_unfinished_message_is_described_only_where_it_surprises(typed: str, said: str) -> None:
    assert news.draft(typed).startswith(said) and bool(news.draft(typed)) == bool(said)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59, "59 s"), (60, "1 minute"), (7200, "2 hours"), (7 * 86400, "7 days")],
)
def test_a_length_of_time_in_words(seconds: float, words: str) -> None:
    assert lines.span(seconds) == words


@pytest.mark.parametrize("error", [BadCard("x"), DeviceListConflict(), RevokedDevice(), SafetyMismatch()])
def test_what_concerns_a_person_is_told_with_the_name(error: OverfenceError) -> None:
    said = refusals.words(error, "Bob")
    assert "Bob" in said and "{" not in said


@pytest.mark.parametrize("error", [MalformedMessage(), BadEnvelope(), Forged(), UnknownDevice(), OverfenceError()])
def test_what_did_no_harm_is_not_told(error: OverfenceError) -> None:
    assert refusals.words(error, "Bob") == ""
