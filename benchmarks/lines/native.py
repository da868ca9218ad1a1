"""A Python that has libdatachannel: its binding wants a newer one than we do, so it gets an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BINDING = "aiolibdatachannel==2026.10.15"
NEWER = ("3.13", "3.12")
INSTALL_WITHIN_S = 180.0


class NotToBeHad(Exception):
    """There is no libdatachannel for a Python on this machine; the text says why."""


def interpreter(cache: Path) -> Path:
    """A Python in ``cache`` that can import the binding, made when it is first asked for. Raises `NotToBeHad`."""
    made = cache / BINDING.replace("==", "-") / "bin" / "python"
    if not works(made):
        newer = next(newer_pythons(), None)
        if newer is None:
            raise NotToBeHad(f"libdatachannel's binding needs Python {' or '.join(NEWER)}, and there is none here")
        # Without `--clear` half an environment from an interrupted run would stay half.
        call(newer, "-m", "venv", "--clear", str(made.parents[1]))
        call(str(made), "-m", "pip", "install", "--quiet", BINDING)
        if not works(made):
            raise NotToBeHad("libdatachannel's binding was installed, and can't be imported")
    return made


def newer_pythons() -> Iterator[str]:
    """Those that are to be found, the newest first."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in NEWER:
        if sys.version_info[:2] == tuple(map(int, version.split("."))):
            yield sys.executable
        candidates = [*sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True), *on_path(version)]
        # What pyenv puts on the path may stand for a version it does not have.
        yield from (str(each) for each in candidates if answers(each, "-m", "venv", "--help"))


def on_path(version: str) -> list[Path]:
    """By its name."""
    found = shutil.which(f"python{version}")
    return [Path(found)] if found else []


def works(python: Path) -> bool:
    """Whether the binding is there."""
    return answers(python, "-c", "import aiolibdatachannel")


def answers(program: Path, *arguments: str) -> bool:
    """Whether it runs to a good end."""
    if not program.exists():
        return False
    return subprocess.run([program, *arguments], capture_output=True, timeout=30, check=False).returncode == 0


def call(*command: str) -> None:
    """To its end, or `NotToBeHad`."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"{command[1:]} took more than {INSTALL_WITHIN_S:g} s") from None
    if done.returncode != 0:
        raise NotToBeHad((done.stderr.strip().splitlines() or ["no reason given"])[-1])
