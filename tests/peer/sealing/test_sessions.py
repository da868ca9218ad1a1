"""Two devices' sessions: how they begin, meet, renew, end, and what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from overfence.identity import H
from overfence.sealing import (
    BadState,
    Duplicate,
    Forged,
    MalformedMessage,
    NoSession,
    Pre,
    SealingError,
    Sessions,
    TooFarAhead,
    UnknownPrekey,
    UnknownSession,
)
from overfence.sealing.handshake import PRE_BYTES
from overfence.sealing.sessions import RETIRED_LIMIT, SEEN_LIMIT, SESSION_LIFE_S, SESSION_LIMIT

if TYPE_CHECKING:
    from tests.peer.sealing.conftest import Pair

DAY_S = 24 * 3600


def test_the_handshake_goes_before_each_message_until_the_first_answer(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    assert not ada.sessions.can_seal
    pair.begin(ada)
    assert ada.sessions.can_seal
    assert ada.sessions.unanswered
    first, second = pair.say(ada, b"one"), pair.say(ada, b"two")
    pre = Pre.peek(first)
    assert pre is not None
    assert second.startswith(pre.raw)

    opened = pair.hear(bob, second)
    assert (opened.payload, opened.new_session, opened.answered) == (b"two", True, False)
    opened = pair.hear(bob, first)
    assert (opened.payload, opened.new_session, opened.answered) == (b"one", False, False)
    assert opened.transcript == ada.sessions.transcript
    assert bob.sessions.topic_secret == ada.sessions.topic_secret is not None

    opened = pair.tell(bob, b"three")
    assert (opened.payload, opened.new_session, opened.answered) == (b"three", False, True)
    assert opened.transcript == ada.sessions.transcript
    assert not ada.sessions.unanswered
    assert Pre.peek(pair.say(ada, b"four")) is None
    assert not pair.tell(bob, b"five").answered


def test_nothing_can_be_sealed_before_a_session(pair: Pair) -> None:
    before = pair.ada.sessions.encode()
    with pytest.raises(NoSession):
        pair.say(pair.ada, b"hello")
    with pytest.raises(NoSession):
        pair.offer(pair.ada, b"hello")
    assert pair.ada.sessions.encode() == before == Sessions().encode()
    assert pair.ada.sessions.topic_secret is None
    assert pair.ada.sessions.transcript is None


def test_every_byte_of_a_first_message_counts(pair: Pair) -> None:
    pair.begin(pair.ada)
    message = pair.say(pair.ada, b"hello")
    for at in range(len(message)):
        pair.refuses(pair.bob, message[:at] + bytes((message[at] ^ 0x01,)) + message[at + 1 :], SealingError)
    assert pair.hear(pair.bob, message).payload == b"hello"


@pytest.mark.parametrize("place", ["in a new chain", "next in its chain", "after a gap", "in a gap"])
def test_every_byte_of_a_later_message_counts(pair: Pair, place: str) -> None:
    pair.acquaint()
    if place != "in a new chain":
        pair.tell(pair.ada, b"the chain's first")
    if place == "after a gap":
        pair.say(pair.ada, b"lost")
    message = pair.say(pair.ada, b"hello")
    if place == "in a gap":
        pair.tell(pair.ada, b"overtakes it")
    for at in range(len(message)):
        for bit in (0x01, 0x80):
            pair.refuses(pair.bob, message[:at] + bytes((message[at] ^ bit,)) + message[at + 1 :], SealingError)
    for length in (*range(0, len(message), 7), len(message) - 1):
        pair.refuses(pair.bob, message[:length], SealingError)
    pair.refuses(pair.bob, message + b"\0", Forged)
    assert pair.hear(pair.bob, message).payload == b"hello"


def test_whatever_was_read_once_is_a_duplicate_ever_after(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    pair.begin(ada)
    to_bob = [pair.say(ada, b"with handshake")]
    pair.hear(bob, to_bob[0])
    pair.tell(bob, b"answer")
    for _ in range(3):
        late = pair.say(ada, b"late")
        to_bob += [pair.say(ada, b"in order"), late]
        pair.hear(bob, to_bob[-2])
        pair.hear(bob, late)
        pair.tell(bob, b"answer")
    for message in to_bob:
        pair.refuses(bob, message, Duplicate)
    bob.restart()
    for message in to_bob:
        pair.refuses(bob, message, Duplicate)


def test_a_handshake_of_a_session_long_gone_is_a_duplicate(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    pair.begin(ada)
    first = pair.say(ada, b"hello")
    pair.hear(bob, first)
    for _ in range(SESSION_LIMIT):
        pair.now_s += 1
        pair.begin(ada)
        pair.hear(bob, pair.offer(ada, b"again"))
    pair.refuses(bob, first, Duplicate)
    # Once even the name of that session is forgotten, its EK is not: the prekey still lives.
    pair.now_s += SESSION_LIFE_S + 1
    pair.hear(bob, pair.say(ada, b"later"))
    assert first[PRE_BYTES + 2 : PRE_BYTES + 10] not in bob.sessions.retired
    pair.refuses(bob, first, Duplicate)


def test_a_peer_that_starts_sessions_without_end_costs_no_more_than_the_limits(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    sent = []
    for round in range(RETIRED_LIMIT + 20):
        pair.now_s += 1
        pair.begin(ada)
        sent.append(pair.offer(ada, b"round %d" % round))
        assert pair.hear(bob, sent[-1]).payload == b"round %d" % round
    assert len(bob.sessions.held) == SESSION_LIMIT
    assert len(bob.sessions.seen) == SEEN_LIMIT
    assert len(bob.sessions.retired) == RETIRED_LIMIT
    assert len(bob.sessions.encode()) < 20_000
    for message in sent:
        pair.refuses(bob, message, Duplicate)


def test_a_message_of_an_unknown_session_names_it(pair: Pair) -> None:
    pair.acquaint()
    pair.bob.sessions = Sessions()
    message = pair.say(pair.ada, b"hello")
    error = pair.refuses(pair.bob, message, UnknownSession)
    assert isinstance(error, UnknownSession)
    assert error.sid == message[2:10]


def test_a_handshake_on_an_unknown_prekey_names_it(pair: Pair) -> None:
    pair.begin(pair.ada)
    pair.bob.secrets.clear()
    error = pair.refuses(pair.bob, pair.say(pair.ada, b"hello"), UnknownPrekey)
    assert isinstance(error, UnknownPrekey)
    assert error.prekey_id == pair.bob.prekeys.prekey_id


def test_a_message_too_far_ahead_changes_nothing(pair: Pair) -> None:
    pair.acquaint()
    for _ in range(5001):
        message = pair.say(pair.ada, b"lost")
    pair.refuses(pair.bob, pair.say(pair.ada, b"hello"), TooFarAhead)
    assert pair.hear(pair.bob, message).payload == b"lost"


def test_a_handshake_of_somebody_else_is_a_forgery(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    ada.sessions.initiate(
        pair.ada.identity, bob.device, bob.identity.account, bob.prekeys, now_s=pair.now_s, random=pair.random
    )
    message = pair.say(ada, b"hello")
    ada.device = ada.device._replace(dsk=bob.device.dsk)
    pair.refuses(bob, message, Forged)


def test_an_ephemeral_key_of_small_order_is_a_forgery(pair: Pair) -> None:
    pair.begin(pair.ada)
    message = pair.say(pair.ada, b"hello")
    forged = message[:98] + bytes(32) + message[130:]
    pair.refuses(pair.bob, forged, MalformedMessage)
    pre = Pre.peek(forged)
    assert pre is not None
    # The forger names the session as the changed handshake demands.
    body = bytearray(forged[len(pre.raw) :])
    body[2:10] = H(pre.raw)[:8]
    pair.refuses(pair.bob, pre.raw + bytes(body), Forged)


@pytest.mark.parametrize("apart_s", [0, 1])
def test_two_who_begin_at_once_end_on_one_session(pair: Pair, apart_s: int) -> None:
    ada, bob = pair.ada, pair.bob
    pair.begin(ada)
    pair.now_s += apart_s
    pair.begin(bob)
    from_ada, from_bob = pair.say(ada, b"I am Ada"), pair.say(bob, b"I am Bob")
    assert pair.hear(bob, from_ada).new_session
    assert pair.hear(ada, from_bob).new_session
    for round in range(3):
        assert pair.tell(ada, b"%d" % round).payload == b"%d" % round
        assert pair.tell(bob, b"%d" % round).payload == b"%d" % round
    assert ada.sessions.topic_secret == bob.sessions.topic_secret
    assert not ada.sessions.unanswered
    assert not bob.sessions.unanswered
    expected = bob if apart_s else min(ada, bob, key=lambda person: person.device.dsk)
    assert pair.tell(ada, b"last").transcript == expected.sessions.transcript


def test_after_a_renewal_traffic_moves_with_the_answer_and_late_messages_still_open(pair: Pair) -> None:
    pair.acquaint()
    ada, bob = pair.ada, pair.bob
    old = pair.tell(ada, b"before").sid
    late = pair.say(bob, b"late")
    bob.publish()
    pair.now_s += DAY_S
    pair.begin(ada)
    offer = pair.offer(ada, b"renewed")
    assert pair.tell(ada, b"not moved yet").sid == old
    new = pair.hear(bob, offer).sid
    assert new != old
    answer = pair.tell(bob, b"moved")
    assert (answer.sid, answer.answered) == (new, True)
    assert pair.tell(ada, b"moved too").sid == new
    assert pair.hear(ada, late).payload == b"late"
    assert ada.sessions.topic_secret == bob.sessions.topic_secret


def test_a_session_replaced_receives_for_thirty_days_and_is_known_by_name_for_thirty_more(pair: Pair) -> None:
    pair.acquaint()
    ada, bob = pair.ada, pair.bob
    late = [pair.say(ada, b"late %d" % number) for number in range(3)]
    pair.now_s += 1
    pair.begin(ada)
    pair.hear(bob, pair.offer(ada, b"renewed"))
    pair.tell(bob, b"moved")
    pair.now_s += SESSION_LIFE_S - 1
    assert pair.hear(bob, late[0]).payload == b"late 0"
    pair.now_s += 2
    pair.tell(ada, b"time passes")
    pair.refuses(bob, late[1], Duplicate)
    pair.now_s += SESSION_LIFE_S + 1
    pair.refuses(bob, late[1], UnknownSession)


def test_after_a_reset_nobody_sends_on_what_could_not_be_read_whatever_its_epoch(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    pair.now_s += 1000 * DAY_S
    pair.acquaint()
    lost = pair.tell(ada, b"before").sid
    # Bob's database is lost, and his clock is behind: his new session's epoch is lower.
    bob.sessions = Sessions()
    pair.refuses(bob, pair.say(ada, b"lost"), UnknownSession)
    pair.now_s -= 1000 * DAY_S
    pair.begin(bob)
    reset = pair.tell(bob, b"I could not read that session")
    assert reset.new_session
    assert pair.say(ada, b"still the higher epoch")[2:10] == lost
    ada.sessions.mute(lost)
    opened = pair.tell(ada, b"after")
    assert (opened.sid, opened.answered) == (reset.sid, True)
    ada.restart()
    assert pair.tell(ada, b"and after").sid == reset.sid
    ada.sessions.mute(b"no such.")
    assert ada.sessions.can_seal


def test_a_reset_in_place_of_an_unanswered_handshake_leaves_the_older_one_receiving(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    pair.begin(ada)
    pair.tell(ada, b"first try")
    answer = pair.say(bob, b"answer to the first")
    bob.publish()
    pair.begin(ada)
    second = pair.say(ada, b"second try")
    assert pair.hear(ada, answer).answered
    assert pair.hear(bob, second).new_session
    assert pair.tell(bob, b"answer to the second").answered
    assert ada.sessions.topic_secret == bob.sessions.topic_secret


def test_a_session_that_sends_again_lives_on(pair: Pair) -> None:
    pair.acquaint()
    ada, bob = pair.ada, pair.bob
    first = pair.tell(ada, b"first").sid
    pair.now_s += 1
    pair.begin(ada)
    pair.hear(bob, pair.offer(ada, b"renewed"))
    second = pair.tell(bob, b"moved").sid
    assert pair.tell(ada, b"moved").sid == second
    for person in (ada, bob):
        person.sessions.mute(second)
    for _ in range(3):
        pair.now_s += SESSION_LIFE_S - DAY_S
        assert pair.tell(ada, b"back on the first").sid == first
        assert pair.tell(bob, b"back on the first").sid == first
    late = pair.say(ada, b"late")
    pair.begin(ada)
    third = pair.hear(bob, pair.offer(ada, b"renewed again")).sid
    assert pair.tell(bob, b"moved again").sid == pair.tell(ada, b"moved again").sid == third
    assert pair.hear(bob, late).payload == b"late"


def test_a_new_session_stays_though_five_others_have_higher_epochs(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    pair.now_s += DAY_S
    for _ in range(SESSION_LIMIT):
        pair.now_s += 1
        pair.begin(bob)
        pair.hear(ada, pair.offer(bob, b"renewed"))
        pair.tell(ada, b"moved")
    # Bob's machine goes back to how it was before all that, clock and all.
    bob.sessions = Sessions()
    pair.now_s -= 2 * DAY_S
    pair.begin(bob)
    sid = pair.tell(bob, b"one").sid
    assert pair.tell(bob, b"two").sid == sid
    assert len(ada.sessions.held) == SESSION_LIMIT


def test_what_is_stored_goes_on_where_it_was(pair: Pair) -> None:
    pair.begin(pair.ada)
    for round in range(6):
        for who in (pair.ada, pair.bob):
            pair.ada.restart()
            pair.bob.restart()
            if who.sessions.can_seal:
                skipped = pair.say(who, b"skipped")
                assert pair.tell(who, b"%d" % round).payload == b"%d" % round
                pair.other(who).restart()
                assert pair.hear(pair.other(who), skipped).payload == b"skipped"
    assert Sessions.decode(pair.ada.sessions.encode()).encode() == pair.ada.sessions.encode()


@given(raw=st.binary())
@example(b"\x90")
@example(b"\x91\x01")
def test_any_stored_bytes_are_sessions_or_damaged(raw: bytes) -> None:
    try:
        Sessions.decode(raw)
    except BadState:
        return
    raise AssertionError("noise was taken for sessions")


def test_stored_sessions_cut_anywhere_are_damaged(pair: Pair) -> None:
    pair.acquaint()
    raw = pair.ada.sessions.encode()
    for length in range(len(raw)):
        with pytest.raises(BadState):
            Sessions.decode(raw[:length])


@given(raw=st.one_of(st.binary(), st.binary(min_size=90, max_size=400).map(lambda rest: b"\x01\x01" + rest)))
def test_any_bytes_heard_are_refused_by_type(raw: bytes, new_pair: type[Pair]) -> None:
    pair = new_pair(1)
    pair.refuses(pair.bob, raw, SealingError)


def test_no_secret_stands_in_what_is_printed(pair: Pair) -> None:
    pair.acquaint()
    ada = pair.ada
    opened = pair.tell(pair.bob, b"a word in confidence")
    shown = " ".join(map(repr, (ada.sessions, ada.sessions.held[0].ratchet, ada.identity, ada.secrets, opened)))
    ratchet = ada.sessions.held[0].ratchet
    secrets = [ratchet.root, ratchet.own_secret, ada.identity.device_agree_secret, ada.sessions.topic_secret]
    secrets += [secret.kpk_seed for secret in ada.secrets.values()]
    for secret in secrets:
        assert secret is not None
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
    assert "confidence" not in shown
