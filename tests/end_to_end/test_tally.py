"""The demo's count is only worth something if it finds what went wrong: here everything goes wrong, one at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.demo.script import number_in, text_of
from overfence.demo.tally import Book, Line, Tally, tally

People = dict[str, list[Line]]

SAID = {"Ada": 5, "Bob": 4}
LOG = bytes(8)


def books(unsure: tuple[str, int] | None = None) -> dict[str, Book]:
    """Everybody's list; all was acknowledged, but perhaps one text."""
    found = {}
    for author, count in SAID.items():
        found[author] = Book()
        for number in range(1, count + 1):
            found[author].hand_over(text_of(1, author, number))
            if (author, number) != unsure:
                found[author].acknowledge(text_of(1, author, number))
    return found


def good() -> People:
    """What both hold when nothing went wrong."""
    lines = [
        Line(author, LOG, 3 + number, text_of(1, author, number))
        for author, count in SAID.items()
        for number in range(1, count + 1)
    ]
    return {"Ada": list(lines), "Bob": list(lines)}


def test_nothing_wrong() -> None:
    assert tally(books(), good()) == Tally(sent=9, delivered=9, lost=0, duplicated=0, misordered=0, foreign=0)
    assert tally(books(), good()).kept


def test_a_loss_at_the_other_side_is_found() -> None:
    people = good()
    del people["Bob"][2]  # Ada's third
    found = tally(books(), people)
    assert (found.sent, found.delivered, found.lost, found.kept) == (9, 8, 1, False)


def test_a_loss_at_its_own_author_is_found() -> None:
    people = good()
    del people["Ada"][2]
    found = tally(books(), people)
    assert (found.delivered, found.lost, found.kept) == (9, 1, False)


def test_a_loss_on_both_sides_counts_once() -> None:
    people = good()
    del people["Ada"][2], people["Bob"][2]
    found = tally(books(), people)
    assert (found.delivered, found.lost, found.kept) == (8, 1, False)


@pytest.mark.parametrize("owner", ["Ada", "Bob"])
def test_a_duplicate_is_found(owner: str) -> None:
    people = good()
    people[owner].insert(3, replace(people[owner][2], seq=99, log=b"anothers"))
    found = tally(books(), people)
    assert (found.duplicated, found.lost, found.kept) == (1, 0, False)


def test_a_swapped_pair_is_found() -> None:
    people = good()
    people["Bob"][1:3] = people["Bob"][2:0:-1]
    found = tally(books(), people)
    assert (found.misordered, found.lost, found.duplicated, found.kept) == (1, 0, 0, False)


def test_texts_in_order_under_numbers_that_are_not_is_found() -> None:
    people = good()
    people["Bob"][1] = replace(people["Bob"][1], seq=50)
    assert tally(books(), people).misordered == 1


def test_an_altered_text_is_foreign_and_the_right_one_lost() -> None:
    people = good()
    people["Bob"][0] = replace(people["Bob"][0], text=people["Bob"][0].text + "!")
    found = tally(books(), people)
    assert (found.foreign, found.lost, found.kept) == (1, 1, False)


def test_a_text_under_another_author_is_foreign() -> None:
    people = good()
    people["Bob"][0] = replace(people["Bob"][0], author="Bob")
    assert tally(books(), people).foreign == 1
    people["Bob"][0] = replace(people["Bob"][0], author="a stranger")
    assert tally(books(), people).foreign == 1


def test_a_text_nobody_saw_acknowledged_may_be_on_both_sides_or_on_none() -> None:
    people = good()
    assert tally(books(unsure=("Bob", 4)), people).kept
    assert tally(books(unsure=("Bob", 4)), people).sent == 8
    del people["Ada"][-1], people["Bob"][-1]
    assert tally(books(unsure=("Bob", 4)), people).kept


@pytest.mark.parametrize("owner", ["Ada", "Bob"])
def test_but_not_on_one_side_only(owner: str) -> None:
    people = good()
    del people[owner][-1]
    found = tally(books(unsure=("Bob", 4)), people)
    assert (found.lost, found.kept) == (1, False)


@given(owner=st.sampled_from(["Ada", "Bob"]), data=st.data())
def test_any_single_change_is_found(owner: str, data: st.DataObject) -> None:
    people = good()
    lines = people[owner]
    at = data.draw(st.integers(0, len(lines) - 1))
    match data.draw(st.sampled_from(["drop", "repeat", "swap"])):
        case "drop":
            del lines[at]
        case "repeat":
            lines.append(lines[at])
        case "swap":
            mine = [index for index, line in enumerate(lines) if line.author == lines[at].author and index != at]
            to = data.draw(st.sampled_from(mine))
            lines[at], lines[to] = lines[to], lines[at]
    assert not tally(books(), people).kept


def test_texts_are_the_same_for_a_seed_and_never_alike() -> None:
    texts = {text_of(7, author, number) for author in ("Ada", "Bob") for number in range(1, 400)}
    assert len(texts) == 2 * 399
    assert text_of(7, "Ada", 12) == text_of(7, "Ada", 12) != text_of(8, "Ada", 12)
    assert {number_in(text_of(7, "Ada", number)) for number in range(1, 400)} == set(range(1, 400))
    assert max(len(text.encode()) for text in texts) < 12_000, "one event holds 16 KiB"
    assert number_in("hello #3") == number_in("#x") == number_in("") == 0
