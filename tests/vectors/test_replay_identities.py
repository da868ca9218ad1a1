"""Keys, signatures, device lists and invites give the vectors' bytes and errors."""

from __future__ import annotations

import pytest
from overfence.identity import (
    BadDeviceList,
    BadInvite,
    Device,
    DeviceList,
    Identity,
    Invite,
    L,
    fingerprint,
    sign,
    signing_public,
    user_id,
    verify,
)

from .replay import Case, each


def identity(case: Case) -> Identity:
    seed = case.raw("account_seed")
    return Identity(seed, case.raw("device_sign_seed"), case.raw("device_agree_secret"), signing_public(seed))


@each("keys")
def test_keys(case: Case) -> None:
    who = identity(case)
    assert (who.account, who.dsk, who.dik) == (case.raw("AK"), case.raw("DSK"), case.raw("DIK"))
    assert user_id(who.account) == case["user_id"]
    assert fingerprint(who.dsk, who.dik) == case.raw("fingerprint")


@each("signatures")
def test_signatures(case: Case) -> None:
    public, context, message, signature = (
        case.raw("public"),
        case["context"],
        case.raw("message"),
        case.raw("signature"),
    )
    assert verify(public, context, message, signature) is case["valid"]
    if "seed" in case:
        assert signing_public(case.raw("seed")) == public
        assert sign(case.raw("seed"), context, message) == signature
        assert L(context) + b"\0" + message == case.raw("signed")


@each("device_list")
def test_device_lists(case: Case) -> None:
    raw = case.raw("device_list")
    if "error" in case:
        assert case["error"] == BadDeviceList.__name__
        with pytest.raises(BadDeviceList):
            DeviceList.parse(raw)
        return
    devices = tuple(Device(bytes.fromhex(pair["DSK"]), bytes.fromhex(pair["DIK"])) for pair in case["devices"])
    found = DeviceList.parse(raw)
    assert (found.account, found.seq, found.devices) == (case.raw("AK"), case["seq"], devices)
    seed = case.raw("account_seed")
    signer = Identity(seed, bytes(32), bytes(32), signing_public(seed))
    assert DeviceList.sign(signer, devices, case["seq"]).raw == raw


@each("invite")
def test_invites(case: Case) -> None:
    if "error" in case:
        assert case["error"] == BadInvite.__name__
        with pytest.raises(BadInvite) as caught:
            Invite.parse(case["text"])
        assert caught.value.reason == case["reason"]
        return
    found = Invite.parse(case["text"])
    assert found == Invite(
        account=case.raw("AK"),
        node=case["node"],
        mailbox=case.raw("mailbox"),
        key=case.raw("key"),
        expires_s=case["expires"],
        device_hash=case.raw("device_hash"),
    )
    if "bytes" in case:
        assert str(found) == case["text"]
    if "now_s" in case:
        assert (case["now_s"] >= found.expires_s) is case["expired"]
