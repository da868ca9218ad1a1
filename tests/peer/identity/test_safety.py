"""Safety numbers and the codes that are shown: the same from both sides, and never the same for other keys."""

from __future__ import annotations

import re
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.errors import SafetyMismatch
from overfence.identity import (
    BadVerifyCode,
    H,
    SafetyNumber,
    VerifyFault,
    check_shown,
    read_verify_code,
    safety_number,
    verify_code,
)

ADA, BOB, EVE, MALLORY = (H(name) for name in (b"Ada", b"Bob", b"Eve", b"Mallory"))
CODE = verify_code(BOB, ADA)
DATA = CODE.removeprefix("overfence-verify:")
keys = st.binary(min_size=32, max_size=32)


def fault_of(shown: str) -> VerifyFault:
    with pytest.raises(BadVerifyCode) as caught:
        check_shown(shown, ADA, BOB)
    return caught.value.reason


def test_the_number_is_twelve_groups_of_five_digits_and_stays_what_it_was() -> None:
    assert re.fullmatch(r"(\d{5} ){11}\d{5}", safety_number(ADA, BOB))
    # By hand from docs/protocol.md §1, once: another client must come to the same.
    assert (
        safety_number(bytes(32), bytes([255]) * 32)
        == "59224 82082 42431 01194 29728 33670 87852 02516 56172 18228 32304 38503"
    )


@given(keys, keys)
def test_both_sides_see_the_same_number(one: bytes, other: bytes) -> None:
    assert safety_number(one, other) == safety_number(other, one)


@given(keys, keys, st.integers(0, 31), st.integers(1, 255))
def test_any_changed_byte_of_a_key_changes_the_number(one: bytes, other: bytes, at: int, by: int) -> None:
    changed = one[:at] + bytes([one[at] ^ by]) + one[at + 1 :]
    assert safety_number(changed, other) != safety_number(one, other)


@given(keys, keys, st.sampled_from(["", " ", "\n", "-", ".", " \u200b"]), st.integers(1, 20))
def test_digits_are_the_same_in_any_grouping(me: bytes, contact: bytes, between: str, size: int) -> None:
    digits = safety_number(me, contact).replace(" ", "")
    check_shown(between.join(textwrap.wrap(digits, size)), me, contact)


@given(st.integers(0, 59), st.integers(1, 9))
def test_one_wrong_digit_is_a_mismatch(at: int, by: int) -> None:
    digits = safety_number(ADA, BOB).replace(" ", "")
    wrong = digits[:at] + str((int(digits[at]) + by) % 10) + digits[at + 1 :]
    with pytest.raises(SafetyMismatch):
        check_shown(wrong, ADA, BOB)


def test_too_few_or_too_many_digits_are_not_compared() -> None:
    digits = safety_number(ADA, BOB)
    assert fault_of(digits[:-1]) is VerifyFault.INCOMPLETE
    assert fault_of(digits + "7") is VerifyFault.DAMAGED


@given(keys, keys)
def test_a_code_is_read_as_it_was_made(shower: bytes, other: bytes) -> None:
    assert read_verify_code(verify_code(shower, other)) == (shower, other)
    if shower != other:
        check_shown(verify_code(shower, other), other, shower)


@pytest.mark.parametrize(
    "shown",
    [
        f"  {CODE}\n",
        f"“{CODE}”",
        f"({CODE}),",
        "OVERFENCE-VERIFY:" + DATA,
        "overfence-verify%3A" + DATA,
        f"Mine is {CODE}",
        f"{CODE}\n\nSee you",
        "\n".join(textwrap.wrap(CODE, 40)),
        "=\r\n".join(textwrap.wrap(CODE, 75)),
        "\r\n".join("> " + line for line in textwrap.wrap(CODE, 30)),
        "\ufeff" + CODE[:30] + "\u200b" + CODE[30:] + "\u00a0",
    ],
)
def test_what_people_and_programs_put_around_a_code_does_no_harm(shown: str) -> None:
    check_shown(shown, ADA, BOB)


@pytest.mark.parametrize("length", range(4, len(CODE)))
def test_a_cut_code_is_called_incomplete_wherever_it_was_cut(length: int) -> None:
    assert fault_of(CODE[:length]) is VerifyFault.INCOMPLETE


@given(st.integers(0, len(DATA) - 1), st.sampled_from("ABCxyz019-_"))
def test_a_changed_or_lost_character_never_passes(at: int, other: str) -> None:
    lost = DATA[:at] + DATA[at + 1 :]
    assert fault_of("overfence-verify:" + lost) in (VerifyFault.INCOMPLETE, VerifyFault.DAMAGED)
    if other != DATA[at]:
        changed = DATA[:at] + other + DATA[at + 1 :]
        assert fault_of("overfence-verify:" + changed) is VerifyFault.DAMAGED


@pytest.mark.parametrize("shown", ["", "hello", "overfence:" + DATA, "?!", "x" * 5000])
def test_other_texts_are_no_code(shown: str) -> None:
    assert fault_of(shown) is VerifyFault.NOT_A_CODE


@given(st.text())
def test_no_text_at_all_verifies_by_chance_or_fails_in_another_way(shown: str) -> None:
    with pytest.raises((BadVerifyCode, SafetyMismatch)):
        check_shown(shown, ADA, BOB)


def test_a_code_is_for_one_pair_and_says_which_side_shows_it() -> None:
    assert fault_of(verify_code(ADA, BOB)) is VerifyFault.OWN
    assert fault_of(verify_code(EVE, MALLORY)) is VerifyFault.OF_OTHERS
    for shower, other in ((EVE, ADA), (BOB, EVE)):
        with pytest.raises(SafetyMismatch):
            check_shown(verify_code(shower, other), ADA, BOB)


def test_somebody_between_the_two_is_never_verified_whatever_is_compared() -> None:
    """Towards each, Mallory plays the other: what Bob really shows names neither of the keys that Ada knows."""
    to_ada, to_bob = MALLORY, EVE  # two keys of hers
    for shown in (verify_code(BOB, to_bob), safety_number(BOB, to_bob)):
        with pytest.raises((BadVerifyCode, SafetyMismatch)) as caught:
            check_shown(shown, ADA, to_ada)
        assert isinstance(caught.value, SafetyMismatch) or "somebody sits between" in str(caught.value)


def test_the_code_is_drawn_for_terminals_and_pages() -> None:
    number = SafetyNumber(safety_number(ADA, BOB), verify_code(ADA, BOB))
    assert str(number) == number.digits
    assert "█" in number.qr()
    assert number.svg().startswith("<svg")
