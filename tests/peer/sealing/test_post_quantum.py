"""Who solves X25519 but not ML-KEM reads no session from outside, and loses one that was stolen at its renewal."""

from __future__ import annotations

import pytest
from overfence.identity import agreement_public
from overfence.sealing import Random

from .adversary import Loot
from .conftest import Person
from .wiretap import DAY_S, Talk

WHO = pytest.mark.parametrize("name", ["ada", "bob"])


class Solved:
    """A conversation of which the adversary gets the secret of every X25519 key."""

    def __init__(self) -> None:
        self.talk = Talk()
        self.drawn: list[bytes] = []
        pair = self.talk.pair
        for who in (pair.ada, pair.bob):
            self.drawn += [who.identity.device_agree_secret, *(kept.spk_secret for kept in who.secrets.values())]
            who.random = self.recording(who.random)
        pair.random = self.recording(pair.random)

    def recording(self, random: Random) -> Random:
        def record(count: int) -> bytes:
            self.drawn.append(random(count))
            return self.drawn[-1]

        return record

    def read(self, loot: Loot) -> set[int]:
        solved = {agreement_public(secret): secret for secret in self.drawn if len(secret) == 32}
        wire = {sent.header.public for sent in self.talk.adversary.wire}
        assert wire <= set(solved)
        return self.talk.adversary.read(loot.also(solved))

    def begin(self, who: Person) -> int:
        """A new handshake and its answer; the number of its first message."""
        start = len(self.talk.lines)
        self.talk.renew(who)
        self.talk.hear(self.talk.lines[-1])
        self.talk.tell(self.talk.pair.other(who))
        return start

    def converse(self) -> range:
        """Six round trips; their numbers."""
        start = len(self.talk.lines)
        for _ in range(6):
            for who in (self.talk.ada, self.talk.bob):
                self.talk.tell(who)
                self.talk.tell(who)
        return range(start, len(self.talk.lines))


def test_the_whole_wire_opens_to_who_has_the_kem_key_too_and_not_without() -> None:
    solved = Solved()
    bob = solved.talk.bob
    prekeys = tuple(bob.secrets.values())
    solved.begin(solved.talk.ada)
    solved.converse()
    assert solved.read(Loot()) == set()
    assert solved.read(Loot(prekeys=prekeys)) == set(range(len(solved.talk.lines)))
    assert solved.talk.adversary.read(Loot(prekeys=prekeys)) == set()


@WHO
@pytest.mark.parametrize("renewed_by", ["ada", "bob"])
def test_a_renewal_heals_what_answers_no_longer_do(name: str, renewed_by: str) -> None:
    solved = Solved()
    talk = solved.talk
    solved.begin(talk.ada)
    solved.converse()
    talk.wait(DAY_S + 1)
    who, by = (talk.ada if one == "ada" else talk.bob for one in (name, renewed_by))
    stolen = talk.loot(who)
    assert solved.read(stolen) == set(), "nothing of the past, once the prekey is gone"
    followed = set(solved.converse())
    assert solved.read(stolen) == followed

    fresh = talk.pair.other(by).publish()
    talk.adversary.cards[fresh.prekey_id] = fresh
    begun = solved.begin(by)
    for number in solved.converse():
        assert talk.lines[number].sid == talk.lines[begun].sid
    assert solved.read(stolen) == followed


def test_a_renewal_on_prekeys_that_were_stolen_with_the_rest_heals_nothing() -> None:
    solved = Solved()
    talk = solved.talk
    solved.begin(talk.ada)
    stolen = talk.loot(talk.bob)
    begun = solved.begin(talk.ada)
    after = solved.converse()
    assert solved.read(stolen) >= set(range(begun, after.stop))
