"""Who may come in, how fast, and the proof of which node answers."""

from __future__ import annotations

import os
from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey
from overfence_signalling import ClientHello, Limits, NodeHello, hello_is_genuine, node_hello_bytes
from overfence_signalling.admission import Allowance, Crowd, network_of, refuse_hello


@given(st.lists(st.floats(0, 3), max_size=60), st.integers(1, 20), st.floats(0.5, 50))
def test_nobody_gets_more_than_burst_and_rate(gaps: list[float], burst: int, per_s: float) -> None:
    allowance = Allowance(per_s=per_s, burst=burst, now=100.0)
    now, taken = 100.0, 0
    for gap in gaps:
        now += gap
        wait_s = allowance.take(now=now)
        if wait_s == 0:
            taken += 1
        assert taken <= burst + per_s * (now - 100.0) + 1e-6
        assert 0 <= wait_s <= 1 / per_s + 1e-9


def test_who_waits_as_long_as_told_gets_in() -> None:
    allowance = Allowance(per_s=4, burst=1, now=0)
    assert allowance.take(now=0) == 0
    wait_s = allowance.take(now=0)
    assert wait_s == 0.25
    assert allowance.take(now=wait_s) == 0


@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_a_crowd_keeps_both_its_bounds(coming: list[str]) -> None:
    crowd = Crowd(total=5, per_network=2)
    inside: Counter[str] = Counter()
    for network in coming:
        may = inside[network] < 2 and inside.total() < 5
        assert crowd.enter(network) is may
        if may:
            inside[network] += 1
        elif inside[network] == 2:
            crowd.leave(network)
            inside[network] -= 1
        assert crowd.size == inside.total()


def test_what_counts_as_one_house() -> None:
    assert network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of("") == ""


def test_a_hello_of_another_version_is_refused() -> None:
    refusal = refuse_hello(ClientHello(version=2, nonce=b"n" * 32))
    assert refusal is not None and refusal.code == "version"
    assert refuse_hello(ClientHello(version=1, nonce=b"n" * 32)) is None


def test_a_hello_can_be_neither_forged_nor_replayed_nor_changed() -> None:
    key, nonce = SigningKey.generate(), os.urandom(32)
    signed = node_hello_bytes(nonce=nonce, unix_s=1_700_000_000, version=1, durable=True)
    assert signed == b"overfence/1 node\x00" + nonce + (1_700_000_000).to_bytes(8, "big") + b"\0" * 7 + b"\1\1"
    hello = NodeHello(
        version=1,
        node=bytes(key.verify_key),
        signature=key.sign(signed).signature,
        unix_s=1_700_000_000,
        limits=Limits(),
    )
    assert hello_is_genuine(hello, nonce=nonce)
    assert not hello_is_genuine(hello, nonce=os.urandom(32))
    other = bytes(SigningKey.generate().verify_key)
    for change in ({"unix_s": 1_700_000_001}, {"version": 2}, {"durable": False}, {"node": other}):
        assert not hello_is_genuine(msgspec.structs.replace(hello, **change), nonce=nonce)
