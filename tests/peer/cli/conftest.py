"""People at keyboards: real `overfence` processes, with pipes or a terminal of their own, and a real node."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

PATIENCE_S = 40.0
ENDING_S = 20.0
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>]|\][^\x07]*\x07)")

Enter = Callable[[str], None]


class Typist:
    """One process, what it has said so far, and hands on its keyboard."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, *, terminal: bool = False, size: tuple[int, int] = (60, 200)
    ) -> None:
        self.said = ""
        # Only a terminal that says where its cursor is gets a line below the prompt.
        self._tells_cursor = size != (60, 200)
        self._news = threading.Condition()
        self._ended = False
        self._keyboard, stdin, stdout = self._plug(terminal, size)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OVERFENCE_")}
        environment |= {
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": str(int(not self._tells_cursor)),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }
        environment |= {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "share")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "overfence", *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=stdout if terminal else subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        self._eye = self._keyboard
        if terminal:
            os.close(stdin)
        else:
            assert self.process.stdin and self.process.stdout
            self._keyboard, self._eye = self.process.stdin.fileno(), self.process.stdout.fileno()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def types(self, text: str, end: str = "\n") -> None:
        self.types_bytes((text + end).encode())

    def types_bytes(self, raw: bytes) -> None:
        # A terminal takes a long paste in pieces.
        while raw:
            raw = raw[os.write(self._keyboard, raw[:1024]) :]

    def sees(self, pattern: str, after: int = 0) -> re.Match[str]:
        """Waits until what it said from offset ``after`` on matches; fails with all it said."""
        deadline_at = time.monotonic() + PATIENCE_S
        with self._news:
            while not (found := re.compile(pattern, re.MULTILINE).search(self.said, after)):
                left_s = deadline_at - time.monotonic()
                if left_s <= 0 or self._ended:
                    pytest.fail(f"never saw {pattern!r} in:\n{self.said}")
                self._news.wait(left_s)
            return found

    def hangs_up(self) -> None:
        """The end of its input."""
        assert self.process.stdin
        self.process.stdin.close()

    def ends(self) -> int:
        """Its exit code, once it has ended and all it said is here."""
        code = self.process.wait(ENDING_S)
        self._reader.join(ENDING_S)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(ENDING_S)
        self._reader.join(ENDING_S)
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
        if not self.process.stdin:
            os.close(self._keyboard)

    def _plug(self, terminal: bool, size: tuple[int, int]) -> tuple[int, int, int]:
        if not terminal:
            return -1, subprocess.PIPE, subprocess.PIPE
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        return ours, theirs, theirs

    def _read(self) -> None:
        while True:
            try:
                raw = os.read(self._eye, 65536)
            except OSError:
                raw = b""  # the other end of a terminal has closed
            if self._tells_cursor and b"\x1b[6n" in raw:
                os.write(self._keyboard, b"\x1b[1;1R")
            with self._news:
                self.said += _ESCAPES.sub("", raw.decode("utf-8", "replace")).replace("\r\n", "\n")
                self._ended = not raw
                self._news.notify_all()
            if not raw:
                return


Start = Callable[..., Typist]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `overfence` with the given arguments, in a world of its own; ends what still runs."""
    started: list[Typist] = []

    def begin(*arguments: str | Path, terminal: bool = False, size: tuple[int, int] = (60, 200)) -> Typist:
        started.append(Typist([str(one) for one in arguments], tmp_path, terminal=terminal, size=size))
        return started[-1]

    yield begin
    for one in started:
        one.close()


@pytest.fixture
def node(start: Start, tmp_path: Path) -> str:
    """The URL of a node that runs."""
    serving = start("serve", "--port", "0", "--data", tmp_path / "node")
    return serving.sees(r"^listening on (ws://\S+)$")[1]
