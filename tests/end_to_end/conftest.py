"""Real processes: the command as a user types it, and two people on the demo's stage."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from overfence.demo import script as s
from overfence.demo.stage import Actor, Server, Stage

RUNNERS = Path(__file__).parent / "runners"
IN_LOOPBACK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


@dataclass(frozen=True)
class Shown:
    """What a demo that ended had shown."""

    code: int
    transcript: list[str]
    errors: str
    result: dict[str, Any]


def play(*arguments: str, before: tuple[str, ...] = (), patience_s: float = 100) -> Shown:
    """Run `overfence demo` to its end."""
    command = [*before, sys.executable, "-m", "overfence", "demo", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience_s)
    assert done.stdout, done.stderr
    *transcript, last = done.stdout.splitlines()
    return Shown(done.returncode, transcript, done.stderr, json.loads(last))


@pytest.fixture(scope="session")
def demo() -> Callable[..., Shown]:
    return play


@pytest.fixture(scope="session")
def in_loopback() -> tuple[str, ...]:
    """The words before a command that runs it where there is no interface but loopback."""
    return IN_LOOPBACK


class RunActor(Actor):
    """An actor whose peer is started by one of the runners."""

    runner = ""

    async def spawn(self, *arguments: str) -> None:
        await super().spawn(*((self.runner,) if self.runner else ()), *arguments)


class RunServer(Server):
    """A server started by one of the runners."""

    runner = ""

    async def spawn(self, *arguments: str) -> None:
        await super().spawn(*((self.runner,) if self.runner else ()), *arguments)


Linked = Callable[..., AbstractAsyncContextManager[Stage]]


@pytest.fixture
def linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Linked:
    """`async with linked(runner=…) as stage`: two people with a direct link between them, run by that runner."""
    monkeypatch.setenv("PYTHONPATH", str(RUNNERS))

    @asynccontextmanager
    async def linked(runner: str = "") -> AsyncIterator[Stage]:
        async with Stage.open(tmp_path, seed=1) as stage:
            ada, bob = (RunActor(stage, name) for name in ("Ada", "Bob"))
            ada.runner = bob.runner = runner
            stage.people.extend((ada, bob))
            await stage.server.start()
            await ada.start()
            await bob.start()
            ada.order(s.Invite())
            await stage.until(lambda: bool(ada.link), "the invite")
            bob.order(s.Accept(ada.link))
            await stage.until(lambda: bool(ada.pair and bob.pair), "a direct link")
            yield stage

    return linked


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractAsyncContextManager[Server]]:
    """`async with server(runner=…) as server`: a node in a process of its own, run by that runner."""
    monkeypatch.setenv("PYTHONPATH", str(RUNNERS))

    @asynccontextmanager
    async def started(runner: str = "") -> AsyncIterator[Server]:
        async with Stage.open(tmp_path, seed=1) as stage:
            stage.server = server = RunServer(stage)
            server.runner = runner
            await server.start()
            yield server

    return started
