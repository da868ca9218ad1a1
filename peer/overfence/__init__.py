"""Private chat, straight over the fence: ``from overfence import Chat``.

Importing this package is cheap; `Chat` loads WebRTC when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import errors as errors
from .errors import OverfenceError
from .happenings import (
    ChatEvent,
    ContactAdded,
    ContactChanged,
    Delivered,
    InviteDeclined,
    KeyChanged,
    Notice,
    PathChanged,
    PresenceChanged,
    Refused,
    ServerChanged,
)

if TYPE_CHECKING:
    from .chat import Chat
    from .conversation import Contact, Conversation, Message
    from .delivery.meeting import InviteExpired, OwnInvite
    from .identity import BadInvite, BadVerifyCode, Invite, SafetyNumber
    from .inviting import OpenInvite

__version__ = "0.1.0"

_LAZY = {
    "Chat": "chat",
    "Contact": "conversation",
    "Conversation": "conversation",
    "Message": "conversation",
    "InviteExpired": "delivery.meeting",
    "OwnInvite": "delivery.meeting",
    "BadInvite": "identity",
    "BadVerifyCode": "identity",
    "Invite": "identity",
    "SafetyNumber": "identity",
    "OpenInvite": "inviting",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "BadInvite",
    "BadVerifyCode",
    "Chat",
    "ChatEvent",
    "Contact",
    "ContactAdded",
    "ContactChanged",
    "Conversation",
    "Delivered",
    "Invite",
    "InviteDeclined",
    "InviteExpired",
    "KeyChanged",
    "Message",
    "Notice",
    "OpenInvite",
    "OverfenceError",
    "OwnInvite",
    "PathChanged",
    "PresenceChanged",
    "Refused",
    "SafetyNumber",
    "ServerChanged",
    "__version__",
    "errors",
]
