"""The envelope: opens for its mailbox's key at its mailbox's address, and for nothing else."""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from overfence.identity import H
from overfence.sealing import BadEnvelope, open_envelope, seal_envelope, sender_hint

if TYPE_CHECKING:
    from tests.peer.sealing.conftest import Pair

KEY, MAILBOX, DSK = urandom(32), urandom(16), urandom(32)


def test_the_owner_learns_the_senders_hint_and_the_message() -> None:
    envelope = seal_envelope(KEY, MAILBOX, DSK, b"a sealed message", urandom)
    assert open_envelope(KEY, MAILBOX, envelope) == (H(DSK)[:8], b"a sealed message")
    assert sender_hint(DSK) == H(DSK)[:8]


def test_the_node_sees_nothing_of_either(pair: Pair) -> None:
    pair.begin(pair.ada)
    message = pair.say(pair.ada, b"canary in the text")
    envelope = seal_envelope(KEY, MAILBOX, pair.ada.device.dsk, message, urandom)
    for canary in (pair.ada.device.dsk, pair.ada.identity.account, sender_hint(pair.ada.device.dsk), message[:8]):
        assert canary not in envelope
    assert seal_envelope(KEY, MAILBOX, DSK, b"same", urandom) != seal_envelope(KEY, MAILBOX, DSK, b"same", urandom)


def test_changed_cut_or_in_another_mailbox_it_does_not_open() -> None:
    envelope = seal_envelope(KEY, MAILBOX, DSK, b"m", urandom)
    for at in range(len(envelope)):
        for bad in (envelope[:at], envelope[:at] + bytes((envelope[at] ^ 4,)) + envelope[at + 1 :]):
            with pytest.raises(BadEnvelope):
                open_envelope(KEY, MAILBOX, bad)
    for key, mailbox in ((urandom(32), MAILBOX), (KEY, urandom(16))):
        with pytest.raises(BadEnvelope):
            open_envelope(key, mailbox, envelope)


@given(raw=st.binary(max_size=200))
def test_noise_is_a_bad_envelope(raw: bytes) -> None:
    with pytest.raises(BadEnvelope):
        open_envelope(KEY, MAILBOX, raw)
