"""When a session is to be begun anew with a device: a reset, a renewal, or after offers that went unconfirmed (§2, §3).

Every function runs inside a transaction.
"""

from __future__ import annotations

import sqlite3

from ..history import people
from ..history.people import ContactState, DeviceRow
from ..sealing import BadState, Sessions
from .me import Me
from .outcome import Outcome

# How long after each unanswered handshake the next one is sent; the last goes on for ever. One who makes us reset again
# and again (each costs a card and a handshake) gets one in ten seconds, however quickly they answer.
BACK_OFF_S = (10, 60, 600, 3600)
# A renewal nobody answers is tried again so often.
RENEWAL_S = 3600
# Offers that go unconfirmed in a row until a new session is begun: set back to an older copy, we may use numbers twice.
LAPSES_LIMIT = 3
TIDY_S = 24 * 3600
# Whom sessions are begun with. One who waits may have been answered already, and be set back to before that.
OPEN = (ContactState.WAITING, ContactState.ACCEPTED)


def stored(device: DeviceRow) -> Sessions:
    """A device's sessions; none where what is stored is damaged: then they open nothing, and others are begun."""
    try:
        return Sessions.decode(device.sessions)
    except BadState:
        return Sessions()


def unread(tx: sqlite3.Connection, me: Me, device: DeviceRow, sid: bytes, outcome: Outcome) -> None:
    """A message in that session could not be read: another is to be begun, soon, but not over and over."""
    state = people.rekeying(tx, device.dsk)
    if people.contact(tx, device.contact).state not in OPEN:
        return
    if state.unread is not None and state.begin_s:
        return  # one is planned already; nonsense by the thousand writes nothing more
    # What unanswered renewals used up is not a reset's to wait for.
    people.set_rekeying(tx, device.dsk, unread=sid, resets=state.resets if state.unread else 0)
    if state.begin_s == 0 or state.unread is None:
        # The first at once, whatever renewal is planned: but a session that was only just begun gets its time.
        begun_s = min(stored(device).begun_s, me.now_s)
        at_s = max(me.now_s, begun_s + BACK_OFF_S[0])
        _plan(tx, me, device, min(at_s, state.begin_s or at_s), outcome)


def lapsed(tx: sqlite3.Connection, me: Me, dsk: bytes) -> None:
    """What was offered to a device went unconfirmed; after the third time in a row another session is begun."""
    device = people.device(tx, dsk)
    if device is None or device.revoked_s:
        return
    state = people.rekeying(tx, dsk)
    people.set_rekeying(tx, dsk, lapses=state.lapses + 1)
    if state.lapses + 1 >= LAPSES_LIMIT and state.begin_s == 0:
        _plan(tx, me, device, me.now_s, Outcome())


def without_session(tx: sqlite3.Connection, me: Me, device: DeviceRow) -> None:
    """Something is to be said to a device, and every session with it is gone or muted: nobody else may begin one."""
    is_open = people.contact(tx, device.contact).state in OPEN
    if is_open and people.rekeying(tx, device.dsk).begin_s == 0:
        _plan(tx, me, device, me.now_s, Outcome())


def worn(tx: sqlite3.Connection, me: Me, device: DeviceRow) -> None:
    """The session has served its time: the device with the smaller key sees to the next (§2)."""
    if me.dsk < device.dsk and people.rekeying(tx, device.dsk).begin_s == 0 and people.has_told(tx, device.dsk):
        _plan(tx, me, device, me.now_s, Outcome())


def tidy(tx: sqlite3.Connection, me: Me) -> None:
    """Once a day: what sessions keep for a while goes when that is over, though the device is not heard any more."""
    tidied_s = people.setting(tx, "tidied")
    if isinstance(tidied_s, str) and 0 <= me.now_s - int(tidied_s) < TIDY_S:
        return
    people.set_setting(tx, "tidied", str(me.now_s))
    for device in people.devices(tx):
        sessions = stored(device)
        sessions.tidy(me.now_s)
        if (kept := sessions.encode()) != device.sessions:
            people.set_sessions(tx, device.dsk, kept, device.introduced)


def succeeded(tx: sqlite3.Connection, dsk: bytes) -> None:
    """A new session is heard: whatever could not be read before, the two can talk."""
    people.set_rekeying(tx, dsk, unread=None, begin_s=0, resets=0, lapses=0)


def tried(tx: sqlite3.Connection, me: Me, dsk: bytes) -> None:
    """A handshake was sent, or could not be: when the next one is."""
    if people.device(tx, dsk) is None:
        return  # the contact was begun anew meanwhile
    state = people.rekeying(tx, dsk)
    if state.begin_s == 0:
        return  # answered meanwhile
    is_renewal = state.unread is None and state.lapses < LAPSES_LIMIT
    wait_s = RENEWAL_S if is_renewal else BACK_OFF_S[min(state.resets, len(BACK_OFF_S) - 1)]
    people.set_rekeying(tx, dsk, resets=state.resets + 1, begin_s=me.now_s + wait_s)


def _plan(tx: sqlite3.Connection, me: Me, device: DeviceRow, at_s: int, outcome: Outcome) -> None:
    people.set_rekeying(tx, device.dsk, begin_s=at_s)
    outcome.nodes.update(address.node for address in people.addresses(tx, device.dsk)[:1])
