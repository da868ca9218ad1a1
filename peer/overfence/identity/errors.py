"""What can go wrong with keys, device lists and invites."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from overfence.errors import OverfenceError


class BadKeyFile(OverfenceError):
    """The identity on disk is truncated, damaged or from a newer version; it is left byte for byte as it was."""

    def __init__(self, problem: str, path: Path | None = None) -> None:
        self.problem = problem
        self.path = path
        super().__init__(problem if path is None else f"{path}: {problem}")


class KeyFileExposed(OverfenceError):
    """Other users of this machine may read the identity file; nothing was read, and the owner decides what to do."""

    def __init__(self, path: Path, mode: int) -> None:
        self.path = path
        self.mode = mode
        self.remedy = f"chmod 600 {path}"
        super().__init__(
            f"{path} may be read by other users of this machine (mode {mode:04o}), so its keys may be known to them. "
            f"If only you ever had access, close it with: {self.remedy}"
        )


class KeyFileUnavailable(OverfenceError):
    """The system would not read or write the identity file; an existing one is unharmed, a new one was not made."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")


class NotPrimary(OverfenceError):
    """This device does not hold the account's secret, so only the primary device can do this; nothing changed."""


class BadDeviceList(OverfenceError):
    """A device list that is malformed, or not signed by its account: its sender's fault; the list held stays."""


class InviteFault(StrEnum):
    """What is wrong with an invite."""

    NOT_AN_INVITE = "not an invite"
    INCOMPLETE = "incomplete"
    DAMAGED = "damaged"
    NEWER_VERSION = "newer version"
    BAD_NODE = "bad node"


class BadInvite(OverfenceError):
    """The text pasted is no whole invite, and `reason` says how; nothing was sent, and the right one still works."""

    def __init__(self, reason: InviteFault) -> None:
        self.reason = reason
        super().__init__(_INVITE_WORDS[reason])


_INVITE_WORDS = {
    InviteFault.NOT_AN_INVITE: "this is not an invite; an invite begins with overfence:",
    InviteFault.INCOMPLETE: "this invite is incomplete; copy the whole link, to its last character",
    InviteFault.DAMAGED: "a character of this invite is wrong or missing; copy the link again",
    InviteFault.NEWER_VERSION: "this invite was made by a newer version of Overfence",
    InviteFault.BAD_NODE: "this invite names a server that is no ws:// or wss:// address",
}


class VerifyFault(StrEnum):
    """Why what was shown for comparison cannot be compared."""

    NOT_A_CODE = "not a code"
    INCOMPLETE = "incomplete"
    DAMAGED = "damaged"
    NEWER_VERSION = "newer version"
    OWN = "own"
    OF_OTHERS = "of others"


class BadVerifyCode(OverfenceError):
    """What was shown is no code of this contact's for me, and `reason` says how; nothing was verified or undone."""

    def __init__(self, reason: VerifyFault) -> None:
        self.reason = reason
        super().__init__(_VERIFY_WORDS[reason])


_VERIFY_WORDS = {
    VerifyFault.NOT_A_CODE: "this is neither a code, which begins with overfence-verify:, nor the 60 digits",
    VerifyFault.INCOMPLETE: "this is incomplete; take the whole code, or all 60 digits",
    VerifyFault.DAMAGED: "a character of this is wrong, missing or too many; take it again",
    VerifyFault.NEWER_VERSION: "this code was made by a newer version of Overfence",
    VerifyFault.OWN: "this is the code you show them; take the one they show you",
    # Somebody between the two would hold another key towards each: then their code names neither key known here.
    VerifyFault.OF_OTHERS: (
        "this code names neither of you; unless it was made for somebody else, somebody sits between the two of you"
    ),
}
