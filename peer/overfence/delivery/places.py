"""Which nodes to be connected to: one's own first, then a few for each contact, and none that only a contact wants.

Every function runs inside a transaction.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from dataclasses import dataclass
from itertools import zip_longest

from ..history import people, postbox
from ..history.people import ContactState
from . import meeting
from .me import Me

# Nodes one peer connects to: what contacts name as theirs cannot make us open connections without end.
NODES_LIMIT = 32
# Of these, one contact's: with five devices of eight addresses it could take everybody else's places.
CONTACT_LIMIT = 2
# Nodes that a contact may newly name in a minute; each is a connection from here to wherever it likes.
NEW_LIMIT = 4
NEW_S = 60.0


@dataclass(frozen=True)
class Place:
    """A node to be connected to; ``contact`` is whose it is, None for one's own."""

    url: str
    contact: int | None = None


def wanted(tx: sqlite3.Connection, me: Me, *, own_only: bool) -> list[Place]:
    """At most `NODES_LIMIT` nodes. ``own_only``: none but my own and those of invites I accepted."""
    if me.server is None:
        return []  # offline is a choice: then nobody is connected to
    own = {box.node for box in postbox.mailboxes(tx)} - {me.server}
    found = [Place(url) for url in (me.server, *sorted(own))]
    # What goes out in nobody's name, an invite that is declined: of my own choosing, too.
    found += [Place(url) for url in postbox.nodes_to_tell(tx, me.dsk)]
    found += [Place(invite.node, contact.id) for contact, invite, _ in meeting.knocks(tx)]
    by_contact = [_of_contact(tx, contact, own_only=own_only) for contact in people.contacts(tx)]
    for turn in zip_longest(*by_contact):
        found += [place for place in turn if place is not None]
    return list({place.url: place for place in reversed(found)}.values())[::-1][:NODES_LIMIT]


def _of_contact(tx: sqlite3.Connection, contact: people.ContactRow, *, own_only: bool) -> list[Place]:
    if contact.state not in (ContactState.WAITING, ContactState.ACCEPTED):
        return []
    # The first of each device, where what is sealed now goes; then where older envelopes wait for an answer.
    rows = tx.execute(
        """SELECT node FROM (
             SELECT a.node AS node, a.place AS place FROM addresses a JOIN devices d USING (dsk) WHERE d.contact = ?1
             UNION ALL SELECT p.node, 8 FROM puts p JOIN devices d USING (dsk) WHERE d.contact = ?1)
           GROUP BY node ORDER BY min(place), node""",
        (contact.id,),
    )
    urls = [url for (url,) in rows]
    if own_only:
        urls = [url for url in urls if url == people.setting(tx, meeting.invited_key(contact.id))]
    return [Place(url, contact.id) for url in urls[:CONTACT_LIMIT]]


class Newcomers:
    """How many nodes each contact has newly named lately."""

    def __init__(self) -> None:
        self._named_at: dict[int, deque[float]] = {}

    def admits(self, contact: int, *, now: float) -> bool:
        """Whether one more of that contact's may be connected to now; if so, it counts."""
        named_at = self._named_at.setdefault(contact, deque(maxlen=NEW_LIMIT))
        if len(named_at) == NEW_LIMIT and now - named_at[0] < NEW_S:
            return False
        named_at.append(now)
        return True
