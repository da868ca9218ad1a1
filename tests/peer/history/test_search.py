"""Search takes people's words: nothing in them is a query language, and nothing in them is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.history import pages

from .conftest import database, receive, texts, writes

SAID = [
    'she said "over the fence" twice',
    "ADA and bob",
    "near(ly) there NOT yet",
    "text: a colon",
    "naïve café",
    "nul\x00middle",
    "50% of a*b",
    "the fencepost",
]


def hits(words: str) -> list[str]:
    tx = database()
    for event in writes("ada", SAID):
        receive(tx, event)
    return texts(pages.search(tx, words, 20))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("fence", [SAID[7], SAID[0]]),
        ('"over', [SAID[0]]),
        ('"over the fence"', [SAID[0]]),
        ("ada bob", [SAID[1]]),
        ("bob ADA", [SAID[1]]),
        ("ada NOT bob", []),
        ("ada OR fence", []),
        ("NOT", [SAID[2]]),
        ("NEAR(ly", [SAID[2]]),
        ("text:", [SAID[3]]),
        ("cafe", [SAID[4]]),
        ("CAFÉ", [SAID[4]]),
        ("a*b", [SAID[6]]),
        ("middle\x00", [SAID[5]]),
        ("", []),
        ("  \x00 ", []),
        ("nothing of this", []),
    ],
)
def test_every_word_must_occur_and_the_last_may_be_a_beginning(words: str, found: list[str]) -> None:
    assert hits(words) == found


@given(
    st.text(max_size=30)
    | st.lists(
        st.sampled_from(['"', "*", "^", "NEAR(", ")", "AND", "OR", "NOT", ":", "-", "+", "{", "}", "a", "\x00", "'"])
    ).map("".join)
)
def test_nothing_typed_is_an_error(words: str) -> None:
    assert set(hits(words)) <= set(SAID)


@given(st.lists(st.text("abcdef", min_size=1, max_size=6), min_size=1, max_size=5), st.randoms())
def test_what_was_said_is_found_by_its_words_in_any_order(words: list[str], shuffle: object) -> None:
    said = " ".join(words)
    tx = database()
    for event in writes("ada", ["zz", said, "yy"]):
        receive(tx, event)
    assert texts(pages.search(tx, " ".join(sorted(words)), 5)) == [said]


def test_the_newest_come_first_and_no_more_than_asked_for() -> None:
    tx = database()
    for event in writes("ada", [f"word {number}" for number in range(30)]):
        receive(tx, event)
    assert texts(pages.search(tx, "word", 3)) == ["word 29", "word 28", "word 27"]
