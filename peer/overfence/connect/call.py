"""Who calls whom, and when again: the life of the one link to a device (docs/protocol.md §5). Pure."""

from __future__ import annotations

from enum import Enum, auto

from .backoff import Backoff

# A call that has not opened by then is given up, and tried again after the back-off.
CALL_TIMEOUT_S = 10.0
# How long the one who waits to be called waits before asking for it.
RING_AFTER_S = 0.5
# A link that was open this long was a good one.
STEADY_S = 10.0
# A device that breaks the rules costs us a handshake and what its bounds allow, each time: so it is not called, and its
# calls are not heard, for a while that doubles; a link that holds this long forgives it.
SHUN_FIRST_S = 5.0
SHUN_LAST_S = 600.0
FORGIVEN_AFTER_S = 60.0


class State(Enum):
    """How far the call has come."""

    AWAY = auto()  # the device is nowhere to be seen
    WAITING = auto()  # it is there; a timer says when to call or to ring
    CALLING = auto()  # an offer of mine is out, or an offer of theirs answered
    OPEN = auto()
    DOUBTED = auto()  # the link is there but fell silent, or the other side calls again: another is called beside it


class Event(Enum):
    """What happens to a call."""

    APPEARED = auto()
    VANISHED = auto()
    OFFERED = auto()  # an offer came
    RANG = auto()
    TIMER = auto()
    OPENED = auto()
    FAILED = auto()  # the link ended, or never opened
    SILENT = auto()  # nothing is heard on the link
    HEARD = auto()  # it is heard again
    BROKE_RULES = auto()  # the device did what no honest one does, and lost its link for it


class Action(Enum):
    """What the one who drives it has to do."""

    OFFER = auto()  # a fresh link, its offer sent
    ANSWER = auto()  # a fresh link that answers the offer
    RING = auto()
    DROP = auto()  # end the link that is being called


# Where nothing is said, the event changes nothing: a ring during a call, a device that vanishes from
# the topic (its server may be down) while the link to it is open.
_OFFERER: dict[tuple[State, Event], tuple[State, Action | None]] = {
    (State.AWAY, Event.APPEARED): (State.CALLING, Action.OFFER),
    (State.AWAY, Event.RANG): (State.CALLING, Action.OFFER),
    (State.AWAY, Event.OPENED): (State.OPEN, None),  # called while another link was there, which ended first
    (State.WAITING, Event.OPENED): (State.OPEN, None),
    (State.WAITING, Event.VANISHED): (State.AWAY, None),
    (State.WAITING, Event.RANG): (State.CALLING, Action.OFFER),
    (State.WAITING, Event.TIMER): (State.CALLING, Action.OFFER),
    (State.CALLING, Event.OPENED): (State.OPEN, None),
    (State.CALLING, Event.TIMER): (State.WAITING, Action.DROP),
    (State.CALLING, Event.FAILED): (State.WAITING, None),
    (State.OPEN, Event.FAILED): (State.WAITING, None),
    (State.OPEN, Event.RANG): (State.DOUBTED, Action.OFFER),  # they have lost the link that we think is open
    (State.OPEN, Event.SILENT): (State.DOUBTED, Action.OFFER),
    (State.DOUBTED, Event.RANG): (State.DOUBTED, Action.OFFER),
    (State.DOUBTED, Event.APPEARED): (State.DOUBTED, Action.OFFER),  # an earlier call may have found nobody, or no way
    (State.DOUBTED, Event.TIMER): (State.DOUBTED, Action.OFFER),
    (State.DOUBTED, Event.HEARD): (State.OPEN, Action.DROP),
    (State.DOUBTED, Event.OPENED): (State.OPEN, None),
    (State.DOUBTED, Event.FAILED): (State.WAITING, None),
}
_ANSWERER: dict[tuple[State, Event], tuple[State, Action | None]] = {
    (State.AWAY, Event.APPEARED): (State.WAITING, None),
    (State.AWAY, Event.OFFERED): (State.CALLING, Action.ANSWER),
    (State.AWAY, Event.OPENED): (State.OPEN, None),
    (State.WAITING, Event.OPENED): (State.OPEN, None),
    (State.WAITING, Event.VANISHED): (State.AWAY, None),
    (State.WAITING, Event.OFFERED): (State.CALLING, Action.ANSWER),
    (State.WAITING, Event.TIMER): (State.WAITING, Action.RING),
    (State.CALLING, Event.OFFERED): (State.CALLING, Action.ANSWER),
    (State.CALLING, Event.OPENED): (State.OPEN, None),
    (State.CALLING, Event.TIMER): (State.WAITING, Action.DROP),
    (State.CALLING, Event.FAILED): (State.WAITING, None),
    (State.OPEN, Event.FAILED): (State.WAITING, None),
    (State.OPEN, Event.OFFERED): (State.DOUBTED, Action.ANSWER),
    (State.OPEN, Event.SILENT): (State.DOUBTED, Action.RING),
    (State.DOUBTED, Event.OFFERED): (State.DOUBTED, Action.ANSWER),
    (State.DOUBTED, Event.APPEARED): (State.DOUBTED, Action.RING),
    (State.DOUBTED, Event.TIMER): (State.DOUBTED, Action.RING),
    (State.DOUBTED, Event.HEARD): (State.OPEN, Action.DROP),
    (State.DOUBTED, Event.OPENED): (State.OPEN, None),
    (State.DOUBTED, Event.FAILED): (State.WAITING, None),
}


class Call:
    """The state of the link to one device. ``offers``: it is ours to offer, for our key is the smaller."""

    def __init__(self, *, offers: bool, backoff: Backoff, shunning: Backoff) -> None:
        self.state = State.AWAY
        self._offers = offers
        self._backoff = backoff
        self._shunning = shunning
        self._table = _OFFERER if offers else _ANSWERER
        self._present = False
        self._due_at: float | None = None
        self._opened_at = float("-inf")
        # Who calls comes from a server, which may show the same device coming and going: the wait goes on meanwhile.
        self._again_at = float("-inf")
        self._shunned_until = float("-inf")

    def take(self, event: Event, *, now: float) -> Action | None:
        """What ``event`` calls for."""
        if event in (Event.APPEARED, Event.VANISHED):
            was, self._present = self._present, event is Event.APPEARED
            if was and self._present:
                return None  # in another topic too, or with another word; a call that is under way must not begin anew
        if event is Event.BROKE_RULES:
            return self._shun(now)
        if now < self._shunned_until and event in (Event.OFFERED, Event.RANG):
            return None
        step = self._table.get((self.state, event))
        if step is None:
            return None
        if event is Event.APPEARED and self._offers and now < self._again_at:
            step = (State.WAITING, None)
        before, (self.state, action) = self.state, step
        if event is Event.OPENED:
            self._opened_at = now
        self._arm(before, now)
        return action

    def _shun(self, now: float) -> Action:
        if self.state in (State.OPEN, State.DOUBTED) and now - self._opened_at >= FORGIVEN_AFTER_S:
            self._shunning.succeeded()
        self._shunned_until = now + self._shunning.next_s()
        self._again_at = max(self._again_at, self._shunned_until)
        self.state = State.WAITING if self._present else State.AWAY
        self._due_at = self._again_at if self._present else None
        return Action.DROP

    def _arm(self, before: State, now: float) -> None:
        match self.state:
            case State.CALLING:
                self._due_at = now + CALL_TIMEOUT_S
            case State.WAITING:
                self._due_at = self._wait(before, now)
                if not self._present:
                    # Not in any topic: whoever comes back there is seen, or calls.
                    self.state, self._due_at = State.AWAY, None
            case State.DOUBTED:
                if before is State.OPEN and now - self._opened_at >= STEADY_S:
                    self._backoff.succeeded()
                self._due_at = now + self._backoff.next_s()
            case _:
                self._due_at = None

    def _wait(self, before: State, now: float) -> float:
        # A link that breaks as soon as it opens is no success: then the back-off goes on growing.
        lasted = before in (State.OPEN, State.DOUBTED) and now - self._opened_at >= STEADY_S
        if lasted:
            self._backoff.succeeded()
        if lasted or before is State.AWAY:
            self._again_at = max(self._again_at, now + (0.0 if self._offers else RING_AFTER_S))
        else:
            self._again_at = now + self._backoff.next_s()
        return self._again_at

    def next_timer(self) -> float | None:
        """When `Event.TIMER` is due, in monotonic seconds."""
        return self._due_at
