"""How fast messages are sealed: `python -m benchmarks.sealing [--quick] [--json]`.

One process, in memory; PyPI's DoubleRatchet, with our key derivations and encryption plugged in, takes turns with
ours. Rates and times are of processor time, which other work on the machine disturbs least; the wall's are beside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from os import urandom
from pathlib import Path
from typing import Any

# Run as a script, it finds the others as the modules of these folders that they are.
sys.path.insert(0, str(Path(__file__).parents[1]))

from doubleratchet import AEAD, KDF
from doubleratchet.recommended.diffie_hellman_ratchet_curve25519 import DiffieHellmanRatchet
from overfence.identity import Device, Identity, agreement_public
from overfence.sealing import Prekeys, Sessions, new_prekey
from overfence.sealing.primitives import L, aead_open, aead_seal, chain_step, hkdf, pad, unpad, zero_salted
from overfence.sealing.ratchet import Ratchet

from benchmarks.figures import spread
from tests.peer.sealing.test_ratchet_oracle import Oracle

PAYLOAD = bytes(200)
# As long as a session's own: four keys, two hashes and a label.
AD = bytes(range(206))
SID = b"one sid."

# What sealing is held to: name, goal, and whether the figure is to be at least that.
GOALS = {
    "one_way_pairs_per_s": (25_000, True),
    "one_way_ratio_to_doubleratchet": (2.5, True),
    "seal_for_100_ms": (10, False),
    "seal_for_500_ms": (50, False),
    "handshake_ms": (3, False),
}


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    repeats: int
    pairs: int
    devices: tuple[int, int]
    handshakes: int


FULL = Scale(repeats=15, pairs=2_000, devices=(100, 500), handshakes=20)
QUICK = Scale(repeats=3, pairs=20, devices=(2, 3), handshakes=1)


@dataclass
class Taken:
    """Each turn's processor and wall seconds."""

    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    def time(self, work: Callable[[], None]) -> None:
        """Add one turn."""
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self.cpu_s.append(time.process_time() - cpu)
        self.wall_s.append(time.perf_counter() - wall)

    def rates(self, count: int) -> dict[str, Any]:
        """So many a second."""
        return {
            "cpu": spread([count / each for each in self.cpu_s]),
            "wall": spread([count / each for each in self.wall_s]),
        }

    def times_ms(self, count: int = 1) -> dict[str, Any]:
        """Milliseconds of each of so many."""
        return {
            "cpu": spread([1000 * each / count for each in self.cpu_s]),
            "wall": spread([1000 * each / count for each in self.wall_s]),
        }


class Ours:
    """Two ends of our ratchet, both of which have been heard."""

    def __init__(self) -> None:
        secret, spk_secret = urandom(32), urandom(32)
        spk = agreement_public(spk_secret)
        self.ada = Ratchet.of_initiator(secret=secret, ad=AD, sid=SID, spk=spk, random=urandom)
        self.bob = Ratchet.of_responder(secret=secret, ad=AD, sid=SID, spk_secret=spk_secret)
        self.alternate(2)

    def one_way(self, pairs: int) -> None:
        for _ in range(pairs):
            self.bob.decrypt(self.ada.encrypt(PAYLOAD, random=urandom), now_s=0, random=urandom)

    def alternate(self, pairs: int) -> None:
        for _ in range(pairs // 2):
            self.bob.decrypt(self.ada.encrypt(PAYLOAD, random=urandom), now_s=0, random=urandom)
            self.ada.decrypt(self.bob.encrypt(PAYLOAD, random=urandom), now_s=0, random=urandom)


# Our own functions, so that the two differ in the ratchet alone.
class RootKdf(KDF):
    @staticmethod
    async def derive(key: bytes, data: bytes, length: int) -> bytes:
        return hkdf(key, data, L("ratchet"), length)


class ChainKdf(KDF):
    @staticmethod
    async def derive(key: bytes, data: bytes, length: int) -> bytes:
        message_key, after = chain_step(key)
        return after + message_key


class Sealing(AEAD):
    @staticmethod
    async def encrypt(plaintext: bytes, key: bytes, associated_data: bytes) -> bytes:
        return aead_seal(zero_salted(key, L("msg")), pad(plaintext), associated_data, urandom)

    @staticmethod
    async def decrypt(ciphertext: bytes, key: bytes, associated_data: bytes) -> bytes:
        return unpad(aead_open(zero_salted(key, L("msg")), ciphertext, associated_data))


class Theirs:
    """Two ends of PyPI's DoubleRatchet, both of which have been heard."""

    def __init__(self) -> None:
        asyncio.run(self._open())

    async def _open(self) -> None:
        secret, spk_secret = urandom(32), urandom(32)
        plugged = (DiffieHellmanRatchet, RootKdf, ChainKdf, b"", 1000, 2000, Sealing, secret)
        self.ada, sealed = await Oracle.encrypt_initial_message(*plugged, agreement_public(spk_secret), PAYLOAD, AD)
        self.bob, _ = await Oracle.decrypt_initial_message(*plugged, spk_secret, sealed, AD)
        await self.ada.decrypt_message(await self.bob.encrypt_message(PAYLOAD, AD), AD)

    async def one_way(self, pairs: int) -> None:
        for _ in range(pairs):
            await self.bob.decrypt_message(await self.ada.encrypt_message(PAYLOAD, AD), AD)

    async def alternate(self, pairs: int) -> None:
        for _ in range(pairs // 2):
            await self.bob.decrypt_message(await self.ada.encrypt_message(PAYLOAD, AD), AD)
            await self.ada.decrypt_message(await self.bob.encrypt_message(PAYLOAD, AD), AD)


class Person:
    """One device with a prekey, and its sessions with the other."""

    def __init__(self) -> None:
        self.identity = Identity.create(urandom)
        self.device = Device(self.identity.dsk, self.identity.dik)
        self.secret = new_prekey(urandom)
        self.prekeys = Prekeys.sign(self.identity, self.secret)
        self.sessions = Sessions()

    def begin(self, peer: Person) -> bytes:
        """A first message, its handshake before it."""
        self.sessions.initiate(self.identity, peer.device, peer.identity.account, peer.prekeys, now_s=1, random=urandom)
        return self.sessions.seal(PAYLOAD, random=urandom)

    def hear(self, message: bytes, peer: Person) -> None:
        self.sessions.open(
            message,
            me=self.identity,
            peer=peer.device,
            peer_account=peer.identity.account,
            prekey_secrets={self.secret.prekey_id: self.secret},
            now_s=1,
            random=urandom,
        )


def acquainted(me: Person, peer: Person) -> Sessions:
    """My sessions with a peer that answered."""
    me.sessions = Sessions()
    peer.hear(me.begin(peer), me)
    me.hear(peer.sessions.seal(PAYLOAD, random=urandom), peer)
    return me.sessions


def ratchets(scale: Scale) -> dict[str, Any]:
    """Both ratchets, turn by turn, first one way and then with a step at each message."""
    found: dict[str, Any] = {}
    pairs = scale.pairs
    for way in ("one_way", "alternate"):
        ours, theirs = Taken(), Taken()
        for _ in range(scale.repeats):
            us, them = Ours(), Theirs()
            ours.time(partial(getattr(us, way), pairs))
            theirs.time(partial(_to_the_end, getattr(them, way), pairs))
        found[f"{way}_pairs_per_s"] = {"overfence": ours.rates(pairs), "doubleratchet": theirs.rates(pairs)}
    return found


def _to_the_end(talk: Callable[[int], Coroutine[None, None, None]], pairs: int) -> None:
    asyncio.run(talk(pairs))


def fan_out(scale: Scale) -> dict[str, Any]:
    """One payload sealed for many devices, each with its own session; then the same, each state encoded too."""
    me = Person()
    held = [acquainted(me, Person()) for _ in range(max(scale.devices))]
    found = {}

    def seal(sessions: list[Sessions]) -> None:
        for each in sessions:
            each.seal(PAYLOAD, random=urandom)

    def seal_and_encode(sessions: list[Sessions]) -> None:
        for each in sessions:
            each.seal(PAYLOAD, random=urandom)
            each.encode()

    for name, devices in zip(("100", "500"), scale.devices, strict=True):
        for suffix, work in (("", seal), ("_encoded", seal_and_encode)):
            taken = Taken()
            for _ in range(scale.repeats):
                taken.time(partial(work, held[:devices]))
            found[f"seal_for_{name}{suffix}_ms"] = taken.times_ms()
    return found


def handshakes(scale: Scale) -> dict[str, Any]:
    """From prekeys in hand to the first message opened, each side by itself."""
    initiator, responder, both = Taken(), Taken(), Taken()
    for _ in range(scale.repeats):
        talks = [(Person(), Person()) for _ in range(scale.handshakes)]
        sealed: list[bytes] = []
        initiator.time(partial(_begin, talks, sealed))
        responder.time(partial(_hear, talks, sealed))
    both.cpu_s = [sum(each) for each in zip(initiator.cpu_s, responder.cpu_s, strict=True)]
    both.wall_s = [sum(each) for each in zip(initiator.wall_s, responder.wall_s, strict=True)]
    each = {"handshake_ms": both, "handshake_initiator_ms": initiator, "handshake_responder_ms": responder}
    return {name: taken.times_ms(scale.handshakes) for name, taken in each.items()}


def _begin(talks: list[tuple[Person, Person]], sealed: list[bytes]) -> None:
    sealed.extend(ada.begin(bob) for ada, bob in talks)


def _hear(talks: list[tuple[Person, Person]], sealed: list[bytes]) -> None:
    for (ada, bob), message in zip(talks, sealed, strict=True):
        bob.hear(message, ada)


def judged(found: dict[str, Any]) -> dict[str, Any]:
    """Each goal with the median of processor time that was measured."""
    goals = {}
    for name, (goal, at_least) in GOALS.items():
        value = found[name] if isinstance(found[name], float) else _ours(found[name])["cpu"]["median"]
        goals[name] = {"measured": value, "goal": goal, "met": value >= goal if at_least else value <= goal}
    return goals


def _ours(figure: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = figure.get("overfence", figure)
    return found


def measure(scale: Scale) -> dict[str, Any]:
    """Everything, in the order of the table."""
    found = ratchets(scale)
    for way in ("one_way", "alternate"):
        rates = found[f"{way}_pairs_per_s"]
        ratio = rates["overfence"]["cpu"]["median"] / rates["doubleratchet"]["cpu"]["median"]
        found[f"{way}_ratio_to_doubleratchet"] = round(ratio, 2)
    return found | fan_out(scale) | handshakes(scale)


def machine() -> dict[str, Any]:
    """Where this was measured."""
    return {
        "python": platform.python_version(),
        "doubleratchet": version("doubleratchet"),
        "pynacl": version("pynacl"),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def table(document: dict[str, Any]) -> str:
    """For people: the median by processor time, its ends, the wall's median, and the goal."""
    lines = [f"{'':44}{'CPU':>10}{'least':>10}{'most':>10}{'wall':>10}  goal"]
    for name, figure in document["figures"].items():
        goal = document["goals"].get(name)
        beside = "" if goal is None else f"  {goal['goal']}{'' if goal['met'] else '  MISSED'}"
        if isinstance(figure, float):
            lines.append(f"{name:44}{figure:>10,.2f}{'':30}{beside}")
            continue
        rows = {name: _ours(figure)}
        if "doubleratchet" in figure:
            rows["  PyPI's DoubleRatchet"] = figure["doubleratchet"]
        for row, kinds in rows.items():
            cpu, wall = kinds["cpu"], kinds["wall"]["median"]
            lines.append(
                f"{row:44}{cpu['median']:>10,.2f}{cpu['least']:>10,.2f}{cpu['most']:>10,.2f}{wall:>10,.2f}{beside}"
            )
            beside = ""
    return "\n".join(lines)


def main() -> None:
    """The entry point; without ``--quick`` it ends with 1 where a goal was missed."""
    parser = argparse.ArgumentParser(description="How fast messages are sealed.")
    parser.add_argument("--quick", action="store_true", help="a second's worth, whose figures mean nothing")
    parser.add_argument("--json", action="store_true", help="every turn, as JSON")
    given = parser.parse_args()
    document: dict[str, Any] = {"quick": given.quick, "machine": machine(), "payload_bytes": len(PAYLOAD)}
    document["figures"] = measure(QUICK if given.quick else FULL)
    document["goals"] = judged(document["figures"])
    print(json.dumps(document, indent=2) if given.json else table(document))
    sys.exit(not given.quick and not all(goal["met"] for goal in document["goals"].values()))


if __name__ == "__main__":
    main()
