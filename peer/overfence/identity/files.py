"""The identity on disk: written once, whole, and never readable by anyone else."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .errors import BadKeyFile, KeyFileExposed, KeyFileUnavailable
from .keys import Identity

# A key file has under 200 bytes. Reading stops here, so that a path that leads to a device or a
# huge file cannot fill the memory.
_READ_LIMIT_BYTES = 4096


def load_or_create(path: Path, random: Callable[[int], bytes]) -> tuple[Identity, bool]:
    """The identity at ``path``, made first (``True``) where there is none.

    Raises `BadKeyFile`, `KeyFileExposed` and `KeyFileUnavailable`; a file that is there is never written to.
    """
    try:
        try:
            return _load(path), False
        except FileNotFoundError:
            return _create(path, random)
    except OSError as error:
        raise KeyFileUnavailable(path, error.strerror or str(error)) from error


def _load(path: Path) -> Identity:
    # Without O_NONBLOCK a named pipe at this path would hold the whole program.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadKeyFile("this is not a regular file", path)
        mode = stat.S_IMODE(status.st_mode)
        if os.name == "posix" and mode & 0o077:
            raise KeyFileExposed(path, mode)
        raw = file.read(_READ_LIMIT_BYTES)
    try:
        return Identity.decode(raw)
    except BadKeyFile as error:
        raise BadKeyFile(error.problem, path) from None


def _create(path: Path, random: Callable[[int], bytes]) -> tuple[Identity, bool]:
    identity = Identity.create(random)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{random(6).hex()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(identity.encode())
            file.flush()
            os.fsync(descriptor)
        _put_in_place(draft, path)
    except FileExistsError:
        # Another process was first: its identity is the one, and ours was never shown to anyone.
        return _load(path), False
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft)
    _sync_folder(path.parent)
    return identity, True


def _put_in_place(draft: Path, path: Path) -> None:
    # A link never replaces a file that is there; a rename would.
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        # Some file systems (FAT, some network shares) have no links.
        if path.exists():
            raise FileExistsError(path) from None
        os.rename(draft, path)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
