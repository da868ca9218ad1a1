"""Where the home is and which server is used; the draft that waits there; and what each failure ends with."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from overfence import InviteExpired, OwnInvite
from overfence import errors as peer
from overfence.cli import draft
from overfence.cli.draft import Draft
from overfence.cli.exits import Exit, Told, explain
from overfence.cli.settings import Settings
from overfence.identity import BadInvite, BadKeyFile, InviteFault
from overfence_signalling import DataUnusable, PortInUse


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVERFENCE_SERVER", raising=False)


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(tmp_path / "ada")
    assert settings.server(None) is None
    assert settings.remember("ws://file:1") is True
    assert settings.server(None) == "ws://file:1"
    assert stat.S_IMODE(os.stat(tmp_path / "ada" / "config.toml").st_mode) == 0o600
    monkeypatch.setenv("OVERFENCE_SERVER", "ws://environment:2")
    assert settings.server(None) == "ws://environment:2"
    assert settings.server("wss://line/") == "wss://line"


def test_a_config_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('server = "ws://mine:1"\n')
    assert Settings(tmp_path).remember("ws://other:2") is False
    assert Settings(tmp_path).server(None) == "ws://mine:1"


@pytest.mark.parametrize("url", ["example.com", "http://a", "ws://", "ws://a b", 'ws://a"', "ws://a:99999", "ws://u@h"])
def test_what_is_no_server_is_said_with_where_it_came_from(tmp_path: Path, url: str) -> None:
    with pytest.raises(Told, match=r"--server.*ws://127\.0\.0\.1:8400") as failure:
        Settings(tmp_path).server(url)
    assert failure.value.code is Exit.USAGE


def test_a_bad_server_in_the_environment_is_no_fault_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERFENCE_SERVER", "example.com")
    with pytest.raises(Told, match="OVERFENCE_SERVER") as failure:
        Settings(tmp_path).server(None)
    assert failure.value.code is Exit.BAD_INPUT


@pytest.mark.parametrize("content", ["server = ", "server = 7", b"\xff\xfe"])
def test_a_config_that_cannot_be_read_names_the_file(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(Told, match=r"config\.toml"):
        Settings(tmp_path).server(None)


def test_a_draft_comes_back_for_whom_it_was_meant_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    assert draft.load(tmp_path) == Draft("", "")
    assert draft.save(tmp_path, Draft("bobid", "half a\nline ✓")) is True
    assert draft.load(tmp_path) == Draft("bobid", "half a\nline ✓")
    assert stat.S_IMODE(os.stat(tmp_path / "draft").st_mode) == 0o600
    assert draft.save(tmp_path, Draft("bobid", "  ")) is False
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PortInUse("127.0.0.1", 8400), Exit.IN_USE, "Choose another with --port"),
        (peer.HomeInUse(), Exit.IN_USE, "Another process has this home open. Close that one"),
        (peer.TooLong(20_000, 16_384), Exit.BAD_INPUT, "20,000 bytes"),
        (peer.NoServer("an invite needs a server"), Exit.BAD_INPUT, "An invite needs a server. Name one with --server"),
        (peer.HistoryTooNew(9, 1), Exit.BAD_INPUT, "update Overfence. It was left as it is."),
        (BadInvite(InviteFault.INCOMPLETE), Exit.BAD_INPUT, "incomplete"),
        (Told("Do this.", Exit.USAGE), Exit.USAGE, "Do this."),
        (PermissionError(13, "Permission denied", "/x"), Exit.FAILED, "/x: Permission denied."),
        (ZeroDivisionError("secret words"), Exit.FAILED, "unexpected went wrong (ZeroDivisionError)"),
    ],
)
def test_each_failure_is_a_sentence_what_to_do_and_a_number(error: Exception, code: Exit, said: str) -> None:
    words, number = explain(error)
    assert number is code
    assert said in words
    assert "secret words" not in words


@pytest.mark.parametrize(
    "error",
    [
        peer.NotDelivered("Bob has not confirmed it yet; it stays queued"),
        peer.EmptyMessage("there is nothing to send"),
        InviteExpired("this invite has expired: ask for a new one"),
        OwnInvite("this is your own invite: send it to somebody else"),
        BadKeyFile("this identity is truncated or damaged; restore it from a backup", Path("keys")),
        *(BadInvite(reason) for reason in InviteFault),
    ],
    ids=lambda error: f"{type(error).__name__} {getattr(error, 'reason', '')}",
)
def test_no_failure_says_the_same_thing_twice(error: Exception) -> None:
    words = re.findall(r"\w+", explain(error)[0].casefold())
    weighty = [word for word in words if len(word) > 3 and word not in ("this", "invite", "overfence")]
    assert len(weighty) == len(set(weighty)), words


def test_a_sentence_begins_large_and_a_file_is_spelled_as_it_is() -> None:
    assert explain(OwnInvite("this is your own invite"))[0].startswith("This is")
    assert explain(DataUnusable(Path("node"), "Permission denied"))[0].startswith("node: Permission denied.")
    assert explain(peer.HistoryDamaged("history.db: not a database"))[0].startswith("history.db: ")


def test_no_error_of_the_library_is_left_without_words() -> None:
    def descendants(kind: type[Exception]) -> set[type[Exception]]:
        return {kind}.union(*(descendants(one) for one in kind.__subclasses__()))

    for kind in descendants(peer.OverfenceError):
        words, _ = explain(kind.__new__(kind))
        assert words.endswith(".") or words[-1].isalnum(), (kind, words)
        assert "unexpected" not in words
