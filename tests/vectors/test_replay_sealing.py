"""Primitives, cards, envelopes, handshakes and the ratchet give the vectors' bytes and errors."""

from __future__ import annotations

import pytest
from overfence import sealing
from overfence.identity import Device, H, Identity, L, agreement_public
from overfence.sealing import (
    Forged,
    Pre,
    Prekeys,
    PrekeySecret,
    SealingError,
    Sessions,
    WeakKey,
    aead_open,
    aead_seal,
    hkdf,
    hmac_sha256,
    open_card,
    open_envelope,
    seal_card,
    seal_envelope,
    sender_hint,
)
from overfence.sealing.card import Card
from overfence.sealing.handshake import derive_secret, initiator_secrets, respond, responder_secrets
from overfence.sealing.primitives import pad, unpad, x25519
from overfence.sealing.ratchet import Ratchet

from .replay import Case, each, fed, load
from .test_replay_identities import identity


def error_of(case: Case) -> type[SealingError]:
    """The error a case names; exactly that one, no relative of it."""
    found: type[SealingError] = getattr(sealing, case["error"])
    return found


@each("primitives")
def test_primitives(case: Case) -> None:
    kind = case["name"].split()[0].rstrip(":,")
    match kind:
        case "H":
            assert H(case.raw("x")) == case.raw("H")
        case "L":
            assert L(case["x"]) == case.raw("L")
        case "HMAC":
            assert hmac_sha256(case.raw("k"), case.raw("m")) == case.raw("HMAC")
        case "HKDF":
            assert hkdf(case.raw("salt"), case.raw("ikm"), case.raw("info"), case["n"]) == case.raw("HKDF")
        case "AEAD":
            replay_aead(case)
        case "DH":
            replay_agreement(case)
        case _:
            pytest.fail(f"{kind} is replayed by nothing")


def replay_aead(case: Case) -> None:
    key, ad, sealed = case.raw("k"), case.raw("ad"), case.raw("AEAD")
    if "error" in case:
        assert error_of(case) is Forged
        with pytest.raises(Forged):
            aead_open(key, sealed, ad)
        return
    assert aead_open(key, sealed, ad) == case.raw("m")
    assert aead_seal(key, case.raw("m"), ad, fed({24: case.raw("nonce")})) == sealed


def replay_agreement(case: Case) -> None:
    if "error" in case:
        assert error_of(case) is WeakKey
        with pytest.raises(WeakKey):
            x25519(case.raw("a"), case.raw("B"))
        return
    assert x25519(case.raw("a"), case.raw("B")) == case.raw("DH")


@each("padding")
def test_padding(case: Case) -> None:
    if "error" in case:
        with pytest.raises(error_of(case)):
            unpad(case.raw("padded"))
        return
    assert pad(case.raw("payload")) == case.raw("padded")
    assert unpad(case.raw("padded")) == case.raw("payload")


@each("card")
def test_cards(case: Case) -> None:
    if "card" in case:
        replay_card(case)
        return
    raw = case.raw("prekeys")
    if "error" in case:
        with pytest.raises(error_of(case)):
            Prekeys.parse(raw)
        return
    found, secret = Prekeys.parse(raw), prekey_secret(case)
    assert (found.dsk, found.prekey_id) == (case.raw("DSK"), secret.prekey_id)
    assert found.spk == secret.spk == case.raw("SPK")
    assert found.kpk == secret.kpk == case.raw("KPK")
    seed = case.raw("device_sign_seed")
    assert Prekeys.sign(Identity(None, seed, bytes(32), bytes(32)), secret).raw == raw


def prekey_secret(case: Case) -> PrekeySecret:
    return PrekeySecret(case.raw("prekey_id"), case.raw("spk_secret"), case.raw("kpk_seed"))


def replay_card(case: Case) -> None:
    key, mailbox, raw = case.raw("key"), case.raw("mailbox"), case.raw("card")
    if "error" in case:
        with pytest.raises(error_of(case)):
            open_card(key, mailbox, raw)
        return
    found = open_card(key, mailbox, raw)
    assert hkdf(bytes(32), key, L("card"), 32) == case.raw("card_key")
    assert (found.device_list.raw, found.consent) == (case.raw("device_list"), case.raw("consent"))
    assert (found.device_list.account, *found.device) == (case.raw("AK"), case.raw("DSK"), case.raw("DIK"))
    again = Card(found.device_list, found.prekeys, found.consent)
    assert seal_card(key, mailbox, again, fed({24: case.raw("nonce")})) == raw


@each("envelope")
def test_envelopes(case: Case) -> None:
    key, mailbox, raw = case.raw("key"), case.raw("mailbox"), case.raw("envelope")
    if "error" in case:
        with pytest.raises(error_of(case)):
            open_envelope(key, mailbox, raw)
        return
    assert open_envelope(key, mailbox, raw) == (case.raw("hint"), case.raw("message"))
    assert sender_hint(case.raw("DSK_sender")) == case.raw("hint")
    sealed = seal_envelope(key, mailbox, case.raw("DSK_sender"), case.raw("message"), fed({24: case.raw("nonce")}))
    assert sealed == raw


class Pair:
    """A and B of the handshake's file."""

    def __init__(self) -> None:
        self.agreement, self.heard = load("handshake")
        self.a, self.b = identity(self.agreement.part("A")), identity(self.agreement.part("B"))
        self.prekey = prekey_secret(self.agreement.part("B"))


def test_both_sides_of_a_handshake_derive_what_the_vector_says() -> None:
    pair = Pair()
    case = pair.agreement
    assert (pair.prekey.spk, pair.prekey.kpk) == (case.raw("SPK"), case.raw("KPK"))
    ek_secret = case.raw("ek_secret")
    assert agreement_public(ek_secret) == case.raw("EK")
    agreed = case.raw("DH1") + case.raw("DH2") + case.raw("DH3")
    assert initiator_secrets(pair.a.device_agree_secret, ek_secret, pair.b.dik, pair.prekey.spk) == agreed
    own = pair.b.device_agree_secret
    assert responder_secrets(own, pair.prekey.spk_secret, pair.a.dik, case.raw("EK")) == agreed
    assert derive_secret(agreed, case.raw("SS")) == case.raw("SK")
    pre = Pre.peek(case.raw("pre"))
    assert pre is not None
    assert (pre.account, pre.dsk, pre.dik, pre.ek) == (pair.a.account, pair.a.dsk, pair.a.dik, case.raw("EK"))
    assert (pre.epoch, pre.prekey_id, pre.kem_ct) == (case["epoch"], pair.prekey.prekey_id, case.raw("kem_ct"))
    assert pair.prekey.kem.decapsulate(pre.kem_ct) == case.raw("SS")
    found = respond(pair.b, pre, pair.prekey)
    assert (found.secret, found.ad) == (case.raw("SK"), case.raw("AD"))
    assert (found.transcript, found.sid) == (case.raw("transcript"), case.raw("sid"))


def test_first_messages_are_heard_or_refused_as_the_vector_says() -> None:
    pair, sessions = Pair(), Sessions()
    for step in pair.heard.steps():
        before = sessions.encode()
        random = fed({32: step.raw("ratchet_secret")} if "ratchet_secret" in step else {})

        def hear(raw: bytes = step.raw("opens"), random: sealing.Random = random) -> sealing.Opened:
            return sessions.open(
                raw,
                me=pair.b,
                peer=Device(pair.a.dsk, pair.a.dik),
                peer_account=pair.a.account,
                prekey_secrets={pair.prekey.prekey_id: pair.prekey},
                now_s=pair.agreement["epoch"],
                random=random,
            )

        if "error" not in step:
            opened = hear()
            assert (opened.payload, opened.sid) == (step.raw("payload"), pair.agreement.raw("sid"))
            assert sessions.topic_secret == pair.agreement.raw("topic_secret")
            continue
        with pytest.raises(error_of(step)) as caught:
            hear()
        assert caught.type is error_of(step), step
        assert sessions.encode() == before


@each("ratchet")
def test_conversations_over_the_ratchet(case: Case) -> None:
    given = {"secret": case.raw("SK"), "ad": case.raw("AD"), "sid": case.raw("sid")}
    first = fed({32: case.raw("A_ratchet_secret")})
    assert agreement_public(case.raw("spk_secret")) == case.raw("SPK")
    sides = {
        "A": Ratchet.of_initiator(**given, spk=case.raw("SPK"), random=first),
        "B": Ratchet.of_responder(**given, spk_secret=case.raw("spk_secret")),
    }
    assert (sides["A"].root, sides["A"].sending) == (case.raw("sending_root"), case.raw("sending_chain"))
    said: dict[str, bytes] = {}
    for step in case.steps():
        side = sides[step["side"]]
        if "seals" in step:
            said[step["seals"]] = step.raw("message")
            replay_seal(side, step)
        elif "opens" in step:
            replay_open(side, step, said[step["opens"]])
        else:
            message = step.raw_or_none("message")
            refuse(side, step, said[step["refuses"]] if message is None else message)


def replay_seal(side: Ratchet, step: Case) -> None:
    # Where the vector says that others were sealed and lost before this one.
    while side.sent < step["n"]:
        side.encrypt(b"", random=bytes)
    assert (side.sent_before, side.sent) == (step["pn"], step["n"])
    assert side.encrypt(step.raw("payload"), random=fed({24: step.raw("nonce")})) == step.raw("message")


def replay_open(side: Ratchet, step: Case, message: bytes) -> None:
    turns = "ratchet_secret" in step
    random = fed({32: step.raw("ratchet_secret")} if turns else {})
    assert side.decrypt(message, now_s=0, random=random) == step.raw("payload"), step["opens"]
    if turns:
        assert side.root == step.raw("sending_root")
        assert side.sending == step.raw("sending_chain")


def refuse(side: Ratchet, step: Case, message: bytes) -> None:
    before = state(side)
    with pytest.raises(SealingError) as caught:
        side.decrypt(message, now_s=0, random=fed({}))
    assert caught.type is error_of(step), step["refuses"]
    assert state(side) == before


def state(side: Ratchet) -> tuple[object, ...]:
    return tuple(repr(getattr(side, field)) for field in side.__struct_fields__)
