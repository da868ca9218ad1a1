"""Device lists: signed by their account, and by nobody else."""

from __future__ import annotations

from os import urandom

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.identity import (
    BadDeviceList,
    Device,
    DeviceList,
    H,
    Identity,
    NotPrimary,
    fingerprint,
    user_id,
)


def device() -> Device:
    return Device(urandom(32), urandom(32))


def test_a_list_is_read_as_it_was_signed() -> None:
    ada = Identity.create(urandom)
    mine, other = Device(ada.dsk, ada.dik), device()
    signed = DeviceList.sign(ada, [mine, other], 1_800_000_000)
    read = DeviceList.parse(signed.raw)
    assert read == signed
    assert (read.account, read.seq, read.devices) == (ada.account, 1_800_000_000, (mine, other))
    assert read.holds(ada.dsk, ada.dik)
    assert not read.holds(ada.dsk, other.dik)
    assert not read.holds(*device())


def test_every_byte_is_signed() -> None:
    ada = Identity.create(urandom)
    raw = DeviceList.sign(ada, [device(), device()], 7).raw
    for at in range(len(raw)):
        for bad in (raw[:at], raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]):
            with pytest.raises(BadDeviceList):
                DeviceList.parse(bad)
    with pytest.raises(BadDeviceList):
        DeviceList.parse(raw + b"\0")
    assert DeviceList.split(raw + b"the rest") == (DeviceList.parse(raw), b"the rest")


def test_only_the_account_itself_can_sign_its_list() -> None:
    ada, eve = Identity.create(urandom), Identity.create(urandom)
    body = DeviceList.sign(ada, [device()], 1).raw[:-64]
    for signature in (eve.sign_account("devices", body), ada.sign_account("prekeys", body)):
        with pytest.raises(BadDeviceList):
            DeviceList.parse(body + signature)
    linked = Identity(None, urandom(32), urandom(32), ada.account)
    with pytest.raises(NotPrimary):
        DeviceList.sign(linked, [device()], 2)


def test_one_to_five_devices_each_listed_once() -> None:
    ada = Identity.create(urandom)
    assert len(DeviceList.parse(DeviceList.sign(ada, [device() for _ in range(5)], 1).raw).devices) == 5
    one = device()
    for devices in ([], [device() for _ in range(6)], [one, one], [one, Device(urandom(32), one.dik)]):
        with pytest.raises(BadDeviceList):
            DeviceList.sign(ada, devices, 1)


def test_what_the_account_signed_against_the_rules_is_refused_too() -> None:
    ada = Identity.create(urandom)
    one = urandom(64)
    for seq, count, devices in ((2**53, 1, one), (1, 0, b""), (1, 2, one + one), (1, 6, urandom(384))):
        body = b"\x01" + ada.account + seq.to_bytes(8, "big") + bytes((count,)) + devices
        with pytest.raises(BadDeviceList):
            DeviceList.parse(body + ada.sign_account("devices", body))


def test_numbers_and_keys_out_of_bounds_are_not_signed() -> None:
    ada = Identity.create(urandom)
    for seq in (-1, 2**53):
        with pytest.raises(BadDeviceList):
            DeviceList.sign(ada, [device()], seq)
    with pytest.raises(BadDeviceList):
        DeviceList.sign(ada, [Device(urandom(31), urandom(33))], 1)


@given(raw=st.one_of(st.binary(), st.binary(min_size=170, max_size=170).map(lambda rest: b"\x01" + rest)))
def test_noise_is_a_bad_device_list(raw: bytes) -> None:
    with pytest.raises(BadDeviceList):
        DeviceList.parse(raw)


def test_names_people_and_invites_use() -> None:
    ada = Identity.create(urandom)
    assert fingerprint(ada.dsk, ada.dik) == H(ada.dsk + ada.dik)[:16]
    assert user_id(bytes(32)) == "a" * 52
    assert len(user_id(ada.account)) == 52
    assert user_id(ada.account).isalnum()
