"""What a terminal of ordinary size shows of long drafts, of mistakes, and of codes that don't fit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from overfence.cli.exits import Exit
from overfence.cli.screen import PROMPT_ROWS, fitted

from .conftest import Start, Typist
from .test_chat import LINK

pytestmark = pytest.mark.timeout(240)

SMALL = (24, 80)
CTRL_U, UP = "\x15", "\x1b[A"


def paste(text: str) -> str:
    """``text`` as a terminal hands over what is pasted."""
    return f"\x1b[200~{text}\x1b[201~"


@pytest.fixture
def pair(start: Start, node: str, tmp_path: Path) -> tuple[Typist, Typist]:
    """Ada in a small terminal, Bob behind a pipe; they are contacts."""
    bob = start("--home", tmp_path / "bob", "chat", "--name", "Bob", "--server", node)
    link = bob.sees(LINK)[1]
    ada = start("--home", tmp_path / "ada", "chat", link, "--name", "Ada", terminal=True, size=SMALL)
    ada.sees(r"Bob>")
    return ada, bob


def test_a_long_paste_leaves_the_screen_alone_and_ctrl_u_discards_all_of_it(pair: tuple[Typist, Typist]) -> None:
    ada, bob = pair
    ada.types(paste("\n".join(f"row {number}." for number in range(1, 301))), end="")
    ada.sees(r"row 300\.")
    ada.sees(r"300 lines: Enter sends them as one message · Ctrl-U discards")
    assert len(set(re.findall(r"row \d+\.", ada.said))) <= PROMPT_ROWS
    ada.types(CTRL_U + "short", end="\r")
    bob.sees(r"^\d\d:\d\d Ada: short$")
    assert "row" not in bob.said


def test_what_is_too_long_says_so_before_enter_and_is_never_glued_to_the_next_line(pair: tuple[Typist, Typist]) -> None:
    ada, bob = pair
    ada.types(paste("long " * 4000), end="")
    ada.sees(r"20,000 bytes, and one message holds about 16,000")
    ada.types("", end="\r")
    ada.sees(r"Send it in parts\. \(↑ brings back\s+what you typed\)")
    ada.types("next", end="\r")
    bob.sees(r"^\d\d:\d\d Ada: next$")
    seen = len(ada.said)
    ada.types(UP + UP, end="")
    ada.sees(r"20,000 bytes, and one message holds about 16,000", seen)


def test_a_mistyped_command_leaves_an_empty_prompt_and_can_be_brought_back(pair: tuple[Typist, Typist]) -> None:
    ada, bob = pair
    ada.types("/to Carol", end="\r")
    ada.sees(r"There is no contact Carol")
    ada.types("hello", end="\r")
    bob.sees(r"^\d\d:\d\d Ada: hello$")
    ada.types(UP + UP + " or Dave", end="\r")
    ada.sees(r"There is no contact Carol or Dave")


def test_a_code_that_does_not_fit_is_left_out_whole(start: Start, node: str, tmp_path: Path) -> None:
    eve = start("--home", tmp_path / "eve", "chat", "--name", "Eve", "--server", node, terminal=True, size=SMALL)
    eve.sees(r"In a larger window, /invite also shows a code to photograph")
    eve.sees(r"/help")
    assert "█" not in eve.said and "▀" not in eve.said
    eve.types("/quit", end="\r")
    assert eve.ends() == Exit.OK


@pytest.mark.parametrize(
    ("columns", "seen"),
    [
        (80, "Bob: here · direct (host) · server connected · /help"),
        (40, "Bob: here · direct (host) · server …"),
        (28, "Bob: here · direct (host) …"),
        (27, "Bob: here · direct (host) …"),
        (26, "Bob: here · direct …"),
        (21, "Bob: here · direct …"),
        (13, "Bob: here …"),
    ],
)
def test_a_status_that_is_too_long_ends_with_a_word(columns: int, seen: str) -> None:
    assert fitted("Bob: here · direct (host) · server connected · /help", columns) == seen


def test_the_width_of_letters_counts() -> None:
    assert fitted("橋橋 橋橋", 6, lambda text: sum(2 if one == "橋" else 1 for one in text)) == "橋橋 …"
