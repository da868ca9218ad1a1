"""`overfence demo` as its users run it; and that it tells the truth when something goes wrong."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import pytest
from overfence.demo.tally import Book, Line, Tally, device_of, read_home, tally

KEYS = {"sent", "delivered", "lost", "duplicated", "misordered", "path", "connect_ms", "rtt_p50_ms", "catch_up_ms"}
KEYS |= {"seed", "pair"}
PID = re.compile(r"\(pid (\d+)\)")


class Shown(Protocol):
    code: int
    transcript: list[str]
    errors: str
    result: dict[str, Any]


Demo = Callable[..., Shown]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "kept"


@pytest.fixture(scope="module")
def shown(demo: Demo, homes: Path) -> Shown:
    """One whole demo; most stories here look at what it left."""
    return demo("--messages", "60", "--seed", "1", "--keep", str(homes))


def transcript_has(shown: Shown, pattern: str) -> bool:
    return any(re.search(pattern, line) for line in shown.transcript)


def test_nothing_is_lost_or_doubled_and_it_went_by_webrtc(shown: Shown) -> None:
    assert shown.code == 0, (shown.transcript, shown.errors)
    result = shown.result
    assert set(result) == KEYS
    assert (result["sent"], result["delivered"]) == (160, 160), "60, and 100 by the link alone"
    assert (result["lost"], result["duplicated"], result["misordered"]) == (0, 0, 0)
    assert (result["path"], result["pair"], result["seed"]) == ("webrtc", ["host", "host"], 1)
    assert 0 <= result["connect_ms"] < 5000
    assert 0 < result["rtt_p50_ms"] < 1000
    assert 0 < result["catch_up_ms"] < 20_000


def test_the_transcript_tells_of_the_kill_and_the_server(shown: Shown) -> None:
    assert transcript_has(shown, r"SIGKILL to (Ada|Bob) \(pid \d+\).*seed 1")
    assert transcript_has(shown, r"delivered by then: (Ada|Bob) ✓✓ “#\d+")
    assert transcript_has(shown, r"sent, and not delivered: (Ada|Bob) ✓ “#\d+")
    assert transcript_has(shown, r"the server is stopped")
    assert transcript_has(shown, r"100 ✓✓ without any server")


def test_no_process_is_left(shown: Shown) -> None:
    pids = pids_in(shown.transcript)
    assert len(pids) == 5, "a server twice, three peers"
    assert not [pid for pid in pids if is_running(pid)]


def test_the_homes_agree_and_a_planted_fault_in_one_is_found(shown: Shown, homes: Path, tmp_path: Path) -> None:
    authors = {device_of(homes / name.lower()): name for name in ("Ada", "Bob")}
    books = books_from(list(read_home(homes / "ada", authors)))
    assert count(books, homes, homes, authors).kept
    for statement, wrong in (
        ("DELETE FROM events WHERE row = (SELECT max(row) FROM events WHERE kind = 'text')", "lost"),
        (
            """UPDATE events SET lamport = (SELECT max(lamport) + 1 FROM events)
               WHERE row = (SELECT min(row) FROM events WHERE kind = 'text')""",
            "misordered",
        ),
        (
            """INSERT INTO events SELECT 1000000, conv, device, x'0102030405060708', seq, id, lamport, kind, header,
               body, refused, x'01' || origin, 0, 0 FROM events
               WHERE row = (SELECT max(row) FROM events WHERE kind = 'text')""",
            "duplicated",
        ),
    ):
        altered = tmp_path / wrong
        shutil.copytree(homes / "bob", altered)
        with closing(sqlite3.connect(altered / "history.db")) as database, database:
            assert database.execute(statement).rowcount == 1
            database.execute("INSERT OR IGNORE INTO runs SELECT conv, device, x'0102030405060708', end, tip FROM runs")
        found = count(books, homes, altered, authors)
        assert not found.kept
        assert getattr(found, wrong) >= 1, (wrong, found)


def test_a_minimum_and_an_empty_folder_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for arguments, said in ((("--messages", "3"), "at least"), (("--keep", str(tmp_path)), "not empty")):
        command = [sys.executable, "-m", "overfence", "demo", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 2
        assert said in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]


@pytest.mark.needs_netns
def test_it_runs_where_there_is_no_interface_but_loopback(demo: Demo, in_loopback: tuple[str, ...]) -> None:
    shown = demo("--messages", "60", "--seed", "2", before=in_loopback)
    assert shown.code == 0, (shown.transcript, shown.errors)
    assert shown.result["path"] == "webrtc"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A long demo under way, whose processes are cleared up if it leaves any."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "overfence", "demo", "--messages", "20000"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        yield process
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=30)


def read_until(process: subprocess.Popen[str], words: str) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or words not in lines[-1]:
        line = process.stdout.readline()
        assert line, lines
        lines.append(line)
    return lines


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_takes_all_its_processes_with_it(
    started: subprocess.Popen[str], sign: signal.Signals, tmp_path: Path
) -> None:
    pids = pids_in(read_until(started, "round trips"))
    assert len([pid for pid in pids if is_running(pid)]) == 3
    started.send_signal(sign)
    rest, _ = started.communicate(timeout=30)
    assert "Stopped; all its processes are gone, and nothing of it is left." in rest
    assert not list(tmp_path.glob("overfence-*"))
    assert "Traceback" not in rest
    assert started.returncode not in (0, None)
    assert not [pid for pid in pids if is_running(pid)]


def test_a_server_that_dies_is_told_and_everything_is_kept(started: subprocess.Popen[str]) -> None:
    lines = read_until(started, "round trips")
    os.kill(pids_in(lines)[0], signal.SIGKILL)
    rest, _ = started.communicate(timeout=60)
    assert started.returncode == 1
    assert "FAILED: Server ended by itself" in rest
    folder = re.search(r"homes and logs are in (\S+?)\.\n", rest)
    assert folder and (Path(folder[1]) / "bob" / "history.db").is_file()
    assert not [pid for pid in pids_in(lines) if is_running(pid)]


def pids_in(lines: list[str]) -> list[int]:
    return list(dict.fromkeys(int(pid) for line in lines if "SIGKILL" not in line for pid in PID.findall(line)))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def books_from(lines: list[Line]) -> dict[str, Book]:
    books = {"Ada": Book(), "Bob": Book()}
    for line in lines:
        books[line.author].hand_over(line.text)
        books[line.author].acknowledge(line.text)
    assert len(lines) >= 160
    return books


def count(books: dict[str, Book], adas: Path, bobs: Path, authors: dict[bytes, str]) -> Tally:
    bob = bobs / "bob" if (bobs / "bob").exists() else bobs
    return tally(books, {"Ada": read_home(adas / "ada", authors), "Bob": read_home(bob, authors)})
