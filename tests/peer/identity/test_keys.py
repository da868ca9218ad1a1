"""An identity: its keys, what it signs, how it is written down."""

from __future__ import annotations

from os import urandom

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.identity import BadKeyFile, Identity, NotPrimary, agreement_public, signing_public, verify


def linked() -> Identity:
    """A device of an account whose secret is elsewhere."""
    return Identity(None, urandom(32), urandom(32), signing_public(urandom(32)))


def test_a_new_identity_draws_three_secrets_and_no_key_serves_twice() -> None:
    me = Identity.create(urandom)
    assert len({me.account_seed, me.device_sign_seed, me.device_agree_secret}) == 3
    assert me.account_seed is not None
    assert me.account == signing_public(me.account_seed)
    assert me.dsk == signing_public(me.device_sign_seed)
    assert me.dik == agreement_public(me.device_agree_secret)
    assert len({me.account, me.dsk, me.dik}) == 3


def test_account_and_device_sign_each_with_its_own_key() -> None:
    me = Identity.create(urandom)
    assert verify(me.account, "devices", b"list", me.sign_account("devices", b"list"))
    assert verify(me.dsk, "prekeys", b"keys", me.sign_device("prekeys", b"keys"))
    assert not verify(me.dsk, "devices", b"list", me.sign_account("devices", b"list"))


def test_a_linked_device_knows_its_account_and_cannot_sign_for_it() -> None:
    me = linked()
    again = Identity.decode(me.encode())
    assert again == me
    assert again.account_seed is None
    with pytest.raises(NotPrimary):
        again.sign_account("devices", b"list")
    assert verify(me.dsk, "prekeys", b"keys", again.sign_device("prekeys", b"keys"))


def test_an_identity_is_read_back_as_it_was_written() -> None:
    me = Identity.create(urandom)
    assert Identity.decode(me.encode()) == me


def test_any_cut_or_changed_byte_is_noticed() -> None:
    raw = Identity.create(urandom).encode()
    for at in range(len(raw)):
        for bad in (raw[:at], raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]):
            with pytest.raises(BadKeyFile):
                Identity.decode(bad)
    with pytest.raises(BadKeyFile):
        Identity.decode(raw + b"\0")


def test_a_newer_version_says_so() -> None:
    raw = bytearray(Identity.create(urandom).encode())
    raw[len(b"overfence identity\n")] = 2
    with pytest.raises(BadKeyFile, match="newer version"):
        Identity.decode(bytes(raw))


def test_keys_that_do_not_belong_together_are_refused() -> None:
    mine, other = Identity.create(urandom), Identity.create(urandom)
    mixed = Identity(mine.account_seed, mine.device_sign_seed, mine.device_agree_secret, other.account)
    with pytest.raises(BadKeyFile, match="belong together"):
        Identity.decode(mixed.encode())


@given(raw=st.binary())
def test_noise_is_a_bad_key_file(raw: bytes) -> None:
    with pytest.raises(BadKeyFile):
        Identity.decode(raw)


def test_no_secret_is_printed() -> None:
    me = Identity.create(urandom)
    for secret in (me.account_seed, me.device_sign_seed, me.device_agree_secret):
        assert secret is not None
        assert secret.hex() not in f"{me} {me!r}"
        assert repr(secret)[2:-1] not in f"{me} {me!r}"
