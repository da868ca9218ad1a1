"""Where a person's data lies and which server is theirs: the command line, else the environment, else config.toml."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from .exits import Exit, Told

CONFIG = "config.toml"
PORT_LAST = 65535


class Settings:
    """One home folder, and what its config.toml says."""

    def __init__(self, home: str | Path | None = None) -> None:
        if home == "":
            raise Told("--home (or OVERFENCE_HOME) is empty: name a folder.", Exit.USAGE)
        self._home = None if home is None else Path(home)

    @property
    def home(self) -> Path:
        """The home folder; it need not exist yet."""
        if self._home is None:
            from platformdirs import user_data_path

            self._home = user_data_path("overfence", appauthor=False)
        return self._home.expanduser().absolute()

    def server(self, given: str | None) -> str | None:
        """The server to use: ``given``, else OVERFENCE_SERVER, else the configured one; raises `Told`."""
        for source, url, code in (
            ("--server", given, Exit.USAGE),
            ("OVERFENCE_SERVER", os.environ.get("OVERFENCE_SERVER"), Exit.BAD_INPUT),
            (str(self.home / CONFIG), self.configured(), Exit.BAD_INPUT),
        ):
            if url:
                return checked(url, source, code)
        return None

    def configured(self) -> str | None:
        """The server in config.toml, if there is one; raises `Told` for a file that can't be read."""
        path = self.home / CONFIG
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8")).get("server")
        except FileNotFoundError:
            return None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Told(f"{path} is no TOML file: {error}. Mend or delete it.", Exit.BAD_INPUT) from None
        if found is not None and not isinstance(found, str):
            raise Told(f'{path}: server must be text, as in: server = "ws://127.0.0.1:8400"', Exit.BAD_INPUT)
        return found

    def remember(self, server: str) -> bool:
        """Write the server into config.toml unless there is such a file; True if it was written."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with open(self.home / CONFIG, "x", encoding="utf-8", opener=_for_its_owner) as file:
                # `checked` lets no quote, backslash or control character through.
                file.write(f'# Your node: it introduces you, and keeps sealed messages for you.\nserver = "{server}"\n')
        except FileExistsError:
            return False
        return True


def checked_port(port: int, lowest: int = 0) -> int:
    """``port`` if there can be such a one; raises `Told`."""
    if not lowest <= port <= PORT_LAST:
        raise Told(f"--port takes a number from {lowest} to {PORT_LAST}.", Exit.USAGE)
    return port


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def checked(url: str, source: str, code: Exit = Exit.BAD_INPUT) -> str:
    """``url`` if it names a node; raises `Told`, naming where it came from."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or set(url) & set(' "\\@?#'):
        raise Told(f"{url!r} ({source}) is no server's address; it looks like ws://127.0.0.1:8400", code)
    return url.rstrip("/")
