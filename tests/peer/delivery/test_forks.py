"""A home set back to an older copy forgets what it said: the others tell it, and everything left is shown once."""

from __future__ import annotations

import os
import sqlite3

import pytest
from overfence.delivery import outgoing
from overfence.delivery.payload import Batch, Fork, Have, HeldRun
from overfence.delivery.repair import REPAIRS_LIMIT
from overfence.history import forks, logbook, pages, people, rows
from overfence.history.event import Text

from .conftest import Home, World


@pytest.fixture
def world() -> World:
    world = World()
    world.acquaint()
    return world


def say(home: Home, to: Home, *texts: str) -> None:
    for text in texts:
        home.say(home.contact(to).id, text)


def set_back(home: Home, copy: bytes) -> None:
    """The history of then, with the sessions of now: what becomes of sessions is told elsewhere."""
    sessions = home.tx.execute("SELECT dsk, sessions, introduced FROM devices").fetchall()
    shown = set(home.shown_ids)
    home.tx.close()
    home.tx = sqlite3.connect(":memory:", isolation_level=None)
    home.tx.deserialize(copy)
    home.restart()
    for dsk, raw, introduced in sessions:
        home.do(lambda tx, dsk=dsk, raw=raw, was=introduced: people.set_sessions(tx, dsk, raw, was))  # type: ignore[misc] # mypy: no default in lambdas
    kept = {row[0] for row in home.tx.execute("SELECT id FROM events")}
    # What it was shown and lost again is news once more.
    home.shown = [(contact, event) for contact, event in home.shown if event.id in shown & kept]


def heard(home: Home, author: Home) -> list[str]:
    return [text for text in home.texts(author) if text.startswith(author.name)]


def own(home: Home, other: Home) -> list[str]:
    return [text for text in home.texts(other) if text.startswith(home.name)]


def test_what_an_author_forgot_is_told_and_its_log_goes_on_anew(world: World) -> None:
    ada, bob = world.ada, world.bob
    say(ada, bob, "Ada 1")
    world.settle()
    copy, log = ada.tx.serialize(), ada.contact(bob).log
    say(ada, bob, "Ada 2", "Ada 3")
    world.settle()
    set_back(ada, copy)
    assert ada.texts(bob) == ["Ada 1"]
    say(bob, ada, "Bob 1")
    world.settle()
    # As at his next start.
    ada.take_message(bob.me.dsk, bob.seal(ada, *outgoing.haves(bob.tx, bob.me, bob.contact(ada))))
    assert ada.contact(bob).log != log
    assert any("holds 2 or more of your messages" in words for words in ada.notices)
    say(ada, bob, "Ada 4")
    world.settle()
    assert bob.texts(ada) == ["Ada 1", "Ada 2", "Ada 3", "Bob 1", "Ada 4"]
    assert ada.texts(bob) == ["Ada 1", "Bob 1", "Ada 4"]
    assert [event.content() for _, event in bob.shown if event.header.kind == "text"].count(Text("Ada 1")) == 1
    assert ada.unticked(bob) == 0, "everything is ticked"


def test_a_fork_is_told_to_its_author_who_says_the_rest_anew(world: World) -> None:
    ada, bob = world.ada, world.bob
    copy = ada.tx.serialize()
    say(ada, bob, "Ada 1", "Ada 2")
    world.settle()
    set_back(ada, copy)
    say(ada, bob, "Ada 3", "Ada 4")
    world.settle()
    assert sorted(heard(bob, ada)) == ["Ada 1", "Ada 2", "Ada 3", "Ada 4"]
    assert ada.texts(bob) == ["Ada 3", "Ada 4"]
    assert ada.unticked(bob) == 0
    assert any("history was set back" in words for words in ada.notices)
    world.check_shown_once()


def test_what_was_ticked_before_stays_ticked(world: World) -> None:
    ada, bob = world.ada, world.bob
    say(ada, bob, "Ada 1")
    world.settle()
    copy = ada.tx.serialize()
    say(ada, bob, "Ada 2")
    world.settle()
    set_back(ada, copy)
    assert ada.unticked(bob) == 0
    say(ada, bob, "Ada 3")
    assert ada.unticked(bob) == 1
    unticked = []
    for _ in range(6):
        world.settle(rounds=1)
        unticked.append(ada.unticked(bob))
    assert unticked == sorted(unticked, reverse=True) and unticked[-1] == 0


def test_both_set_back_end_with_the_same(world: World) -> None:
    ada, bob = world.ada, world.bob
    say(ada, bob, "Ada 1")
    say(bob, ada, "Bob 1")
    world.settle()
    copies = ada.tx.serialize(), bob.tx.serialize()
    say(ada, bob, "Ada 2")
    say(bob, ada, "Bob 2")
    world.settle()
    set_back(ada, copies[0])
    set_back(bob, copies[1])
    say(ada, bob, "Ada 3")
    say(bob, ada, "Bob 3")
    world.settle()
    assert heard(ada, bob) == own(bob, ada) == ["Bob 1", "Bob 3"]
    assert heard(bob, ada) == own(ada, bob) == ["Ada 1", "Ada 3"]


def test_a_log_that_is_gone_whole_is_told_too(world: World) -> None:
    """Set back to before a repair: the log that is written then is one whose end the other knows already."""
    ada, bob = world.ada, world.bob
    first, log = ada.tx.serialize(), ada.contact(bob).log
    say(ada, bob, "Ada 1")
    world.settle()
    set_back(ada, first)
    second = ada.tx.serialize()
    say(ada, bob, "Ada 2")
    world.settle()
    assert ada.contact(bob).log != log
    set_back(ada, second)
    assert ada.contact(bob).log == log
    say(bob, ada, "Bob 1")
    say(ada, bob, "Ada 3")
    world.settle()
    say(ada, bob, "Ada 4")
    world.settle()
    assert ada.unticked(bob) == 0
    assert sorted(heard(bob, ada)) == ["Ada 1", "Ada 2", "Ada 3", "Ada 4"]
    assert own(ada, bob) == ["Ada 3", "Ada 4"]
    world.check_shown_once()


def test_what_the_other_holds_already_is_not_shown_again(world: World) -> None:
    """It arrived, and the word of that was lost with the disk: it is said anew beside what is new."""
    ada, bob = world.ada, world.bob
    say(ada, bob, "Ada 1")
    copy = ada.tx.serialize()
    say(ada, bob, "Ada 2")
    world.settle()
    set_back(ada, copy)
    say(ada, bob, "Ada 3")
    world.settle()
    assert sorted(heard(bob, ada)) == ["Ada 1", "Ada 2", "Ada 3"]
    assert ada.unticked(bob) == 0
    world.check_shown_once()


def test_a_fork_names_the_number_and_what_is_held_there(world: World) -> None:
    ada, bob = world.ada, world.bob
    copy = ada.tx.serialize()
    say(ada, bob, "Ada 1")
    world.settle()
    held, number = bob.log(ada, ada), len(bob.log(ada, ada))
    set_back(ada, copy)
    say(ada, bob, "Ada 2")
    row = ada.contact(bob)
    rewritten = logbook.events_from(ada.tx, row.conv, ada.me.dsk, row.log, number, number, 10_000)
    batch = Batch(tuple((header, body) for _, header, body in rewritten))
    outcome = bob.take_message(ada.me.dsk, ada.seal(bob, batch))
    fork = Fork(row.conv, ada.me.dsk, row.log, number, held[-1])
    assert outcome.forks(ada.me.dsk) == [fork]
    # That alone is enough.
    ada.take_message(bob.me.dsk, bob.seal(ada, fork))
    assert ada.contact(bob).log != row.log


def test_of_a_closed_log_no_more_is_told_than_is_compared(world: World) -> None:
    ada, bob = world.ada, world.bob
    copy, log = ada.tx.serialize(), ada.contact(bob).log
    say(ada, bob, "Ada 1", "Ada 2")
    world.settle()
    set_back(ada, copy)
    say(ada, bob, "Ada 3")
    world.settle()
    end = forks.closed_at(ada.tx, ada.contact(bob).conv, ada.me.dsk, log)
    assert end is not None
    [have] = outgoing.haves(bob.tx, bob.me, bob.contact(ada))
    [told] = [run for run in have.runs if run.log == log]
    assert (told.end, told.tip) == (end, rows.id_at(ada.tx, ada.contact(bob).conv, ada.me.dsk, log, end))


def test_who_takes_a_confirmation_back_takes_no_tick_back(world: World) -> None:
    ada, bob = world.ada, world.bob
    say(ada, bob, "Ada 1", "Ada 2")
    world.settle()
    assert ada.unticked(bob) == 0
    row = ada.contact(bob)
    ada.take_message(bob.me.dsk, bob.seal(ada, Fork(row.conv, ada.me.dsk, row.log, 2, os.urandom(32))))
    assert ada.contact(bob).log != row.log
    assert ada.unticked(bob) == 0
    world.settle()
    assert heard(bob, ada) == ["Ada 1", "Ada 2"]
    world.check_shown_once()


def test_pages_and_search_show_what_was_said_anew_once(world: World) -> None:
    ada, bob = world.ada, world.bob
    copy = ada.tx.serialize()
    say(ada, bob, "Ada lost")
    world.settle()
    set_back(ada, copy)
    say(ada, bob, *(f"Ada word {number}" for number in range(9)))
    world.settle()
    for home, other in ((ada, bob), (bob, ada)):
        conv, place, found = home.contact(other).conv, None, list[str]()
        while page := pages.page(home.tx, conv, 2, place):
            found = [str(entry.event.content()) for entry in page] + found
            place = page[0].place
        assert len(found) == len(set(found)) == len(home.texts(other))
        assert len(pages.search(home.tx, "word", 50)) == 9


def test_who_claims_forks_without_end_is_heard_a_few_times_a_day(world: World) -> None:
    ada, bob = world.ada, world.bob
    say(ada, bob, "Ada 1")
    logs = set()
    for _ in range(3 * REPAIRS_LIMIT):
        row = ada.contact(bob)
        logs.add(row.log)
        claim = Fork(row.conv, ada.me.dsk, row.log, 1, os.urandom(32))
        lie = Have(row.conv, (HeldRun(ada.me.dsk, row.log, 2, os.urandom(32)),))
        ada.take_message(bob.me.dsk, bob.seal(ada, claim, lie))
    assert len(logs) <= REPAIRS_LIMIT + 1
    assert ada.texts(bob) == ["Ada 1"], "said anew, and shown once"
    world.clock.now_s += 2 * 86_400
    world.settle()
    assert heard(bob, ada) == ["Ada 1"]


def test_a_claim_about_another_device_or_no_log_changes_nothing(world: World) -> None:
    ada, bob = world.ada, world.bob
    row = ada.contact(bob)
    for claim in (
        Fork(row.conv, bob.me.dsk, bob.contact(ada).log, 1, os.urandom(32)),
        Fork(row.conv, ada.me.dsk, os.urandom(8), 1, os.urandom(32)),
        Fork(bytes(32), ada.me.dsk, row.log, 1, os.urandom(32)),
        Fork(row.conv, ada.me.dsk, row.log, 1, ada.log(bob, ada)[0]),
    ):
        ada.take_message(bob.me.dsk, bob.seal(ada, claim))
        assert ada.contact(bob).log == row.log
    assert not ada.notices
