"""The card: what a mailbox's owner leaves for the first message, and every way it could lie."""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.identity import DeviceList
from overfence.sealing import (
    BadCard,
    BadState,
    Card,
    Prekeys,
    PrekeySecret,
    aead_seal,
    hkdf,
    new_prekey,
    open_card,
    seal_card,
)

if TYPE_CHECKING:
    from tests.peer.sealing.conftest import Pair, Person

KEY, MAILBOX = urandom(32), urandom(16)


def listed(person: Person, seq: int = 1) -> DeviceList:
    return DeviceList.sign(person.identity, [person.device], seq)


def consent(person: Person, account: bytes | None = None) -> bytes:
    return person.identity.sign_device("device", (account or person.identity.account) + person.identity.dik)


def card_of(person: Person, device_list: DeviceList | None = None) -> Card:
    return Card(device_list or listed(person), person.prekeys, consent(person))


def sealed(content: bytes) -> bytes:
    return aead_seal(hkdf(bytes(32), KEY, b"overfence/1 card", 32), content, MAILBOX, urandom)


def test_a_card_gives_back_list_prekeys_and_device(pair: Pair) -> None:
    bob = pair.bob
    raw = seal_card(KEY, MAILBOX, card_of(bob), urandom)
    card = open_card(KEY, MAILBOX, raw)
    assert (card.device_list, card.prekeys, card.device) == (listed(bob), bob.prekeys, bob.device)
    assert bob.identity.account not in raw


def test_five_devices_fit_where_a_node_takes_cards(pair: Pair) -> None:
    people = [type(pair.ada)(pair.random) for _ in range(4)]
    devices = [pair.bob.device, *(person.device for person in people)]
    device_list = DeviceList.sign(pair.bob.identity, devices, 1)
    assert len(seal_card(KEY, MAILBOX, card_of(pair.bob, device_list), urandom)) < 8 * 1024


def test_a_card_of_another_mailbox_or_key_does_not_open(pair: Pair) -> None:
    raw = seal_card(KEY, MAILBOX, card_of(pair.bob), urandom)
    for key, mailbox in ((urandom(32), MAILBOX), (KEY, urandom(16))):
        with pytest.raises(BadCard):
            open_card(key, mailbox, raw)


def test_a_card_whose_prekeys_belong_to_nobody_on_its_list_is_refused(pair: Pair) -> None:
    with pytest.raises(BadCard, match="none of its devices"):
        open_card(KEY, MAILBOX, seal_card(KEY, MAILBOX, card_of(pair.ada, listed(pair.bob)), urandom))


def test_each_signature_on_a_card_is_checked(pair: Pair) -> None:
    content = listed(pair.bob).raw + pair.bob.prekeys.raw + consent(pair.bob)
    assert open_card(KEY, MAILBOX, sealed(content)).device == pair.bob.device
    for at in range(0, len(content), 5):
        with pytest.raises(BadCard):
            open_card(KEY, MAILBOX, sealed(content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :]))
        with pytest.raises(BadCard):
            open_card(KEY, MAILBOX, sealed(content[:at]))
    with pytest.raises(BadCard):
        open_card(KEY, MAILBOX, sealed(content + b"\0"))


def test_a_device_must_itself_say_whose_it_is(pair: Pair) -> None:
    """Who was given Bob's signed prekeys can list his device as its own; only he can sign that it is."""
    ada, bob = pair.ada, pair.bob
    stolen = DeviceList.sign(ada.identity, [ada.device, bob.device], 1)
    for word in (b"", bytes(64), consent(bob), consent(ada), consent(ada, bob.identity.account)):
        with pytest.raises(BadCard):
            open_card(KEY, MAILBOX, seal_card(KEY, MAILBOX, Card(stolen, bob.prekeys, word), urandom))
    agreed = Card(stolen, bob.prekeys, consent(bob, ada.identity.account))
    assert open_card(KEY, MAILBOX, seal_card(KEY, MAILBOX, agreed, urandom)).device == bob.device


def test_prekeys_without_a_valid_kem_key_are_refused_though_signed(pair: Pair) -> None:
    identity, secret = pair.bob.identity, pair.bob.prekeys
    body = b"\x01" + identity.dsk + secret.prekey_id + secret.spk + b"\xff" * 1184
    with pytest.raises(BadCard, match="ML-KEM"):
        Prekeys.parse(body + identity.sign_device("prekeys", body))


def test_a_signature_made_for_something_else_is_no_signature_of_prekeys(pair: Pair) -> None:
    body = pair.bob.prekeys.raw[:-64]
    with pytest.raises(BadCard, match="signed"):
        Prekeys.parse(body + pair.bob.identity.sign_device("devices", body))


@given(raw=st.one_of(st.binary(), st.binary(min_size=1321, max_size=1321)))
def test_noise_is_a_bad_card_and_bad_prekeys(raw: bytes) -> None:
    with pytest.raises(BadCard):
        open_card(KEY, MAILBOX, raw)
    with pytest.raises(BadCard):
        open_card(KEY, MAILBOX, sealed(raw))
    with pytest.raises(BadCard):
        Prekeys.parse(raw)


def test_a_prekeys_secret_is_stored_whole_and_not_shown() -> None:
    secret = new_prekey(urandom)
    raw = secret.encode()
    again = PrekeySecret.decode(raw)
    assert (again, again.spk, again.kpk) == (secret, secret.spk, secret.kpk)
    for length in range(len(raw)):
        with pytest.raises(BadState):
            PrekeySecret.decode(raw[:length])
    with pytest.raises(BadState):
        PrekeySecret.decode(b"\x02" + raw[1:])
    assert repr(secret.spk_secret)[2:-1] not in repr(secret)
