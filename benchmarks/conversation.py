"""What a conversation costs: `python benchmarks/conversation.py [--quick]` prints one JSON document.

Two peers and a node, each a real process, over loopback, with every fsync; bare aiortc beside them,
turn by turn in the same run. All of it in a network of its own, whose one interface counts every byte.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Run as a script, it finds the others as the modules of this folder that they are.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import figures
from benchmarks.crew import Crew, Member
from benchmarks.people import SIZE_BYTES, connected, introduce, lone

WINDOW = 64
# Set for the run inside the network of its own, so that it doesn't make another.
INSIDE = "OVERFENCE_BENCHMARK_INSIDE"
# After a catch-up, what still crosses the wire belongs to it.
SETTLE_S = 2.0


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    repeats: int
    lone: int
    burst: int
    memory: tuple[int, int]
    known: int


FULL = Scale(repeats=3, lone=200, burst=10_000, memory=(10_000, 100_000), known=10_000)
QUICK = Scale(repeats=3, lone=34, burst=3_000, memory=(5_000, 20_000), known=1_000)


@dataclass(frozen=True)
class Turn:
    """What one repeat of one of the two contestants gave."""

    connect_s: float
    lone_s: list[float]
    burst: Burst


@dataclass(frozen=True)
class Burst:
    """What a burst gave: its rate, from before the first send to the last arrival, and both ends' processor time."""

    messages_per_s: float
    sender_cpu_us: float
    receiver_cpu_us: float


async def burst(sender: Member, receiver: Member, count: int) -> Burst:
    """As fast as the window lets the sender."""
    receiver.tell("expect", count=count, each=False)
    await receiver.hear("expecting")
    before = [end.cpu_s() for end in (sender, receiver)]
    sender.tell("burst", count=count, window=WINDOW, size=SIZE_BYTES)
    arrived = await receiver.hear("arrived", within_s=30 + count / 100)
    sent = await sender.hear("burst")
    used_us = [1e6 * (end.cpu_s() - begun) / count for end, begun in zip((sender, receiver), before, strict=True)]
    return Burst(count / (arrived["last_at"] - sent["began_at"]), *used_us)


async def node(crew: Crew) -> str:
    """A node that serves; its address."""
    post = await crew.start("node", "post", str(crew.folder / "node"))
    return str((await post.hear("serving"))["url"])


async def person(crew: Crew, name: str, server: str) -> Member:
    """A person at home."""
    return await crew.start(name, "person", str(crew.folder / name), name, server)


async def acquainted(crew: Crew, server: str) -> tuple[Member, Member, float, float]:
    """Ada and Bob, linked; how long the first message and the link took, in seconds."""
    ada, bob = await person(crew, "ada", server), await person(crew, "bob", server)
    return ada, bob, *await introduce(ada, bob)


async def ours(folder: Path, scale: Scale) -> tuple[Turn, float]:
    """One repeat of Overfence, and how long its first message took."""
    async with Crew.gather(folder) as crew:
        ada, bob, first_s, connect_s = await acquainted(crew, await node(crew))
        half = scale.lone // 2
        lone_s = await lone(ada, bob, half) + await lone(bob, ada, scale.lone - half)
        turn = Turn(connect_s, lone_s, await burst(ada, bob, scale.burst))
        await ada.leave()
        await bob.leave()
    return turn, first_s


async def bare(folder: Path, scale: Scale) -> Turn:
    """One repeat of bare aiortc, its descriptions carried by us."""
    async with Crew.gather(folder) as crew:
        ada, bob = await crew.start("ada", "bare"), await crew.start("bob", "bare")
        ada.tell("offer")
        offer = await ada.hear("offer")
        bob.tell("answer", sdp=offer["sdp"])
        ada.tell("take", sdp=(await bob.hear("answer"))["sdp"])
        connect_s = await connected(ada, bob) - offer["began_at"]
        half = scale.lone // 2
        lone_s = await lone(ada, bob, half) + await lone(bob, ada, scale.lone - half)
        turn = Turn(connect_s, lone_s, await burst(ada, bob, scale.burst))
        await ada.leave()
        await bob.leave()
    return turn


async def memory(folder: Path, scale: Scale) -> dict[str, Any]:
    """Both peers' memory after few and after many messages."""
    few, many = scale.memory
    async with Crew.gather(folder) as crew:
        ada, bob, _, _ = await acquainted(crew, await node(crew))
        people = {"sender": ada, "receiver": bob}
        rate_few = await burst(ada, bob, few)
        after_few = {name: one.memory_bytes() / 1e6 for name, one in people.items()}
        rate_many = await burst(ada, bob, many - few)
        after_many = {name: one.memory_bytes() / 1e6 for name, one in people.items()}
        homes = {name: size_bytes(crew.folder / name) / many for name in ("ada", "bob")}
    return {
        "messages": [few, many],
        "few_mb": rounded(after_few),
        "many_mb": rounded(after_many),
        "growth_mb": rounded({name: after_many[name] - after_few[name] for name in people}),
        "messages_per_s": [round(rate_few.messages_per_s), round(rate_many.messages_per_s)],
        "disk_bytes_per_message": rounded({"sender": homes["ada"], "receiver": homes["bob"]}),
    }


async def catch_up(folder: Path, scale: Scale, *, counted: bool) -> dict[str, Any]:
    """What crosses all sockets when one of many messages is missing: from before it is written until, after a restart,
    it is delivered, the link is open again and everything is quiet."""
    if not counted:
        return {"known": scale.known, "bytes": None, "why": "there is no network of our own to count in"}
    async with Crew.gather(folder) as crew:
        server = await node(crew)
        ada, bob, _, _ = await acquainted(crew, server)
        await burst(ada, bob, scale.known)
        await bob.leave()
        await ada.hear("path", that=lambda report: report["path"] != "direct")
        before = wire_bytes()
        ada.tell("say", text="-1 the missing one")
        began_at = time.monotonic()
        bob = await person(crew, "bob", server)
        said = await ada.hear("said", within_s=60)
        by_delivery = wire_bytes() - before
        await connected(ada, bob)
        await asyncio.sleep(SETTLE_S)
        in_all = wire_bytes() - before
    return {
        "known": scale.known,
        "missing": 1,
        "bytes": in_all,
        "bytes_at_delivery": by_delivery,
        "ms": round(1000 * (said["at"] - began_at)),
    }


def wire_bytes() -> int:
    """All bytes, packet headers included, that this network's one interface has carried."""
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "lo":
            return int(counts.split()[0])
    raise RuntimeError("this machine has no loopback interface")


def size_bytes(home: Path) -> int:
    """What a home takes on disk."""
    return sum(file.stat().st_size for file in home.iterdir())


def rounded(values: dict[str, float]) -> dict[str, float]:
    """As they are printed."""
    return {name: round(value, 1) for name, value in values.items()}


def machine(folder: Path) -> dict[str, Any]:
    """Where this was measured, and how long its disk takes for one fdatasync."""
    took_s = []
    with (folder / "sync").open("wb") as file:
        for _ in range(50):
            file.write(bytes(4096))
            file.flush()
            began_at = time.perf_counter()
            os.fdatasync(file.fileno())
            took_s.append(time.perf_counter() - began_at)
    return {
        "python": platform.python_version(),
        "aiortc": version("aiortc"),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
        "fdatasync_ms": figures.latencies(took_s)["p50"],
    }


def figures_of(turns: list[Turn]) -> dict[str, Any]:
    """The figures both contestants have."""
    return {
        "connect_ms": figures.spread([1000 * turn.connect_s for turn in turns]),
        "send_ms": figures.latencies([took_s for turn in turns for took_s in turn.lone_s]),
        "messages_per_s": figures.spread([turn.burst.messages_per_s for turn in turns]),
        "sender_cpu_us_per_message": figures.spread([turn.burst.sender_cpu_us for turn in turns]),
        "receiver_cpu_us_per_message": figures.spread([turn.burst.receiver_cpu_us for turn in turns]),
    }


async def measure(folder: Path, scale: Scale, *, counted: bool) -> dict[str, Any]:
    """Everything, in the order of the document."""
    document: dict[str, Any] = {"machine": machine(folder)}
    turns, firsts_s, bare_turns = [], [], []
    for repeat in range(scale.repeats):
        say(f"repeat {repeat + 1} of {scale.repeats}")
        turn, first_s = await ours(folder / f"ours-{repeat}", scale)
        turns.append(turn)
        firsts_s.append(first_s)
        bare_turns.append(await bare(folder / f"bare-{repeat}", scale))
    document["message_bytes"], document["window"], document["burst"] = SIZE_BYTES, WINDOW, scale.burst
    first = {"first_message_ms": figures.spread([1000 * first_s for first_s in firsts_s])}
    document["overfence"] = figures_of(turns) | first
    document["bare_aiortc"] = figures_of(bare_turns)
    say("catch-up")
    document["catch_up"] = await catch_up(folder / "catch-up", scale, counted=counted)
    say("memory")
    document["memory"] = await memory(folder / "memory", scale)
    document["goals"] = figures.goals(document["overfence"], document["memory"], document["catch_up"])
    return document


def say(what: str) -> None:
    """Progress, for whoever waits; the document alone goes to stdout."""
    print(what, file=sys.stderr, flush=True)


def go_inside() -> None:
    """Become the same command in a network of its own; return where that is not to be had."""
    unshare = shutil.which("unshare")
    if unshare is None or INSIDE in os.environ:
        return
    alone = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv]
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    # Tried first: after exec there is no way back.
    tried = subprocess.run(
        [unshare, *rights, "--net", "ip", "link", "set", "lo", "up"], capture_output=True, check=False
    )
    if tried.returncode == 0:
        os.environ[INSIDE] = "1"
        os.execv(unshare, [unshare, *rights, "--net", *alone])  # noqa: S606 (our own command again)


def main() -> None:
    """The entry point."""
    parser = argparse.ArgumentParser(description="What a conversation costs, as JSON.")
    parser.add_argument("--quick", action="store_true", help="a minute's worth, for a first look")
    quick = parser.parse_args().quick
    go_inside()
    counted = INSIDE in os.environ
    with tempfile.TemporaryDirectory(prefix="overfence-benchmark-") as folder:
        document = asyncio.run(measure(Path(folder), QUICK if quick else FULL, counted=counted))
    print(json.dumps({"quick": quick} | document, indent=2))


if __name__ == "__main__":
    main()
