"""An account with three devices, and a contact of it: lists signed by the account, every event on every device."""

from __future__ import annotations

from dataclasses import replace

import pytest
from overfence.delivery import listing, outgoing
from overfence.delivery.payload import Batch, Introduction, Reset, Ring
from overfence.delivery.payload import Devices as DevicesItem
from overfence.history import people, postbox
from overfence.history.event import Address, Devices
from overfence.history.people import ContactState, DeviceRow
from overfence.identity import Device, DeviceList, Identity
from overfence.sealing import Sessions, direct_conversation, open_card, sender_hint

from .conftest import NODE, START_S, Home, World


class Household(World):
    """Ada's phone (the primary), laptop and tablet, and Bob."""

    def __init__(self) -> None:
        super().__init__()
        self.phone = self.ada
        self.laptop, self.tablet = (self.linked(name) for name in ("Laptop", "Tablet"))
        self.devices = [self.phone, self.laptop, self.tablet]
        self.homes = [*self.devices, self.bob]

    def linked(self, name: str) -> Home:
        home = Home(name, self.node, server=NODE)
        home.identity = Identity(
            None, home.identity.device_sign_seed, home.identity.device_agree_secret, self.ada.identity.account
        )
        home.me = replace(home.me, identity=home.identity)
        return home

    def sign(self, *devices: Home, seq: int) -> DeviceList:
        return DeviceList.sign(
            self.phone.identity, [Device(home.me.dsk, home.me.identity.dik) for home in devices], seq
        )

    def publish(self, listed: DeviceList) -> None:
        """The phone signed it, and tells everybody."""
        self.phone.act(lambda tx, outcome: listing.publish(tx, self.phone.me, listed, outcome))

    def show(self, listed: DeviceList, *homes: Home) -> None:
        for home in homes:
            home.me = replace(home.me, device_list=listed)

    def link(self) -> DeviceList:
        """What linking will do: a list of three, and what the phone knows about Bob and each other on all of them."""
        listed = self.sign(*self.devices, seq=START_S + 10)
        self.show(listed, *self.devices)
        self.phone.do(lambda tx: self.phone.me.write(tx, self.phone.contact(self.bob), "devices", Devices(listed.raw)))
        account = self.phone.identity.account
        for home in self.devices:
            home.do(lambda tx, home=home: self.with_itself(tx, home, account))  # type: ignore[misc] # mypy: no default in lambdas
        for home in self.devices[1:]:
            home.do(lambda tx, home=home: self.with_bob(tx, home))  # type: ignore[misc] # mypy: no default in lambdas
        for home in self.devices:
            home.errands()  # their mailboxes and cards are there
        for home in self.devices:
            for other in self.devices:
                if home.me.dsk < other.me.dsk:
                    home.do(lambda tx, home=home, other=other: self.begin(tx, home, other))  # type: ignore[misc] # mypy: no default in lambdas
        self.settle(rounds=8)
        return listed

    def with_itself(self, tx: object, home: Home, account: bytes) -> None:
        conv = direct_conversation(account, account)
        number = people.add_contact(home.tx, account, conv, home.random(8), ContactState.ACCEPTED, None)
        home.me.new_mailbox(home.tx, NODE, number)
        for other in self.devices:
            if other is not home:
                row = DeviceRow(other.me.dsk, other.me.identity.dik, number, Sessions().encode(), b"")
                people.put_device(home.tx, row, sender_hint(other.me.dsk))

    def with_bob(self, tx: object, home: Home) -> None:
        bob, known = self.bob, self.phone.contact(self.bob)
        number = people.add_contact(
            home.tx, bob.identity.account, known.conv, home.random(8), ContactState.ACCEPTED, None
        )
        home.me.new_mailbox(home.tx, NODE, number)
        row = DeviceRow(bob.me.dsk, bob.me.identity.dik, number, Sessions().encode(), b"")
        people.put_device(home.tx, row, sender_hint(bob.me.dsk))
        people.set_addresses(home.tx, bob.me.dsk, people.addresses(self.phone.tx, bob.me.dsk))
        home.me.write_facts(home.tx, people.contact(home.tx, number))
        people.set_rekeying(home.tx, bob.me.dsk, begin_s=home.me.now_s)

    def begin(self, tx: object, home: Home, other: Home) -> None:
        """The one with the smaller key begins, on the other's card."""
        [address] = other.me.addresses(other.tx, other.contact(other).id)
        people.set_addresses(home.tx, other.me.dsk, [Address(address.node, address.mailbox, address.key)])
        people.set_rekeying(home.tx, other.me.dsk, begin_s=home.me.now_s)

    def timeline(self, home: Home) -> list[str]:
        return home.texts(self.phone if home is self.bob else self.bob)


@pytest.fixture
def household() -> Household:
    household = Household()
    household.acquaint()
    household.link()
    return household


def talk(household: Household, *homes: Home) -> list[str]:
    """Each says something, one after the other, and it settles in between."""
    said: list[str] = []
    for home in homes:
        said.append(f"{home.name} says {len(said)}")
        home.say(home.contact(household.phone if home is household.bob else household.bob).id, said[-1])
        household.settle(rounds=3)
    return said


def test_everything_said_comes_to_every_device_once_in_one_order(household: Household) -> None:
    bob = household.bob
    said = talk(household, household.phone, bob, household.laptop, household.tablet, bob, household.phone)
    for home in household.homes:
        assert household.timeline(home) == said, home.name
    household.check_shown_once()
    for home in household.homes:
        assert home.unticked(household.phone if home is bob else bob) == 0
        assert not [why for why in home.dropped if not why.startswith("Duplicate")], home.dropped
    assert len(people.devices(bob.tx, bob.contact(household.phone).id)) == 3


def test_a_device_that_is_away_gets_it_all_when_it_is_back(household: Household) -> None:
    tablet = household.tablet
    household.homes.remove(tablet)
    said = talk(household, household.phone, household.bob, household.laptop)
    assert household.bob.unticked(household.phone) == 0, "one device is enough"
    household.homes.append(tablet)
    household.settle(rounds=4)
    assert household.timeline(tablet) == said


def test_a_revoked_device_hears_nothing_more_and_is_not_heard(household: Household) -> None:
    phone, laptop, tablet, bob = household.phone, household.laptop, household.tablet, household.bob
    said = talk(household, tablet)
    shorter = household.sign(phone, laptop, seq=START_S + 20)
    household.publish(shorter)
    household.settle(rounds=3)
    assert laptop.me.device_list == shorter
    assert {row.dsk for row in people.devices(bob.tx)} == {phone.me.dsk, laptop.me.dsk}
    assert any("removed a device" in words for words in bob.notices)
    household.homes.remove(tablet)
    said += talk(household, bob, laptop)
    tablet.fetch()
    assert household.timeline(tablet) == said[:1], "nothing goes to it"
    tablet.say(tablet.contact(bob).id, "still me?")
    tablet.errands()
    bob.fetch()
    assert household.timeline(bob) == said, "what it said stays, and no more comes"
    # The mailboxes it knew are closed; and by whatever way its words come, they are not read.
    known = {at.mailbox for at in people.addresses(tablet.tx, bob.me.dsk)}
    assert not known & {box.mailbox for box in postbox.mailboxes(bob.tx) if not box.closing}
    bob.take_message(tablet.me.dsk, tablet.seal(bob, Ring()))
    assert bob.dropped[-1].startswith("RevokedDevice")
    # Its own, older list does not bring it back; it is told the newer one where it still can be heard at all.
    older = household.sign(*household.devices, seq=START_S + 15)
    phone.do(lambda tx: phone.me.write(tx, phone.contact(bob), "devices", Devices(older.raw)))
    household.settle(rounds=2)
    assert any(why.startswith("StaleDeviceList") for why in bob.dropped)
    assert len(people.devices(bob.tx)) == 2


def test_two_lists_with_one_number_raise_an_alarm_and_the_first_stays(household: Household) -> None:
    phone, bob = household.phone, household.bob
    for devices in ((phone, household.laptop), (phone, household.tablet)):
        listed = household.sign(*devices, seq=START_S + 30)
        phone.do(lambda tx, raw=listed.raw: phone.me.write(tx, phone.contact(bob), "devices", Devices(raw)))  # type: ignore[misc] # mypy: no default in lambdas
    household.settle(rounds=2)
    assert any(why.startswith("DeviceListConflict") for why in bob.dropped)
    assert {row.dsk for row in people.devices(bob.tx)} == {phone.me.dsk, household.laptop.me.dsk}


def test_who_shows_an_older_list_is_told_the_newer(household: Household) -> None:
    laptop, bob = household.laptop, household.bob
    newer = household.sign(*household.devices, seq=START_S + 40)
    household.homes.remove(laptop)
    household.publish(newer)
    household.settle(rounds=2)
    household.homes = [laptop, bob]
    # The laptop knows nothing of it yet, and begins a session with the list it has.
    laptop.do(lambda tx: people.set_rekeying(tx, bob.me.dsk, begin_s=laptop.me.now_s))
    household.settle(rounds=3)
    assert any(why.startswith("StaleDeviceList") for why in bob.dropped)
    assert people.setting(laptop.tx, "device_list") == newer.raw
    assert laptop.me.device_list == newer


def test_a_list_of_mine_must_be_signed_by_my_account_and_newer(household: Household) -> None:
    laptop, bob = household.laptop, household.bob
    before = people.setting(laptop.tx, "device_list")
    theirs = DeviceList.sign(bob.identity, [Device(bob.me.dsk, bob.me.identity.dik)], START_S + 99)
    for raw in (theirs.raw, laptop.me.device_list.raw, laptop.me.device_list.raw[:-1] + b"x"):
        outcome = laptop.take_message(bob.me.dsk, bob.seal(laptop, DevicesItem(raw)))
        assert outcome.relisted is None and outcome.dropped
    assert people.setting(laptop.tx, "device_list") == before


def test_a_device_nobody_listed_is_none_of_theirs(household: Household) -> None:
    """It knows everything but the account's secret: the very list it shows leaves it out."""
    bob = household.bob
    household.devices.append(household.linked("Intruder"))
    intruder = household.devices[-1]
    household.show(household.phone.me.device_list, intruder)
    intruder.do(lambda tx: household.with_bob(tx, intruder))
    intruder.errands()
    intruder.errands()
    bob.fetch()
    assert bob.dropped[-1].startswith("BadDeviceList")
    assert people.device(bob.tx, intruder.me.dsk) is None
    # And a sixth of an account's is one too many, whoever signed for it.
    more = [household.linked(f"Device {number}") for number in range(2)]
    listed = household.sign(*household.devices[:3], *more, seq=START_S + 50)
    for home in more:
        household.show(listed, home)
        home.do(lambda tx, home=home: household.with_bob(tx, home))  # type: ignore[misc] # mypy: no default in lambdas
    household.homes += more
    household.settle(rounds=4)
    assert len(people.devices(bob.tx, bob.contact(household.phone).id)) == 5


def test_the_newer_list_is_said_to_who_showed_an_older_one_at_most_once_a_minute(household: Household) -> None:
    laptop, bob = household.laptop, household.bob
    older = laptop.me.device_list
    newer = household.sign(*household.devices, seq=START_S + 60)
    bob.act(lambda tx, outcome: listing.hear(tx, bob.me, bob.contact(laptop), laptop.me.dsk, newer.raw, outcome))
    address = laptop.me.addresses(laptop.tx, laptop.contact(bob).id)
    for _ in range(2):
        message = laptop.seal(bob, Introduction(older.raw, address, laptop.me.consent))
        bob.take_message(laptop.me.dsk, message)
    assert [why.split(":")[0] for why in bob.dropped] == ["StaleDeviceList"] * 2
    answers = words_for(bob, laptop)
    assert answers == 1
    bob.errands()
    laptop.fetch()
    assert laptop.me.device_list == newer


def words_for(home: Home, to: Home) -> int:
    """How many messages without events wait for a device."""
    return len(postbox.words_to(home.tx, to.me.dsk))


def test_a_device_may_bring_the_very_list_that_leaves_it_out(household: Household) -> None:
    """On a line every device supplies its account's logs, and so the news of its own end."""
    phone, laptop, tablet, bob = household.phone, household.laptop, household.tablet, household.bob
    shorter = household.sign(phone, laptop, seq=START_S + 20)
    addresses = tablet.me.addresses(tablet.tx, tablet.contact(bob).id)
    sid = Sessions.decode(device_of(bob, tablet).sessions).sending_sid or b""
    message = tablet.seal(bob, Introduction(shorter.raw, addresses, tablet.me.consent), Reset(sid), Batch(()))
    outcome = bob.take_message(tablet.me.dsk, message)
    assert outcome.revoked == {tablet.me.dsk}
    assert device_of(bob, tablet).revoked_s
    assert people.addresses(bob.tx, tablet.me.dsk) == [], "nothing of it is learnt any more"
    supply = bob.do(lambda tx: outgoing.load_supply(tx, bob.me, tablet.me.dsk))
    bob.say(bob.contact(phone).id, "not for the tablet")
    assert supply is not None
    assert bob.do(lambda tx: outgoing.seal_next(tx, bob.me, tablet.me.dsk, supply, direct=True)) is None


def device_of(home: Home, of: Home) -> DeviceRow:
    row = people.device(home.tx, of.me.dsk)
    assert row is not None
    return row


def test_a_revoked_device_does_not_come_back_by_an_invite(household: Household) -> None:
    """It has the list of the day it was linked, and somebody's link; Bob never met it, or has forgotten it."""
    phone, laptop, bob = household.phone, household.laptop, household.bob
    lost = household.linked("Lost")
    household.devices.append(lost)
    household.show(household.sign(*household.devices, seq=START_S + 20), lost)
    household.devices.remove(lost)
    household.publish(household.sign(*household.devices, seq=START_S + 30))
    household.settle(rounds=2)
    lost.accept(bob.invite())
    household.homes.append(lost)
    household.settle(rounds=3)
    assert people.device(bob.tx, lost.me.dsk) is None
    assert any(why.startswith("StaleDeviceList") for why in bob.dropped)
    assert {row.dsk for row in people.devices(bob.tx)} >= {phone.me.dsk, laptop.me.dsk}


def test_cards_show_the_list_that_holds(household: Household) -> None:
    phone, laptop = household.phone, household.laptop
    newer = household.sign(*household.devices, seq=START_S + 70)
    household.publish(newer)
    household.settle(rounds=3)
    for home in (phone, laptop):
        for box in postbox.mailboxes(home.tx):
            card = household.node.boxes[box.mailbox].card
            assert card is not None
            assert open_card(box.key, box.mailbox, card).device_list == newer
