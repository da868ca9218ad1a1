"""What others write may say anything, but on a terminal it can't act, hide, or pose as another line."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.cli.shown import MARKS_LIMIT, NAME_LIMIT, TURNS, brief, shown, shown_name

ANYTHING = st.text(alphabet=st.characters(), max_size=200) | st.text(
    alphabet=st.sampled_from("a \t\n\r\x1b[31m\x07\x9b\u202e\u2066\u2069\u200b\u200d\u0301\u2028\ud800\U000e0041"),
    max_size=60,
)


@given(ANYTHING)
def test_nothing_is_left_that_a_terminal_obeys_or_hides(text: str) -> None:
    safe = shown(text)
    for character in safe:
        assert unicodedata.category(character) not in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp"), repr(safe)
        assert unicodedata.category(character) != "Cf" or character in "\u200c\u200d"
        assert character not in TURNS
    assert shown(safe) == safe
    safe.encode()


@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert shown(text) == text


@given(ANYTHING)
def test_a_name_is_one_short_line_that_can_be_seen(name: str) -> None:
    safe = shown_name(name)
    assert 0 < len(safe) <= NAME_LIMIT
    assert safe == safe.strip() and "  " not in safe and "\n" not in safe and "⏎" not in safe


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("\x1b[2J\x1b]0;title\x07", "␛[2J␛]0;title␇"),
        ("one\r\n12:34 Bob: two", "one⏎12:34 Bob: two"),
        ("csi \x9b31m", "csi \N{REPLACEMENT CHARACTER}31m"),
        ("evil\u202etxt.exe", "evil\N{REPLACEMENT CHARACTER}txt.exe"),
        ("a\tb\x00c\x7f", "a b␀c␡"),
        ("זה טוב", "זה טוב"),
        ("\N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET}", "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET}"),
        ("soft\u00adhyphen\u200b", "softhyphen"),
        ("z" + "\u0301" * 50, "z" + "\u0301" * MARKS_LIMIT),
    ],
)
def test_what_stands_there_instead(written: str, seen: str) -> None:
    assert shown(written) == seen


@pytest.mark.parametrize("nothing", ["", " ", "\u200b", "\u3164", "\n\n", "\u200d"])
def test_a_name_that_shows_nothing_says_so(nothing: str) -> None:
    assert shown_name(nothing) == "(no name)"


def test_a_long_text_is_pointed_at_by_its_beginning() -> None:
    assert brief("short") == "short"
    assert brief("x" * 1000) == "x" * 29 + "…"
    assert brief("two\nlines") == "two⏎lines"
