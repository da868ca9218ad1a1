"""What happens to contacts, links and the server, as lines; and the status line that sums it up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .lines import counted, span
from .shown import brief, shown

if TYPE_CHECKING:
    from .. import Contact

# A server's own words fill one line at most.
DETAIL_LIMIT = 80

STATES = {
    "waiting": "hasn't answered yet; you can write already, it will be there when they come",
    "accepted": "is now your contact",
    "refused": "can't be reached by this invite: someone else used it first, or it was withdrawn. Ask for a new one",
    "expired": "never answered, and the invite has expired. What you wrote is kept; ask for a new one",
    "removed": "is no longer your contact; the history is kept",
    "blocked": "is blocked: nothing goes or comes until /unblock",
}


VERIFIED = "✔ verified"
# A contact without a name is called by so much of their id.
UNNAMED_ID = 8
STUCK = {
    "refused": "someone else used the invite first, or it was withdrawn; ask for a new one",
    "expired": "the invite has expired; ask for a new one",
}
# A message holds 16,384 bytes, and some of them say whose it is and when it was said.
DRAFT_LIMIT_BYTES = 16_000


def state(who: str, contact: Contact) -> str:
    """How far becoming contacts has come."""
    return f"{who} {STATES.get(contact.state, contact.state)}"


def stuck(contact: Contact) -> str:
    """Why nothing can go to this contact until there is a new invite; "" if something can."""
    return STUCK.get(contact.state, "")


def marks(contact: Contact) -> list[str]:
    """What is to be known about trusting a contact, in a word or two each."""
    verified = [VERIFIED] if contact.verified else []
    return [*verified, "key changed: /trust"] if contact.key_changed else verified


def key_changed(who: str, contact: Contact, new_id: str) -> str:
    """Somebody writes for a contact under another key."""
    held = (
        "Nothing goes to them until you decide."
        if contact.verified
        else "What you write still goes to the key you know."
    )
    return (
        f"Somebody writes for {who} from {who}'s own mailbox, but under another key ({new_id[:UNNAMED_ID]}). "
        f"They may have set up Overfence anew, or it is not them: ask by another way. {held} /trust says what to do"
    )


def is_nameless(contact: Contact) -> bool:
    """Whether all that is known of them is an invite: their name comes with their answer."""
    return contact.name == contact.id[:UNNAMED_ID]


def presence(who: str, online: bool) -> str:
    """Somebody came or went."""
    return f"{who} is here" if online else f"{who} has left"


def path(who: str, way: str, detail: str, pair: tuple[str, str] | None) -> str:
    """Which way messages take now."""
    if way == "direct":
        return f"connected straight to {who}{between(pair)}"
    if way == "relayed":
        return f"connected to {who} by a relay{between(pair)}"
    why = f" ({brief(detail, DETAIL_LIMIT)})" if detail else ""
    if way == "mailbox":
        return f"no direct connection to {who}{why}: sealed messages go by the mailbox at the server"
    return f"no way to {who} right now{why}: what you write is kept, and goes out when there is one"


def is_straight(way: str | None) -> bool:
    """Whether messages go without waiting in a mailbox."""
    return way in ("direct", "relayed")


def between(pair: tuple[str, str] | None) -> str:
    """The kinds of addresses a direct connection runs between."""
    return f" ({shown(pair[0])}–{shown(pair[1])})" if pair else ""  # noqa: RUF001 - an en dash is between two ends


def failed_to_connect(detail: str) -> bool:
    """Whether a way by the mailbox is the outcome of a try; before any, and while they are away, it is no news."""
    return detail not in ("", "not here now", "connected")


def server_hint(url: str, detail: str) -> str:
    """What may be wrong with the address, where the failure to connect says so."""
    if url.startswith("wss:") and "ssl" in detail.lower() and "certificate" not in detail.lower():
        return " Is it a server without TLS? Then its address begins with ws://"
    return ""


def draft(typed: str) -> str:
    """What is to be known of a long unfinished message, in place of the status; "" for an ordinary one."""
    size_bytes = len(typed.encode("utf-8", "replace"))
    if size_bytes > DRAFT_LIMIT_BYTES:
        return f"{size_bytes:,} bytes, and one message holds about {DRAFT_LIMIT_BYTES:,} · Ctrl-U discards it all"
    if "\n" in typed:
        return f"{typed.count(chr(10)) + 1} lines: Enter sends them as one message · Ctrl-U discards them all"
    return ""


@dataclass
class Server:
    """What was last heard of the server; retries make no new line, only the status changes."""

    url: str | None
    connected: bool | None = None
    retry_in_s: float | None = None

    def change(self, url: str, connected: bool, detail: str, retry_in_s: float | None) -> str | None:
        """The line this change is worth, or None if it only says again what was said."""
        # A contact's server is its own affair; what becomes of the contact is told as their way.
        if self.url is not None and url != self.url:
            return None
        before = (self.url, self.connected)
        self.url, self.connected, self.retry_in_s = url, connected, retry_in_s
        if before == (url, connected):
            return None
        if connected:
            return f"connected to the server {shown(url)}"
        why = f" ({brief(detail, DETAIL_LIMIT)})" if detail else ""
        retry = "trying again by itself" if retry_in_s is None else f"trying again in {span(retry_in_s)}"
        return f"no connection to the server {shown(url)}{why}; {retry}. What you type is kept and goes out later"

    def __str__(self) -> str:
        if self.url is None:
            return "no server"
        if self.connected:
            return "server connected"
        return "server away" if self.connected is False else "connecting to the server"


def status(who: str | None, contact: Contact | None, waiting: int, server: Server) -> str:
    """The line below the prompt."""
    parts = []
    if who and contact:
        here = "here" if contact.online else "away"
        ways = {
            "direct": f"direct{between(contact.pair)}",
            "relayed": f"by a relay{between(contact.pair)}",
            "mailbox": "by mailbox",
            "offline": "no way there",
        }
        parts = [f"{who}: {here}", ways.get(contact.path, shown(contact.path))]
        if contact.state != "accepted":
            parts[1:] = [shown(contact.state)]
        parts += marks(contact)
    if waiting and contact and stuck(contact):
        parts.append(f"not sent: {counted(waiting)} kept")
    elif waiting:
        parts.append(f"{counted(waiting)} on the way")
    return " · ".join([*parts, str(server), "/help"])
