"""One turn of one contestant at each row of the table: it sets up, measures, and ends all it started."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.end_to_end.runners.hostile import ATTACKS
from tests.end_to_end.runners.siege import Siege, latencies_s
from tests.simulation.emulator import Emulated
from tests.simulation.faults import Conditions

from ..crew import ROOT, Silent
from ..figures import quantile
from ..orders import now
from ..people import introduce, lone
from .stage import CLEAN, Contestant, Stage, came, set_up, started

SIZE_BYTES = 200
EVERY_S = 0.1
# 20 Mbit/s, and a router's queue in front of it.
LINE = replace(CLEAN, rate_bytes_per_s=2.5e6, queue_bytes=256 * 1024)
# As much as SCTP's window lets be under way fits, so that nothing is lost at all.
DEEP = replace(LINE, queue_bytes=2 << 20)
FILE_QUEUED_BYTES = 256 * 1024
# With one pair only, ten a second would need minutes for a p99.
BESIDE_FILE_EVERY_S = 0.025
# A reliable channel under 20 % loss repeats seldom; what is not there by then is told as missing.
STRAGGLERS_WITHIN_S = 45.0
FILE_WARM_S = 3.0
# Under the conditions too: what is measured is a conversation, not how soon a path is known.
WHOLE_WARM = 60
WINDOW = 256


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    repeats: int
    pairs: int
    warm: int
    each: int
    beside_file: int
    bulk_s: float
    in_one_loop: int
    blackout_s: float
    line_s: float
    whole: int


@dataclass(frozen=True)
class Turn:
    """What one turn gave: each message's seconds under way where that is the question, and plain figures."""

    took_s: Sequence[float] = ()
    figures: dict[str, float] = field(default_factory=dict)


async def arrivals(stage: Stage, count: int, within_s: float) -> list[tuple[int, int, float, float]]:
    """What came of so many messages, waiting for the last ones for a while."""
    try:
        return came(await stage.bob.hear("arrived", within_s=within_s))
    except Silent:
        stage.bob.tell("tell")
        return came(await stage.bob.hear("told"))


async def chat(contestant: Contestant, scale: Scale, folder: Path, seed: int, conditions: Conditions) -> Turn:
    """Short messages, ten a second from each of some pairs, one way."""
    count = scale.pairs * scale.each
    async with set_up(contestant, folder, pairs=scale.pairs, seed=seed) as stage:
        # Before its first measured round trip SCTP waits 3 s for an acknowledgement, which says nothing of a
        # conversation under way.
        stage.ada.tell("pace", warm=scale.warm, count=0, every_s=EVERY_S, size=SIZE_BYTES)
        await stage.ada.hear("paced")
        await stage.become(conditions)
        stage.bob.tell("expect", count=count)
        await stage.bob.hear("expecting")
        stage.ada.tell("pace", warm=scale.warm, count=scale.each, every_s=EVERY_S, size=SIZE_BYTES)
        await stage.ada.hear("paced", within_s=60 + 2 * EVERY_S * (scale.warm + scale.each))
        arrived = await arrivals(stage, count, STRAGGLERS_WITHIN_S)
        late_ms = 1000 * quantile(await stage.net.late_s() or [0.0], 0.99)
    return Turn([took_s for _, _, took_s, _ in arrived], told_apart(arrived, count) | {"line_late_p99_ms": late_ms})


def told_apart(arrived: Sequence[tuple[int, int, float, float]], count: int) -> dict[str, float]:
    """How many did not come, and how many came again."""
    different = len({(pair, number) for pair, number, _, _ in arrived})
    return {"missing": count - different, "doubled": len(arrived) - different}


async def chat_beside_file(
    contestant: Contestant, scale: Scale, folder: Path, seed: int, conditions: Conditions
) -> Turn:
    """Short messages on a connection that carries a file as fast as it can."""
    async with set_up(contestant, folder, seed=seed) as stage:
        await stage.become(conditions)
        stage.ada.tell("fill", queued_bytes=FILE_QUEUED_BYTES)
        await asyncio.sleep(FILE_WARM_S)
        stage.bob.tell("expect", count=scale.beside_file)
        await stage.bob.hear("expecting")
        before = await file_position(stage)
        stage.ada.tell("pace", warm=0, count=scale.beside_file, every_s=BESIDE_FILE_EVERY_S, size=SIZE_BYTES)
        await stage.ada.hear("paced", within_s=60 + 2 * BESIDE_FILE_EVERY_S * scale.beside_file)
        speed = speed_between(before, await file_position(stage))
        arrived = await arrivals(stage, scale.beside_file, STRAGGLERS_WITHIN_S)
    return Turn(
        [took_s for _, _, took_s, _ in arrived], told_apart(arrived, scale.beside_file) | {"file_mb_per_s": speed}
    )


async def bulk(contestant: Contestant, scale: Scale, folder: Path, seed: int, conditions: Conditions) -> Turn:
    """A file alone, after the connection has found its speed."""
    async with set_up(contestant, folder, seed=seed) as stage:
        await stage.become(conditions)
        stage.ada.tell("fill", queued_bytes=FILE_QUEUED_BYTES)
        await asyncio.sleep(FILE_WARM_S)
        before = await file_position(stage)
        await asyncio.sleep(scale.bulk_s)
        after = await file_position(stage)
    return Turn(figures={"mb_per_s": speed_between(before, after)})


async def file_position(stage: Stage) -> tuple[float, int]:
    """When it was asked, and how many bytes of the file had come."""
    stage.bob.tell("tell")
    told = await stage.bob.hear("told")
    return told["at"], told["file_bytes"]


def speed_between(before: tuple[float, int], after: tuple[float, int]) -> float:
    """In megabytes a second."""
    return (after[1] - before[1]) / (after[0] - before[0]) / 1e6


async def in_one_loop(contestant: Contestant, scale: Scale, folder: Path, seed: int, _conditions: Conditions) -> Turn:
    """Messages for each second of processor time, both ends in one process; nothing crosses the line."""
    async with AsyncExitStack() as stack:
        net = await stack.enter_async_context(Emulated(seed=seed))
        words = (contestant.kind, scale.in_one_loop, WINDOW, SIZE_BYTES)
        member = await started(stack, net, "ada", contestant, "lines.one_loop", *words, folder=folder)
        ran = await member.hear("ran", within_s=60 + scale.in_one_loop / 500)
    return Turn(
        figures={
            "messages_per_cpu_s": scale.in_one_loop / ran["cpu_s"],
            "messages_per_s": scale.in_one_loop / ran["took_s"],
        }
    )


async def wire(contestant: Contestant, scale: Scale, folder: Path, seed: int, _conditions: Conditions) -> Turn:
    """Bytes on the wire for a lone message, IP headers included, without what keeps the path open (STUN)."""
    async with set_up(contestant, folder, seed=seed) as stage:
        # The last of the handshakes' acknowledgements.
        await asyncio.sleep(1.0)
        before = await bytes_each_way(stage.net)
        stage.bob.tell("expect", count=scale.each)
        await stage.bob.hear("expecting")
        stage.ada.tell("pace", warm=0, count=scale.each, every_s=EVERY_S, size=SIZE_BYTES)
        await arrivals(stage, scale.each, STRAGGLERS_WITHIN_S)
        await asyncio.sleep(0.5)
        after = await bytes_each_way(stage.net)
    return Turn(figures=for_each_message(before, after, scale.each))


async def bytes_each_way(net: Emulated) -> list[int]:
    """What Ada, and what Bob, put on the wire for the other so far, without STUN; and of hers what was no mere
    acknowledgement."""
    there, back = [await net.traffic(*way) for way in (("ada", "bob"), ("bob", "ada"))]
    said = there["bytes"] - there["stun_bytes"]
    return [said, back["bytes"] - back["stun_bytes"], said - there["short_bytes"]]


def for_each_message(before: Sequence[int], after: Sequence[int], count: int) -> dict[str, float]:
    """Both ways' bytes between the two, a message of Ada's."""
    there, back, long = [(late - early) / count for early, late in zip(before, after, strict=True)]
    return {"bytes_there": there, "bytes_back": back, "bytes_there_but_acks": long}


async def whole(contestant: Contestant, scale: Scale, folder: Path, seed: int, conditions: Conditions) -> Turn:
    """From `send()` to the other side's `messages()`: whole peers, sealing and both disks included."""
    async with AsyncExitStack() as stack:
        net = await stack.enter_async_context(Emulated(CLEAN, server=CLEAN, seed=seed))
        words = (folder / "post", net.address("server"))
        post = await started(stack, net, "server", contestant, "post", *words, folder=folder)
        server = (await post.hear("serving"))["url"]
        ada, bob = await asyncio.gather(
            *(
                started(stack, net, name, contestant, "person", folder / name, name, server, folder=folder)
                for name in ("ada", "bob")
            )
        )
        await introduce(ada, bob)
        for way in (("ada", "bob"), ("bob", "ada")):
            await net.set_conditions(*way, conditions)
        await lone(ada, bob, WHOLE_WARM)
        before = await bytes_each_way(net)
        took_s = await lone(ada, bob, scale.whole)
        after = await bytes_each_way(net)
    return Turn(took_s, for_each_message(before, after, scale.whole))


async def blackout(contestant: Contestant, scale: Scale, folder: Path, seed: int, _conditions: Conditions) -> Turn:
    """Messages go on being sent while nothing passes for a while; how soon something arrives again, and what never."""
    lead_s, trail_s = 2.0, 4.0
    count = round((lead_s + scale.blackout_s + trail_s) / EVERY_S)
    async with set_up(contestant, folder, seed=seed) as stage:
        stage.bob.tell("expect", count=count)
        await stage.bob.hear("expecting")
        stage.ada.tell("pace", warm=0, count=count, every_s=EVERY_S, size=SIZE_BYTES)
        await asyncio.sleep(lead_s)
        back_at = await stage.net.blackout(scale.blackout_s)
        arrived = await arrivals(stage, count, STRAGGLERS_WITHIN_S + trail_s)
    again_s = min((at - back_at for _, _, _, at in arrived if at > back_at), default=STRAGGLERS_WITHIN_S)
    return Turn(figures=told_apart(arrived, count) | {"moving_again_s": again_s})


async def besieged(_contestant: Contestant, scale: Scale, folder: Path, _seed: int, _conditions: Conditions) -> Turn:
    """Bob's messages to Ada, first in peace, then while other contacts of hers do their worst, one after another."""
    async with Siege.laid(folder / "siege") as siege:
        two = siege.two
        two.bob.talk(BESIDE_FILE_EVERY_S)
        await asyncio.sleep(1.0)
        began_at = now()
        await asyncio.sleep(scale.beside_file * BESIDE_FILE_EVERY_S)
        attacked_at = now()
        for name in ATTACKS:
            await siege.assault(name)
        spammed_at = now()
        await siege.spam(scale.bulk_s)
        over_at = now()
        # The last ones are still on their way.
        await asyncio.sleep(1.0)
        spans = {"idle": (began_at, attacked_at), "attacked": (attacked_at, over_at), "spammed": (spammed_at, over_at)}
        p99_ms = {name: 1000 * quantile(latencies_s(two.ada, two.bob, *span), 0.99) for name, span in spans.items()}
    ratios = {"attacked_to_idle_p99": p99_ms["attacked"] / p99_ms["idle"]}
    return Turn(figures={f"{name}_p99_ms": each for name, each in p99_ms.items()} | ratios)


async def line(per_s: int, for_s: float, seed: int) -> tuple[list[float], list[float]]:
    """What is added to the delay that was asked for, at so many packets a second, in seconds: from one application to
    the other, and by the emulator alone once it has a packet."""
    async with Emulated(CLEAN, seed=seed) as net:
        probe, pipe = [sys.executable, "-m", "tests.simulation.emulator.probe"], asyncio.subprocess.PIPE
        listener = await net.run_in("bob", [*probe, "listen"], cwd=ROOT, stdin=pipe, stdout=pipe)
        assert listener.stdout is not None
        port = json.loads(await listener.stdout.readline())["port"]
        paced = [net.address("bob"), port, round(per_s * for_s), 1 / per_s, SIZE_BYTES, 0]
        sender = await net.run_in("ada", [*probe, "send", *map(str, paced)], cwd=ROOT, stdout=pipe)
        await sender.communicate()
        await asyncio.sleep(2 * CLEAN.delay_s)
        heard, _ = await listener.communicate(b"")
        return [took_s - CLEAN.delay_s for _, took_s, *_ in json.loads(heard)], await net.late_s()
