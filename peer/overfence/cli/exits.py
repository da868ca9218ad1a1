"""What the command ends with: a number for scripts, and for people one sentence and what to do."""

from __future__ import annotations

import re
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; `overfence --help` lists them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    IN_USE = 3
    BAD_INPUT = 4
    INTERRUPTED = 130
    TERMINATED = 143


_WORD_FIRST = re.compile(r"[a-z]+[ ,]")

EPILOGUE = (
    "Exit codes: 0 done; 1 failed; 2 the command line is wrong; 3 the port, data or home is in use by another "
    "process; 4 what was given (an invite, a name, a contact, a file) can't be used; 130 interrupted by Ctrl-C; "
    "143 asked to stop (`serve` ends with 0 for both). Documentation of every error: docs/errors.md."
)


class Told(Exception):
    """A failure of the command itself that is already a sentence for people."""

    def __init__(self, words: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(words)
        self.code = code


def explain(error: Exception) -> tuple[str, Exit]:
    """The sentence and exit code for an error; anything not ours is a fault of this program, and says so."""
    # Imported here: these bring whole packages, and only a failure needs them.
    import overfence_signalling as node

    from .. import InviteExpired, OwnInvite, identity
    from .. import errors as peer

    if isinstance(error, Told):
        return str(error), error.code
    advice: dict[type[Exception], tuple[str, Exit]] = {
        node.PortInUse: ("Choose another with --port, or stop the process that listens there.", Exit.IN_USE),
        node.DataInUse: ("Stop that node, or give this one its own --data.", Exit.IN_USE),
        node.DataTooNew: ("Update Overfence; the data was left as it is.", Exit.BAD_INPUT),
        node.DataUnusable: ("Choose another --data, or mend that one.", Exit.BAD_INPUT),
        node.CannotListen: ("Check --host and --port.", Exit.BAD_INPUT),
        node.BadTls: ("Check --tls-cert and --tls-key.", Exit.BAD_INPUT),
        node.StorageFailed: ("Check the disk; what was accepted before still holds.", Exit.FAILED),
        peer.HomeInUse: ("Close that one, go on there, or choose another --home.", Exit.IN_USE),
        peer.NameNeeded: ("Begin with: overfence chat", Exit.BAD_INPUT),
        peer.HistoryTooNew: ("It was left as it is.", Exit.BAD_INPUT),
        peer.HistoryDamaged: ("It was left as it is: restore it, or choose another --home.", Exit.BAD_INPUT),
        peer.StorageFailed: (
            "Check the disk (is it full, may you write there?); everything before still holds.",
            Exit.FAILED,
        ),
        peer.NoServer: ("Name one with --server ws://… or start your own: overfence serve", Exit.BAD_INPUT),
        peer.Unreachable: ("Check --server and the network; what is queued stays queued.", Exit.FAILED),
        peer.NotDelivered: ("It goes out by itself whenever overfence runs.", Exit.FAILED),
        peer.TooLong: ("Send it in parts.", Exit.BAD_INPUT),
        peer.EmptyMessage: ("", Exit.BAD_INPUT),
        peer.BadName: ("Choose another name.", Exit.BAD_INPUT),
        peer.UnknownContact: ("See whom you know: overfence chat, then /contacts", Exit.BAD_INPUT),
        peer.ContactRemoved: ("Nothing more can be sent there; the history is kept.", Exit.BAD_INPUT),
        peer.ContactBlocked: ("In overfence chat, /unblock lets them in again.", Exit.BAD_INPUT),
        peer.KeyChangePending: ("In overfence chat, /trust says what to do.", Exit.BAD_INPUT),
        peer.SafetyMismatch: ("Do not trust this contact until you know why; nothing was verified.", Exit.FAILED),
        peer.NoKeyChange: ("", Exit.BAD_INPUT),
        peer.KeyChangeLost: ("", Exit.FAILED),
        peer.UnknownInvite: ("", Exit.BAD_INPUT),
        peer.InviteAccepted: ("", Exit.BAD_INPUT),
        identity.BadVerifyCode: ("Nothing was verified.", Exit.BAD_INPUT),
        InviteExpired: ("", Exit.BAD_INPUT),
        OwnInvite: ("", Exit.BAD_INPUT),
        identity.BadInvite: ("Ask whoever sent it for another if need be.", Exit.BAD_INPUT),
        identity.BadKeyFile: ("It was left as it is; another --home goes on without it.", Exit.BAD_INPUT),
        identity.KeyFileExposed: ("", Exit.BAD_INPUT),
        identity.KeyFileUnavailable: ("Check who may read and write there, or choose another --home.", Exit.BAD_INPUT),
    }
    for kind in type(error).__mro__:
        if kind in advice:
            what_to_do, code = advice[kind]
            return sentence(error, what_to_do), code
    if isinstance(error, (peer.OverfenceError, node.NodeError)):
        return sentence(error, ""), Exit.FAILED
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"The system refused: {where}{error.strerror or error}.", Exit.FAILED
    return f"Something unexpected went wrong ({type(error).__name__}). Run it again with -v to see where.", Exit.FAILED


def sentence(error: Exception, what_to_do: str) -> str:
    """The error's own words, or the first sentence of its promise where it was raised without any."""
    said = str(error) or (type(error).__doc__ or type(error).__name__).split(". ")[0].split("; ")[0]
    # A word alone begins a sentence; a file's name is spelled as it is.
    if _WORD_FIRST.match(said):
        said = said[:1].upper() + said[1:]
    said = said.rstrip(". ") + "."
    return f"{said} {what_to_do}".rstrip()
