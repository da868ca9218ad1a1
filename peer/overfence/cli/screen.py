"""Lines in and lines out: with a prompt that stays below what arrives on a terminal, as plain lines anywhere else."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from .wrapping import hanging

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.key_binding.key_processor import KeyPressEvent

# A line without an end would fill the memory; what is longer is cut, and still too long to be sent by accident.
LINE_LIMIT_BYTES = 64 * 1024
# Lines read ahead of what is done with them; past it the writer of the pipe waits.
LINES_AHEAD = 16
# Rows of the prompt; a longer draft scrolls inside.
PROMPT_ROWS = 8


class Tone(Enum):
    """How a part of a line looks on a terminal; the value is its SGR code."""

    STRONG = "1"
    FAINT = "2"
    WARNING = "33"


Part = str | tuple[Tone, str]


class Interrupted(Exception):
    """Ctrl-C was typed at the prompt."""


class Screen(Protocol):
    """What a sitting needs of a terminal, or of two pipes."""

    interactive: bool
    # Where the line last read stands ("line 3"), where lines are counted.
    place: str
    # What stands before the cursor, and the line about people and links below it.
    prompt: str
    status: Callable[[], str]

    def say(self, *parts: Part) -> None:
        """One line (or several) above the prompt. Others' words must have gone through `shown`."""

    async def read(self, unsent: str = "") -> str | None:
        """The next typed line, beginning with ``unsent``; None at the end of input. Raises `Interrupted`."""

    def typed(self) -> str:
        """What stands in the line that was not finished."""

    def refresh(self) -> None:
        """The prompt or status has changed."""


class PlainScreen:
    """Lines from stdin, lines to stdout, no colours, nothing repeated: for pipes, files and dumb terminals."""

    interactive = False

    def __init__(self) -> None:
        self.prompt = ""
        self.place = ""
        self.status: Callable[[], str] = str
        self._count = 0
        self._lines: asyncio.Queue[str | None] | None = None
        self._begun = bytearray()
        self._ended = False

    def say(self, *parts: Part) -> None:
        print("".join(part if isinstance(part, str) else part[1] for part in parts), flush=True)

    async def read(self, unsent: str = "") -> str | None:
        if self._lines is None:
            self._lines = asyncio.Queue(LINES_AHEAD)
            loop = asyncio.get_running_loop()
            # Its own thread, for stdin may be a file or a device that no event loop can wait for; a daemon,
            # because nothing can wake it. It reads the descriptor, so that it holds no lock at exit.
            reader = threading.Thread(target=self._read_all, args=(loop, self._lines.put), daemon=True)
            reader.start()
        if self._ended:
            return None
        line = await self._lines.get()
        self._ended = line is None
        self._count += 1
        self.place = f"line {self._count}"
        return line

    def typed(self) -> str:
        return self._begun.decode("utf-8", "replace")

    def refresh(self) -> None:
        """Nothing stands here that could be out of date."""

    def _read_all(self, loop: asyncio.AbstractEventLoop, put: Callable[[str | None], Awaitable[None]]) -> None:
        async def hand_over(line: str | None) -> None:
            await put(line)

        def hand(line: str | None) -> None:
            asyncio.run_coroutine_threadsafe(hand_over(line), loop).result()

        try:
            while chunk := os.read(0, LINE_LIMIT_BYTES):
                *whole, rest = chunk.split(b"\n")
                for end in whole:
                    self._add(end)
                    hand(self._line())
                self._add(rest)
            if self._begun:
                hand(self._line())
            hand(None)
        except (RuntimeError, OSError):
            # The loop has closed (the sitting is over), or stdin has: there is nobody to hand to.
            return

    def _line(self) -> str:
        # Bytes that are no UTF-8 stay recognisable, to be refused; those of a character cut in two are not to blame.
        faults = "surrogateescape" if len(self._begun) < LINE_LIMIT_BYTES else "ignore"
        line = self._begun.decode("utf-8", faults).removesuffix("\r")
        self._begun.clear()
        return line

    def _add(self, raw: bytes) -> None:
        self._begun += raw[: LINE_LIMIT_BYTES - len(self._begun)]


class TerminalScreen:
    """A prompt at the bottom; what arrives scrolls by above it, and never into what is being typed."""

    interactive = True

    def __init__(self) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.layout import Dimension
        from prompt_toolkit.utils import get_cwidth

        self.prompt = "> "
        self.place = ""
        self._width = get_cwidth
        self.status: Callable[[], str] = str
        self._colours = not os.environ.get("NO_COLOR")
        self._waiting: list[str] = []
        self._writing: asyncio.Handle | None = None
        self._unfinished = False
        # The typed line goes when it is sent: it comes back as a line of the conversation, with its time and tick.
        self._session: PromptSession[str] = PromptSession(
            message=lambda: self.prompt,
            bottom_toolbar=self._toolbar,
            key_bindings=_keys(),
            erase_when_done=True,
        )
        # A long paste must not push what is said, and what went wrong, off the screen: it scrolls in here.
        self._session.layout.current_window.height = Dimension(max=PROMPT_ROWS)

    def say(self, *parts: Part) -> None:
        columns = self._session.app.output.get_size().columns
        self._waiting.append("".join(self._coloured(part) for part in hanging(parts, columns, self._width)) + "\n")
        if not self._session.app.is_running:
            self._write()
        elif self._writing is None:
            # Once for all that is said until then.
            self._writing = asyncio.get_running_loop().call_soon(self._write_above)

    async def read(self, unsent: str = "") -> str | None:
        self._unfinished = True
        try:
            line = await self._session.prompt_async(default=unsent, handle_sigint=False, set_exception_handler=False)
        except EOFError:
            return None
        except KeyboardInterrupt:
            raise Interrupted from None
        self._unfinished = False
        return line

    def typed(self) -> str:
        # A line that was sent stays in the buffer until the next prompt.
        return self._session.default_buffer.text if self._unfinished else ""

    def refresh(self) -> None:
        self._session.app.invalidate()

    def _toolbar(self) -> str | None:
        from prompt_toolkit.utils import get_cwidth

        return fitted(self.status(), shutil.get_terminal_size().columns, get_cwidth) or None

    def _write_above(self) -> None:
        """Take the prompt away, write, put it back.

        At once, and with the terminal as it is: prompt_toolkit's own way gives it back its line editing for the while,
        and what is typed then, Ctrl-C and arrow keys among it, is taken for something else.
        """
        self._writing = None
        app = self._session.app
        if not app.is_running:
            self._write()
            return
        app.renderer.erase()
        self._write()
        app.renderer.request_absolute_cursor_position()
        app.invalidate()

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        sys.stdout.write("".join(lines))
        sys.stdout.flush()

    def _coloured(self, part: Part) -> str:
        if isinstance(part, str):
            return part
        return f"\x1b[{part[0].value}m{part[1]}\x1b[0m" if self._colours else part[1]


def _keys() -> KeyBindings:
    """Ctrl-U empties the whole prompt, where it would clear one line; Ctrl-_ brings it back."""
    from prompt_toolkit.document import Document
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("c-u")
    def discard(event: KeyPressEvent) -> None:
        event.current_buffer.save_to_undo_stack()
        event.current_buffer.document = Document()

    return keys


def fitted(text: str, columns: int, width: Callable[[str], int] = len) -> str:
    """``text`` in at most ``columns``, cut between words, as the last word left says."""
    if width(text) <= columns:
        return text
    words = text.split(" ")
    while len(words) > 1 and width(" ".join(words)) + 2 > columns:
        words.pop()
    while words[-1] == "·":
        words.pop()
    return f"{' '.join(words)} …"


def open_screen() -> Screen:
    """The screen this process has: a terminal only if people both see and type there."""
    if sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
        return TerminalScreen()
    return PlainScreen()
