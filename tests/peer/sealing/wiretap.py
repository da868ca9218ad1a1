"""Ada and Bob, and an adversary who has all that travels between them."""

from __future__ import annotations

from dataclasses import dataclass

from overfence.sealing import Duplicate, NoSession, UnknownPrekey
from overfence.sealing.ratchet import Ratchet

from .adversary import Adversary, Loot
from .conftest import Pair, Person

HOUR_S = 3600
DAY_S = 24 * HOUR_S


@dataclass
class Line:
    """One message of the conversation, and what its sealer's session answered when its chain began."""

    by: Person
    message: bytes
    sid: bytes
    public: bytes
    number: int
    answers: bytes | None
    opened: bool = False


class Talk:
    """Ada and Bob, and the adversary between them; prekeys go by the rules of §1."""

    def __init__(self, seed: int = 1) -> None:
        self.pair = Pair(seed)
        self.ada, self.bob = self.pair.ada, self.pair.bob
        self.lines: list[Line] = []
        self.under_way: list[Line] = []
        self.used_at: dict[bytes, int] = {}
        self.adversary = Adversary(
            (self.ada.identity.account, self.ada.device), (self.bob.identity.account, self.bob.device)
        )
        for who in (self.ada, self.bob):
            self.adversary.cards[who.prekeys.prekey_id] = who.prekeys

    def say(self, who: Person, *, offer: bool = False) -> Line | None:
        """None without a session to say it in."""
        text = b"line %d" % len(self.lines)
        try:
            message = self.pair.offer(who, text) if offer else self.pair.say(who, text)
        except NoSession:
            return None
        sent = self.adversary.wire[self.adversary.record(message, who.device)]
        ratchet = ratchet_of(who, sent.header.sid)
        line = Line(who, message, sent.header.sid, sent.header.public, sent.header.number, ratchet.their_public)
        self.lines.append(line)
        self.under_way.append(line)
        return line

    def hear(self, line: Line) -> bool:
        """Whether it could be read: an old session or prekey may be gone, but nothing is ever damaged here."""
        self.under_way.remove(line)
        hearer = self.pair.other(line.by)
        try:
            opened = self.pair.hear(hearer, line.message)
        except (Duplicate, UnknownPrekey):
            return False
        assert opened.payload == b"line %d" % self.lines.index(line)
        line.opened = True
        if opened.new_session:
            used = self.adversary.handshakes[line.sid].prekey_id
            if used not in self.used_at:
                self.used_at[used] = self.pair.now_s
                fresh = hearer.publish()
                self.adversary.cards[fresh.prekey_id] = fresh
        return True

    def tell(self, who: Person) -> Line:
        line = self.say(who)
        assert line is not None
        assert self.hear(line)
        return line

    def wait(self, seconds: int) -> None:
        """Time passes; a used prekey's secret is deleted when its day is over."""
        self.pair.now_s += seconds
        for prekey_id, used_at in self.used_at.items():
            if self.pair.now_s - used_at > DAY_S:
                for who in (self.ada, self.bob):
                    who.secrets.pop(prekey_id, None)

    def renew(self, who: Person) -> None:
        self.pair.begin(who)
        self.say(who, offer=True)

    def move(self, kind: str, by_ada: bool, pick: int) -> None:
        who = self.ada if by_ada else self.bob
        if kind == "say":
            self.say(who)
        elif kind == "hear" and self.under_way:
            self.hear(self.under_way[pick % len(self.under_way)])
        elif kind == "hear all":
            for line in self.under_way[:]:
                self.hear(line)
        elif kind == "lose" and self.under_way:
            self.under_way.pop(pick % len(self.under_way))
        elif kind == "wait":
            self.wait(pick * HOUR_S)
        elif kind == "renew":
            self.renew(who)

    def loot(self, who: Person, *, everywhere: bool = False) -> Loot:
        """All that this device stores at this moment."""
        kept = [secret.encode() for secret in who.secrets.values()]
        return Loot.snapshot(who.sessions.encode(), kept, who.identity.encode(), everywhere=everywhere)

    def past(self, who: Person) -> set[int]:
        """What this device has sealed or read."""
        return {number for number, line in enumerate(self.lines) if line.by is who or line.opened}


def ratchet_of(who: Person, sid: bytes) -> Ratchet:
    return next(session.ratchet for session in who.sessions.held if session.ratchet.sid == sid)
