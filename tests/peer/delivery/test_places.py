"""Which servers a device connects to: what contacts name is a wish, and never at the cost of one's own or others'."""

from __future__ import annotations

import os

import msgspec
import pytest
from overfence.delivery.payload import Introduction, decode_payload, encode_payload
from overfence.delivery.places import CONTACT_LIMIT, NEW_LIMIT, NEW_S, NODES_LIMIT, Newcomers, wanted
from overfence.errors import BadEvent, BadPayload
from overfence.history import people, postbox
from overfence.history.event import Address, Addresses
from overfence.history.people import ContactState, DeviceRow

from .conftest import NODE, Home, World

ADDRESS = Address("ws://there:1", bytes(16), bytes(32))


def urls(home: Home, *, own_only: bool = False) -> list[str]:
    return [place.url for place in home.do(lambda tx: wanted(tx, home.me, own_only=own_only))]


def lives_at(home: Home, dsk: bytes, *nodes: str) -> None:
    addresses = [Address(node, os.urandom(16), os.urandom(32)) for node in nodes]
    home.do(lambda tx: people.set_addresses(tx, dsk, addresses))


def add_contact(home: Home, devices: list[list[str]], state: ContactState = ContactState.ACCEPTED) -> int:
    """A contact with devices that name these nodes."""

    def work(tx: object) -> int:
        number = people.add_contact(home.tx, os.urandom(32), os.urandom(32), bytes(8), state, None)
        for nodes in devices:
            dsk = os.urandom(32)
            people.put_device(home.tx, DeviceRow(dsk, os.urandom(32), number, b"", b""), dsk[:8])
            addresses = [Address(node, os.urandom(16), os.urandom(32)) for node in nodes]
            people.set_addresses(home.tx, dsk, addresses)
        return number

    return home.do(work)


def test_a_contact_with_many_devices_and_addresses_takes_nobodys_place(world: World) -> None:
    ada = world.ada
    add_contact(ada, [[f"ws://eve:{device}{place}" for place in range(8)] for device in range(1, 6)])
    for number in range(10):
        add_contact(ada, [[f"ws://friend{number}:1"]])
    found = urls(ada)
    assert found[0] == NODE
    assert len([url for url in found if "eve" in url]) == CONTACT_LIMIT
    assert {f"ws://friend{number}:1" for number in range(10)} <= set(found)


def test_ones_own_mailboxes_come_before_any_crowd(world: World) -> None:
    ada = world.ada
    for number in range(NODES_LIMIT + 8):
        add_contact(ada, [[f"ws://a-friend{number}:1", f"ws://a-second{number}:1"]])
    ada.do(lambda tx: postbox.add_mailbox(tx, os.urandom(16), os.urandom(32), bytes(32), "ws://zz-old-server:1", None))
    found = urls(ada)
    assert found[:2] == [NODE, "ws://zz-old-server:1"]
    assert len(found) == NODES_LIMIT
    assert not any("second" in url for url in found), "the first of each before the second of any"


@pytest.mark.parametrize(
    "state", [ContactState.REMOVED, ContactState.BLOCKED, ContactState.REFUSED, ContactState.EXPIRED]
)
def test_nothing_is_wanted_at_the_node_of_who_is_no_contact(world: World, state: ContactState) -> None:
    add_contact(world.ada, [["ws://theirs:1"]], state)
    assert urls(world.ada) == [NODE]


def test_who_links_by_relays_only_connects_to_servers_of_its_own_choice(world: World) -> None:
    ada, bob = world.ada, world.bob
    bob.accept(ada.invite())
    world.settle(rounds=4)
    lives_at(bob, ada.me.dsk, "ws://spy:1", NODE)
    lives_at(ada, bob.me.dsk, "ws://spy:1", NODE)
    assert urls(bob, own_only=True) == urls(ada, own_only=True) == [NODE]
    assert "ws://spy:1" in urls(bob)
    # Whose invite was accepted is written to where the invite said, from another server too.
    bob.do(lambda tx: tx.execute("UPDATE mailboxes SET node = 'ws://bobs-own:1'"))
    bob.do(lambda tx: people.set_setting(tx, f"invited {bob.contact(ada).id}", "ws://adas:1"))
    lives_at(bob, ada.me.dsk, "ws://adas:1", "ws://spy:1")
    assert "ws://adas:1" in urls(bob, own_only=True)
    assert "ws://spy:1" not in urls(bob, own_only=True)


def test_offline_is_a_choice(world: World) -> None:
    home = Home("Offline", world.node, server=None)
    add_contact(home, [["ws://theirs:1"]])
    assert urls(home) == []


def test_a_contact_names_only_so_many_new_nodes_a_minute() -> None:
    newcomers = Newcomers()
    assert [newcomers.admits(1, now=float(at)) for at in range(10)] == [True] * NEW_LIMIT + [False] * (10 - NEW_LIMIT)
    assert newcomers.admits(2, now=9.0), "another contact's are another matter"
    assert newcomers.admits(1, now=NEW_S)
    assert not newcomers.admits(1, now=NEW_S + 0.5)


@pytest.mark.parametrize(
    "url",
    [
        "ws://admin:admin@127.0.0.1:8080/cgi",
        "ws://127.0.0.1:8080/reboot?now=1&x=",
        "ws://127.0.0.1/#x",
        "ws://127.0.0.1\\x",
        "ws://[fe80::1%25eth0]:1",
        "ws://host:0",
        "ws://:1",
        "wss://",
    ],
)
def test_an_address_names_a_node_and_nothing_else(world: World, url: str) -> None:
    ada, bob = world.ada, world.bob
    world.acquaint()
    bad = Address(url, bytes(16), bytes(32))
    with pytest.raises(BadPayload):
        decode_payload(encode_payload(Introduction(b"", (ADDRESS, bad))))
    bob.do(lambda tx: bob.me.write(tx, bob.contact(ada), "addresses", Addresses((ADDRESS, bad))))
    before = people.addresses(ada.tx, bob.me.dsk)
    world.settle(rounds=2)
    assert people.addresses(ada.tx, bob.me.dsk) == before
    assert ada.log(bob, bob) == bob.log(ada, bob), "it fills its number, as refused"
    [refused] = [event for _, event in ada.shown[-1:]]
    with pytest.raises(BadEvent):
        refused.content()
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ADDRESS), type=Address).is_sound
