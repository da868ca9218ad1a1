"""A whole conversation over the ratchet: lost, late, doubled, forged messages; and its bounds (docs/protocol.md §3)."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy

from .doubled import Side, seal
from .identities import Case, Fields
from .spec import header, seeded, x25519

SID, AD, SK = seeded("sid", 8), b"the associated data of one session", seeded("SK", 32)
SPK_SECRET, FIRST = seeded("SPK", 32), seeded("first ratchet key", 32)


class Script:
    """A and B, what each seals, and what each then opens or refuses, as steps in this order."""

    def __init__(self) -> None:
        self.a, self.b = Side(SK, FIRST), Side(SK, SPK_SECRET)
        self.a.begin(SK, x25519(SPK_SECRET))
        self.steps: list[Case] = []
        self.said: dict[str, tuple[bytes, bytes]] = {}
        self._heard: set[tuple[str, bytes]] = set()

    def case(self, name: str) -> Case:
        start: Fields = {"SK": SK, "AD": AD, "sid": SID, "spk_secret": SPK_SECRET, "SPK": x25519(SPK_SECRET)}
        return {"name": name, **start, "A_ratchet_secret": FIRST, **self.a.turns[0], "steps": self.steps}

    def side(self, who: str) -> Side:
        return self.a if who == "A" else self.b

    def seals(self, who: str, name: str, payload: bytes) -> None:
        message, made = seal(self.side(who), payload, sid=SID, AD=AD, nonce=seeded(f"nonce {name}", 24))
        self.said[name] = message, payload
        self.steps.append({"side": who, "seals": name, "payload": payload, **made})

    def opens(self, who: str, *names: str) -> None:
        for name in names:
            message, payload = self.said[name]
            step: Fields = {"side": who, "opens": name, "payload": payload}
            key = message[10:42]
            if (who, key) not in self._heard:
                self._heard.add((who, key))
                side, secret = self.side(who), seeded(f"{who} after {name}", 32)
                side.turn(key, secret)
                step |= {"ratchet_secret": secret, **side.turns[-1]}
            self.steps.append(step)

    def refuses(self, who: str, name: str, error: str, message: bytes | None = None) -> None:
        step: Fields = {"side": who, "refuses": name, "error": error}
        self.steps.append(step if message is None else step | {"message": message})

    def again(self, who: str, *names: str) -> None:
        self.steps.extend({"side": who, "refuses": name, "error": "Duplicate"} for name in names)


def flipped(message: bytes, at: int) -> bytes:
    return message[:at] + bytes((message[at] ^ 1,)) + message[at + 1 :]


def ratchets() -> list[Case]:
    return [lost_and_late(), forged(), too_far()]


def lost_and_late() -> Case:
    script = Script()
    for at, payload in enumerate((b"", b"1", seeded("long", 255), seeded("longer", 256), b"four", b"five")):
        script.seals("A", f"a{at}", payload)
    script.opens("B", "a2", "a0")
    script.again("B", "a0", "a2")
    script.opens("B", "a4")
    for at in range(4):
        script.seals("B", f"b{at}", f"b{at}".encode())
    script.opens("A", "b1")
    script.seals("A", "a6", b"in the next chain; a5 is still on its way")
    script.seals("A", "a7", b"a6 is never heard of again")
    script.opens("B", "a7", "a3")
    script.seals("B", "b4", b"B's next chain")
    script.opens("A", "b4", "b2", "b0")
    script.again("A", "b0", "b1", "b4")
    script.opens("B", "a5", "a1")
    script.again("B", "a1", "a4", "a7")
    script.seals("A", "a8", b"A's third chain")
    script.opens("B", "a8")
    script.opens("A", "b3")
    script.again("B", "a5", "a7", "a8")
    return script.case("lost, late and doubled messages in three chains of each")


def forged() -> Case:
    script = Script()
    script.seals("A", "a0", b"first")
    script.seals("A", "a1", b"second")
    first, second = script.said["a0"][0], script.said["a1"][0]
    weak = header(SID, bytes(32), 0, 0) + first[50:]
    for name, message, error in forgeries(first, weak):
        script.refuses("B", name, error, message)
    script.opens("B", "a0")
    for name, at in (
        ("its number", 48),
        ("its chain's length", 45),
        ("the nonce", 50),
        ("its last byte", len(second) - 1),
    ):
        script.refuses("B", f"a1 with {name} changed", "Forged", flipped(second, at))
    badly, _ = seal(deepcopy(script.a), b"", sid=SID, AD=AD, nonce=seeded("n", 24), padded=bytes(256))
    script.refuses("B", "an authentic message whose padding is wrong", "MalformedMessage", badly)
    script.opens("B", "a1")
    script.seals("A", "a2", b"under the number of the one that was padded wrongly")
    script.opens("B", "a2")
    return script.case("forged and malformed messages change nothing")


def forgeries(first: bytes, weak: bytes) -> Iterable[tuple[str, bytes, str]]:
    elsewhere = Script()
    other, _ = seal(elsewhere.a, b"first", sid=SID, AD=b"other data", nonce=seeded("nonce a0", 24))
    yield "sealed with another AD", other, "Forged"
    yield "a ratchet key of small order", weak, "Forged"
    yield (
        "a ratchet key of small order, unreduced",
        header(SID, b"\xed" + b"\xff" * 30 + b"\x7f", 0, 0) + first[50:],
        "Forged",
    )
    yield "its ratchet key changed", flipped(first, 20), "Forged"
    yield "its sid changed", flipped(first, 2), "Forged"
    yield "an unknown version", b"\x02" + first[1:], "MalformedMessage"
    yield "an unknown kind", b"\x01\x03" + first[2:], "MalformedMessage"
    yield "cut to less than a tag", first[:89], "MalformedMessage"
    yield "cut by a byte", first[:-1], "Forged"
    yield "nothing", b"", "MalformedMessage"


def too_far() -> Case:
    """5,000 numbers may be skipped, in two chains together; of the keys skipped, 2,000 are kept."""
    script = Script()
    for n in (2999, 3000, 5000, 5001):
        skip_to(script.a, n)
        script.seals("A", f"a{n}", f"number {n}".encode())
    script.refuses("B", "a5001", "TooFarAhead")
    script.opens("B", "a5000", "a3000")
    script.refuses("B", "a2999", "Duplicate")  # its key fell out
    script.opens("B", "a5001")
    skip_to(script.a, 5003)
    script.seals("A", "a5003", b"B never hears of this one, nor of the one before")
    script.seals("B", "b0", b"heard")
    script.opens("A", "b0")
    skip_to(script.a, 4998)
    script.seals("A", "next 4998", b"two skipped in the chain before, and 4,998 in this")
    script.seals("A", "next 4999", b"one more")
    script.refuses("B", "next 4999", "TooFarAhead")
    script.opens("B", "next 4998", "next 4999")
    return script.case("how far a message may skip")


def skip_to(side: Side, n: int) -> None:
    if side.sending is None:
        raise AssertionError("this side has not heard the other yet")
    side.sending.skip_to(n)
