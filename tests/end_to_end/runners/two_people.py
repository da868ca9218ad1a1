"""Two people meet, talk by link and by mailbox, all captured: `python two_people.py FOLDER [RUNNER]`, on loopback only.

Leaves in FOLDER: `lo.pcap`, the server's disk in `server/` with mail still in it, and `canaries.json`: what must be in
neither, in hexadecimal by kind.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from overfence.demo import script as s
from overfence.demo.stage import Actor, Stage
from overfence.identity import Identity, user_id

NAMES = ("Adalbertine Canary", "Bartholomew Canary")
WAIT_S = 20.0


class RunActor(Actor):
    """An actor whose peer is started by a runner."""

    runner: tuple[str, ...] = ()

    async def spawn(self, *arguments: str) -> None:
        await super().spawn(*self.runner, *arguments)


@asynccontextmanager
async def captured(into: Path) -> AsyncIterator[None]:
    """Everything that passes over loopback while the block runs."""
    tcpdump = await asyncio.create_subprocess_exec(
        *("tcpdump", "-i", "lo", "-s", "0", "-U", "-B", "16384", "-w", str(into)), stderr=asyncio.subprocess.PIPE
    )
    try:
        assert tcpdump.stderr is not None
        async with asyncio.timeout(WAIT_S):
            while b"listening on" not in (line := await tcpdump.stderr.readline()):
                assert line, "tcpdump did not start"
        yield
    finally:
        tcpdump.terminate()
        await tcpdump.communicate()


async def talk(folder: Path, runner: tuple[str, ...]) -> list[str]:
    """The whole meeting; the texts that were said."""
    async with Stage.open(folder, seed=3) as stage:
        ada, bob = (RunActor(stage, name) for name in NAMES)
        ada.runner = bob.runner = runner
        stage.people.extend((ada, bob))
        await stage.server.start()
        await ada.start()
        await bob.start()
        ada.order(s.Invite())
        await stage.until(lambda: bool(ada.link), "the invite")
        bob.order(s.Accept(ada.link))
        # One text at once: it goes by mailbox, for there is no link yet.
        bob.say()
        await stage.until(lambda: bool(ada.pair and bob.pair), "a direct link")
        for person in (ada, bob, ada, bob):
            await person.delivered(person.say())
        await bob.kill()
        for _ in range(5):
            ada.say()
        await stage.until(lambda: not ada.waiting, "messages to be stored")
        async with asyncio.timeout(WAIT_S):
            while not await asyncio.to_thread(has_put_everything, ada.home):
                continue  # each look copies her database; nothing tells another process when the node has it
        return [person.text(number) for person in (ada, bob) for number in range(1, person.handed_over + 1)]


def has_put_everything(home: Path) -> bool:
    """Whether the node has accepted all that waits for the other side."""
    with tempfile.TemporaryDirectory() as folder:
        for file in home.glob("history.db*"):
            shutil.copy(file, folder)
        with closing(sqlite3.connect(Path(folder) / "history.db")) as database:
            waiting, stored = database.execute(
                "SELECT coalesce(sum(NOT stored), 0), coalesce(sum(stored), 0) FROM puts WHERE log IS NOT NULL"
            ).fetchone()
        return bool(stored and not waiting)


def canaries(folder: Path, texts: list[str]) -> dict[str, list[str]]:
    """What nobody outside may see."""
    identities = [Identity.decode((folder / name.lower() / "identity").read_bytes()) for name in NAMES]
    found = {
        "text": [text.encode()[:24] for text in texts if len(text) >= 12],
        "name": [name.encode() for name in NAMES],
        "account key": [each.account for each in identities],
        "account id": [user_id(each.account).encode() for each in identities],
        "signing key": [each.dsk for each in identities],
        "agreement key": [each.dik for each in identities],
        "sdp": [b"a=fingerprint:", b"a=ice-ufrag:", b"a=candidate:", b" typ host"],
    }
    return {kind: [one.hex() for one in each] for kind, each in found.items()}


async def main(folder: Path, runner: tuple[str, ...]) -> None:
    """Play and write down what to look for."""
    async with captured(folder / "lo.pcap"):
        texts = await talk(folder, runner)
    (folder / "canaries.json").write_text(json.dumps(canaries(folder, texts)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), tuple(sys.argv[2:])))
