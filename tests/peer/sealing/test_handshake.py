"""The handshake against PyPI's X3DH, and against keys that should not be agreed with."""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING

import pytest
import xeddsa
from hypothesis import given
from hypothesis import strategies as st
from overfence.identity import agreement_public
from overfence.sealing import BadCard, MalformedMessage, Pre, WeakKey
from overfence.sealing.handshake import (
    INFO,
    PRE_BYTES,
    derive_secret,
    initiate,
    initiator_secrets,
    respond,
    responder_secrets,
)
from x3dh import BaseState, Bundle, HashFunction, Header, IdentityKeyFormat
from x3dh.identity_key_pair import IdentityKeyPairPriv

if TYPE_CHECKING:
    from tests.peer.sealing.conftest import Pair


# How often either side is tried, with fresh keys each time.
RUNS = 150


class Oracle(BaseState):
    @staticmethod
    def _encode_public_key(key_format: IdentityKeyFormat, pub: bytes) -> bytes:
        return pub


def new_oracle() -> Oracle:
    key = IdentityKeyPairPriv(clamped(urandom(32)))
    return Oracle.create(IdentityKeyFormat.CURVE_25519, HashFunction.SHA_256, INFO, key)


def clamped(secret: bytes) -> bytes:
    return bytes((secret[0] & 248,)) + secret[1:31] + bytes((secret[31] & 127 | 64,))


async def test_we_begin_and_x3dh_answers_with_the_same_secret() -> None:
    for _ in range(RUNS):
        await we_begin_and_x3dh_answers()


async def we_begin_and_x3dh_answers() -> None:
    oracle = new_oracle()
    bundle = oracle.bundle
    dik_secret, ek_secret = urandom(32), urandom(32)
    agreed = initiator_secrets(dik_secret, ek_secret, bundle.identity_key, bundle.signed_pre_key)
    header = Header(
        identity_key=agreement_public(dik_secret),
        ephemeral_key=agreement_public(ek_secret),
        signed_pre_key=bundle.signed_pre_key,
        pre_key=None,
    )
    secret, _, _ = await oracle.get_shared_secret_passive(header, require_pre_key=False)
    assert derive_secret(agreed, b"") == secret


async def test_x3dh_begins_and_we_answer_with_the_same_secret() -> None:
    for _ in range(RUNS):
        await x3dh_begins_and_we_answer()


async def x3dh_begins_and_we_answer() -> None:
    oracle = new_oracle()
    dik_secret, spk_secret = clamped(urandom(32)), urandom(32)
    spk = agreement_public(spk_secret)
    bundle = Bundle(
        identity_key=agreement_public(dik_secret),
        signed_pre_key=spk,
        signed_pre_key_sig=xeddsa.ed25519_priv_sign(xeddsa.priv_force_sign(dik_secret, False), spk),
        pre_keys=frozenset(),
    )
    secret, _, header = await oracle.get_shared_secret_active(bundle, require_pre_key=False)
    agreed = responder_secrets(dik_secret, spk_secret, header.identity_key, header.ephemeral_key)
    assert derive_secret(agreed, b"") == secret


def test_both_sides_hold_the_same_and_the_kem_is_part_of_it(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    begun = initiate(ada.identity, bob.device, bob.identity.account, bob.prekeys, epoch=7, random=pair.random)
    pre = Pre.peek(begun.pre + b"what follows")
    assert pre is not None
    assert (pre.account, pre.dsk, pre.dik, pre.epoch) == (ada.identity.account, *ada.device, 7)
    assert pre.prekey_id == bob.prekeys.prekey_id
    assert len(pre.raw) == PRE_BYTES == 1234
    secret = bob.secrets[pre.prekey_id]
    answered = respond(bob.identity, pre, secret)
    assert (answered.secret, answered.ad, answered.transcript) == (begun.secret, begun.ad, begun.transcript)
    agreed = responder_secrets(bob.identity.device_agree_secret, secret.spk_secret, pre.dik, pre.ek)
    assert derive_secret(agreed, b"") != begun.secret
    assert derive_secret(agreed, secret.kem.decapsulate(pre.kem_ct)) == begun.secret


def test_what_both_bind_names_both_accounts_and_devices(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    begun = initiate(ada.identity, bob.device, bob.identity.account, bob.prekeys, epoch=7, random=pair.random)
    for part in (ada.identity.account, ada.device.dik, bob.identity.account, bob.device.dik, begun.transcript):
        assert part in begun.ad


def test_prekeys_of_another_device_are_refused(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    with pytest.raises(BadCard):
        initiate(ada.identity, bob.device, bob.identity.account, ada.prekeys, epoch=1, random=pair.random)


def test_a_peer_whose_key_has_small_order_is_refused(pair: Pair) -> None:
    ada, bob = pair.ada, pair.bob
    weak = bob.device._replace(dik=b"\x01" + bytes(31))
    with pytest.raises(WeakKey):
        initiate(ada.identity, weak, bob.identity.account, bob.prekeys, epoch=1, random=pair.random)


def test_a_handshake_is_told_from_a_message_and_from_noise() -> None:
    assert Pre.peek(b"\x01\x01" + bytes(400)) is None
    for noise in (b"", b"\x01", b"\x02\x01" + bytes(2000), b"\x01\x03" + bytes(2000), b"\x01\x02" + bytes(1231)):
        with pytest.raises(MalformedMessage):
            Pre.peek(noise)
    with pytest.raises(MalformedMessage, match="epoch"):
        Pre.peek(b"\x01\x02" + b"\xff" * 1232)


@given(raw=st.one_of(st.binary(), st.binary(min_size=1232, max_size=1400).map(lambda rest: b"\x01\x02" + rest)))
def test_any_bytes_are_a_handshake_or_none_or_malformed(raw: bytes) -> None:
    try:
        pre = Pre.peek(raw)
    except MalformedMessage:
        return
    assert pre is None or raw.startswith(pre.raw)
