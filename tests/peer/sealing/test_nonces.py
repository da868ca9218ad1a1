"""A database set back to an older copy uses a key twice; the nonce beside it is fresh each time, whatever is sealed."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from overfence.identity import DeviceList
from overfence.sealing import Card, Sessions, seal_card, seal_entry, seal_envelope
from overfence.sealing.primitives import NONCE_BYTES

from .adversary import Sent
from .conftest import Person
from .wiretap import Talk

KEY, MAILBOX, TOPIC = bytes(range(32)), bytes(range(16)), bytes(range(32, 64))
COUNTS = st.integers(1, 6)


class Sealer:
    """Seals, and notes each nonce; when a database is set back its randomness goes on, as a system's does."""

    def __init__(self, seed: int) -> None:
        self.talk = Talk(seed)
        self.random = self.talk.pair.random
        self.talk.pair.random = self.draw
        self.drawn: list[bytes] = []
        self.nonces: list[bytes] = []

    def draw(self, count: int) -> bytes:
        self.drawn.append(self.random(count))
        return self.drawn[-1]

    def seal(self, seal: Callable[[], bytes]) -> bytes:
        """What ``seal`` gives begins with the one nonce that was drawn for it."""
        before = len(self.drawn)
        sealed = seal()
        assert self.drawn[before:] == [sealed[:NONCE_BYTES]]
        self.nonces.append(sealed[:NONCE_BYTES])
        return sealed

    def say(self, who: Person) -> Sent:
        """The next message, with or without a handshake before it."""

        def sealed() -> bytes:
            line = self.talk.say(who)
            assert line is not None
            return self.talk.adversary.wire[-1].sealed

        self.seal(sealed)
        return self.talk.adversary.wire[-1]

    def others(self) -> list[bytes]:
        """Everything else that is sealed under a key of its own."""
        ada = self.talk.ada
        card = Card(DeviceList.sign(ada.identity, [ada.device], 1), ada.prekeys, bytes(64))
        return [
            self.seal(lambda: seal_envelope(KEY, MAILBOX, ada.device.dsk, b"the same message", self.draw)),
            self.seal(lambda: seal_card(KEY, MAILBOX, card, self.draw)),
            self.seal(lambda: seal_entry(KEY, TOPIC, b"here", self.draw)),
        ]

    def key_of(self, sessions: bytes, sent: Sent) -> bytes:
        """The key with which these stored sessions sealed a message."""
        [ratchet] = [one.ratchet for one in Sessions.decode(sessions).held if one.ratchet.sid == sent.header.sid]
        assert ratchet.sending is not None
        *_, key = self.talk.adversary.walk(ratchet.sending, sent.header.number - ratchet.sent + 1)
        assert self.talk.adversary.opens(key, sent)
        return key


@given(seed=st.integers(0, 2**32), answered=st.booleans(), first=COUNTS, again=COUNTS)
def test_after_a_rollback_keys_come_again_and_nonces_do_not(seed: int, answered: bool, first: int, again: int) -> None:
    sealer = Sealer(seed)
    ada = sealer.talk.ada
    sealer.talk.pair.begin(ada)
    sealer.say(ada)
    if answered:
        sealer.talk.hear(sealer.talk.lines[0])
        sealer.talk.tell(sealer.talk.bob)
    copy = ada.sessions.encode()
    lost = [sealer.say(ada) for _ in range(first)]
    ada.sessions = Sessions.decode(copy)
    said = [sealer.say(ada) for _ in range(again)]
    for one, other in zip(lost, said, strict=False):
        assert one.head == other.head
        assert sealer.key_of(copy, one) == sealer.key_of(copy, other)
    one_round, other_round = sealer.others(), sealer.others()
    assert not set(one_round) & set(other_round)
    assert len(set(sealer.nonces)) == len(sealer.nonces) == 1 + first + again + 6


def test_a_handshake_begun_again_after_a_rollback_is_another() -> None:
    sealer = Sealer(1)
    ada = sealer.talk.ada
    copy = ada.sessions.encode()
    said = []
    for _ in range(2):
        ada.sessions = Sessions.decode(copy)
        sealer.talk.pair.begin(ada)
        begun = ada.sessions.encode()
        said.append((sealer.key_of(begun, sealer.say(ada)), sealer.nonces[-1]))
    (key, nonce), (other_key, other_nonce) = said
    assert key != other_key
    assert nonce != other_nonce
