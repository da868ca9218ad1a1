"""Ada talks with Bob, and is attacked by contacts of hers, each a real peer, over links of 50 ms round trip."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .apart import PIPE, WAIT_S, Talker, Two, Vain
from .hostile import ATTACKS

ROOT = Path(__file__).parents[3]
SPAMMER = "spammer"
ATTACKERS = (*ATTACKS, SPAMMER)


@dataclass(frozen=True)
class Assault:
    """How one attack went: packets sent, from the one that broke the rule to Ada's word that this is over, in seconds,
    and the end as the attacker saw it."""

    attack: str
    sent: int
    began_at: float
    over_after_s: float
    end: str


class Gang:
    """The attackers' process."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    def tell(self, do: str, **more: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")

    async def hear(self, what: str) -> dict[str, Any]:
        """The next report of that kind. Raises `Vain`."""
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            while line := await self._process.stdout.readline():
                report: dict[str, Any] = json.loads(line)
                if report["what"] == what:
                    return report
        raise Vain("\n".join(self._log.read_text(errors="replace").splitlines()[-30:]))


@dataclass(frozen=True)
class Siege:
    """All of them; `two` are the honest ones."""

    two: Two
    gang: Gang
    log: Path

    @classmethod
    @asynccontextmanager
    async def laid(cls, folder: Path, attackers: Iterable[str] = ATTACKERS) -> AsyncIterator[Siege]:
        """Everybody is acquainted with Ada, and linked; nobody has done anything yet."""
        async with Two.apart(folder, seed=1) as two:
            log = folder / "gang.log"
            command = [sys.executable, "-m", "tests.end_to_end.runners.hostile", str(folder / "gang"), two.ada.server]
            with log.open("ab") as errors:
                process = await two.net.run_in("server", command, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=errors)
            gang = Gang(process, log)
            await gang.hear("up")
            for name in attackers:
                two.ada.invite = ""
                two.ada.tell("invite")
                await two.ada.until(lambda: bool(two.ada.invite), "to invite")
                gang.tell("accept", name=name, link=two.ada.invite)
                await gang.hear("accepted")
            yield cls(two, gang, folder / "ada.log")

    async def assault(self, name: str) -> Assault:
        """One attack, from its first packet to its end."""
        over = len(self.two.ada.others)
        self.gang.tell("attack", name=name)
        began_at = (await self.gang.hear("attacking"))["at"]
        await self.two.ada.until(lambda: len(self.two.ada.others) > over, "to be rid of the attacker")
        attacked = await self.gang.hear("attacked")
        over_at = self.two.ada.others[over]
        # Who is thrown out before the bound, or has none to cross, is judged by the whole of it.
        crossed_at = attacked["crossed_at"] if 0 < attacked["crossed_at"] <= over_at else began_at
        return Assault(name, attacked["sent"], began_at, over_at - crossed_at, attacked["end"])

    async def spam(self, for_s: float) -> int:
        """Messages as they are allowed, as many as there can be; how many that was."""
        self.gang.tell("spam", name=SPAMMER, for_s=for_s)
        return int((await self.gang.hear("spammed"))["sent"])

    def verdicts(self) -> list[str]:
        """Why Ada's lines are over, in her own words."""
        said = " a line is over: "
        return [line.partition(said)[2] for line in self.log.read_text().splitlines() if said in line]


def latencies_s(hearer: Talker, speaker: Talker, since: float, until: float) -> list[float]:
    """How long each message took that was said between these instants."""
    heard = dict(hearer.heard)
    return [heard[number] - at for number, at in speaker.said.items() if since < at < until and number in heard]
