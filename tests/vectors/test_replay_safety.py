"""Safety numbers and the codes that compare them are the vectors'."""

from __future__ import annotations

from overfence.identity import safety_number, verify_code

from .replay import Case, each


@each("safety")
def test_safety_numbers(case: Case) -> None:
    shower, other = case.raw("shower"), case.raw("other")
    assert safety_number(shower, other) == case["safety_number"]
    assert verify_code(shower, other) == case["code"]
