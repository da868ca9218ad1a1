"""The identity's file: made once, whole, private, and never replaced."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from overfence.identity import BadKeyFile, Identity, KeyFileExposed, KeyFileUnavailable, load_or_create


def test_the_first_start_makes_it_and_the_next_finds_it(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "identity"
    me, created = load_or_create(path, os.urandom)
    assert created
    assert load_or_create(path, os.urandom) == (me, False)
    assert os.listdir(path.parent) == ["identity"]


def test_it_is_private_from_its_first_byte_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        modes.extend(stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(tmp_path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    before = os.umask(0)
    try:
        load_or_create(tmp_path / "identity", os.urandom)
    finally:
        os.umask(before)
    # Once for the draft, once for the folder it was put in.
    assert modes == [0o600, 0o600]


def test_where_others_may_read_it_nothing_is_read_and_the_remedy_is_told(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    me, _ = load_or_create(path, os.urandom)
    for mode in (0o644, 0o640, 0o620, 0o604):
        path.chmod(mode)
        with pytest.raises(KeyFileExposed) as caught:
            load_or_create(path, os.urandom)
        assert f"chmod 600 {path}" in str(caught.value)
        assert caught.value.mode == mode == stat.S_IMODE(path.stat().st_mode)
    subprocess.run(caught.value.remedy.split(), check=True, timeout=10)
    assert load_or_create(path, os.urandom) == (me, False)


def test_a_damaged_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    load_or_create(path, os.urandom)
    whole = path.read_bytes()
    for damaged in (b"", whole[:50], whole[:-1], whole[:60] + b"\0" + whole[61:], b"\0" * len(whole)):
        path.write_bytes(damaged)
        with pytest.raises(BadKeyFile, match=str(path)):
            load_or_create(path, os.urandom)
        assert path.read_bytes() == damaged


def test_a_folder_or_a_pipe_in_its_place_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadKeyFile, match="regular file"):
        load_or_create(tmp_path / "pipe", os.urandom)
    with pytest.raises((BadKeyFile, KeyFileUnavailable)):
        load_or_create(tmp_path / "folder", os.urandom)


def test_a_disk_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFileUnavailable, match="No space left"):
        load_or_create(tmp_path / "identity", os.urandom)
    assert os.listdir(tmp_path) == []


def test_without_hard_links_it_is_renamed_into_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    me, created = load_or_create(tmp_path / "identity", os.urandom)
    assert created
    assert load_or_create(tmp_path / "identity", os.urandom) == (me, False)
    assert os.listdir(tmp_path) == ["identity"]


def test_a_draft_never_goes_into_a_file_somebody_laid_there(tmp_path: Path) -> None:
    laid = tmp_path / f".identity.{bytes(6).hex()}.new"
    laid.write_bytes(b"")
    with pytest.raises(KeyFileUnavailable):
        load_or_create(tmp_path / "identity", lambda count: bytes(count))
    assert laid.read_bytes() == b""
    assert os.listdir(tmp_path) == [laid.name]


def test_another_process_that_was_first_wins(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    theirs = Identity.create(os.urandom)

    def meanwhile(count: int) -> bytes:
        if not path.exists():
            path.touch(0o600)
            path.write_bytes(theirs.encode())
        return os.urandom(count)

    assert load_or_create(path, meanwhile) == (theirs, False)
    assert Identity.decode(path.read_bytes()) == theirs
    assert os.listdir(tmp_path) == ["identity"]


def test_many_processes_at_once_agree_on_one_identity(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from overfence.identity import load_or_create;"
        "print(load_or_create(Path(sys.argv[1]), os.urandom)[0].account.hex())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "identity")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1
