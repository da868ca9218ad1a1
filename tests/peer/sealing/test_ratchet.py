"""The ratchet's bounds, and what it forgets."""

from __future__ import annotations

from os import urandom

import pytest
from overfence.identity import agreement_public
from overfence.sealing import Duplicate, Forged, NoSession, TooFarAhead
from overfence.sealing.ratchet import JUMP_LIMIT, SKIPPED_LIFE_S, SKIPPED_LIMIT, SPENT_LIMIT, Ratchet


class Talk:
    def __init__(self) -> None:
        secret, spk_secret = urandom(32), urandom(32)
        spk = agreement_public(spk_secret)
        self.ada = Ratchet.of_initiator(secret=secret, ad=b"ad", sid=bytes(8), spk=spk, random=urandom)
        self.bob = Ratchet.of_responder(secret=secret, ad=b"ad", sid=bytes(8), spk_secret=spk_secret)
        self.now_s = 0

    def say(self, who: Ratchet, count: int) -> list[bytes]:
        return [who.encrypt(str(number).encode(), random=urandom) for number in range(count)]

    def hear(self, who: Ratchet, message: bytes) -> bytes:
        return who.decrypt(message, now_s=self.now_s, random=urandom)


def test_a_responder_cannot_speak_first() -> None:
    with pytest.raises(NoSession):
        Talk().bob.encrypt(b"hello", random=urandom)


def test_a_jump_may_be_as_long_as_the_limit_and_no_longer() -> None:
    talk = Talk()
    said = talk.say(talk.ada, JUMP_LIMIT + 2)
    before = repr(talk.bob), talk.bob.root
    with pytest.raises(TooFarAhead) as caught:
        talk.hear(talk.bob, said[JUMP_LIMIT + 1])
    assert caught.value.jump == JUMP_LIMIT + 1
    assert (repr(talk.bob), talk.bob.root) == before
    assert talk.hear(talk.bob, said[JUMP_LIMIT]) == str(JUMP_LIMIT).encode()


def test_a_jump_counts_what_it_skips_in_both_chains() -> None:
    talk = Talk()
    first = talk.say(talk.ada, 3000)
    talk.hear(talk.bob, first[0])
    talk.hear(talk.ada, talk.say(talk.bob, 1)[0])
    second = talk.say(talk.ada, 2003)
    with pytest.raises(TooFarAhead):
        talk.hear(talk.bob, second[2002])
    assert talk.hear(talk.bob, second[2001]) == b"2001"


def test_the_end_of_a_chain_may_come_after_the_next_has_begun() -> None:
    talk = Talk()
    first, *late = talk.say(talk.ada, 4)
    talk.hear(talk.bob, first)
    talk.hear(talk.ada, talk.say(talk.bob, 1)[0])
    talk.hear(talk.bob, talk.say(talk.ada, 1)[0])
    assert [talk.hear(talk.bob, message) for message in reversed(late)] == [b"3", b"2", b"1"]
    assert not talk.bob.skipped


def test_of_the_keys_skipped_the_newest_are_kept_and_the_rest_is_a_duplicate() -> None:
    talk = Talk()
    said = talk.say(talk.ada, SKIPPED_LIMIT + 11)
    talk.hear(talk.bob, said[-1])
    assert len(talk.bob.skipped) == SKIPPED_LIMIT
    for number in range(10):
        with pytest.raises(Duplicate):
            talk.hear(talk.bob, said[number])
    for number in range(10, SKIPPED_LIMIT + 10):
        assert talk.hear(talk.bob, said[number]) == str(number).encode()
    assert not talk.bob.skipped


def test_the_oldest_skipped_keys_make_room() -> None:
    talk = Talk()
    said = talk.say(talk.ada, SKIPPED_LIMIT + 20)
    talk.hear(talk.bob, said[10])
    talk.hear(talk.bob, said[SKIPPED_LIMIT + 6])
    with pytest.raises(Duplicate):
        talk.hear(talk.bob, said[4])
    assert talk.hear(talk.bob, said[5]) == b"5"


def test_a_skipped_key_is_forgotten_after_thirty_days() -> None:
    talk = Talk()
    said = talk.say(talk.ada, 6)
    talk.hear(talk.bob, said[2])
    talk.now_s += SKIPPED_LIFE_S
    assert talk.hear(talk.bob, said[0]) == b"0"
    talk.hear(talk.bob, said[5])
    talk.bob.forget_old(talk.now_s + 1)
    with pytest.raises(Duplicate):
        talk.hear(talk.bob, said[1])
    assert talk.hear(talk.bob, said[4]) == b"4"


def test_a_message_of_any_earlier_chain_arriving_again_is_a_duplicate_and_no_forgery() -> None:
    talk = Talk()
    heard, skipped = [], []
    for _ in range(20):
        late, message = talk.say(talk.ada, 2)
        talk.hear(talk.bob, message)
        heard.append(message)
        skipped.append(late)
        talk.hear(talk.ada, talk.say(talk.bob, 1)[0])
    for message in heard:
        with pytest.raises(Duplicate):
            talk.hear(talk.bob, message)
    for message in skipped:
        assert talk.hear(talk.bob, message) == b"0"
        with pytest.raises(Duplicate):
            talk.hear(talk.bob, message)


def test_what_is_remembered_of_earlier_chains_is_bounded() -> None:
    talk = Talk()
    for _ in range(SPENT_LIMIT + 5):
        talk.hear(talk.bob, talk.say(talk.ada, 1)[0])
        last = talk.say(talk.bob, 1)[0]
        talk.hear(talk.ada, last)
    assert len(talk.ada.spent) == len(talk.bob.spent) == 8 * SPENT_LIMIT
    with pytest.raises(Duplicate):
        talk.hear(talk.ada, last)


def test_a_ratchet_key_of_small_order_is_a_forgery() -> None:
    talk = Talk()
    message = talk.say(talk.ada, 1)[0]
    with pytest.raises(Forged):
        talk.hear(talk.bob, message[:10] + bytes(32) + message[42:])
    assert talk.hear(talk.bob, message) == b"0"


def test_each_answer_heals_a_stolen_state() -> None:
    talk = Talk()
    talk.hear(talk.bob, talk.say(talk.ada, 1)[0])
    stolen = Talk().bob
    for field in stolen.__struct_fields__:
        value = getattr(talk.bob, field)
        setattr(stolen, field, dict(value) if isinstance(value, dict) else value)
    talk.hear(talk.ada, talk.say(talk.bob, 1)[0])
    talk.hear(talk.bob, talk.say(talk.ada, 1)[0])
    talk.hear(talk.ada, talk.say(talk.bob, 1)[0])
    secret_again = talk.say(talk.ada, 1)[0]
    with pytest.raises(Forged):
        stolen.decrypt(secret_again, now_s=0, random=urandom)
    assert talk.hear(talk.bob, secret_again) == b"0"


def test_the_length_tells_only_which_256_bytes() -> None:
    talk = Talk()
    lengths = {len(talk.ada.encrypt(bytes(length), random=urandom)) for length in range(256)}
    assert lengths == {50 + 24 + 256 + 16}
