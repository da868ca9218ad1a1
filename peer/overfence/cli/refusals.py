"""What a person is told of things that were not taken: little, for most are noise that did no harm. Pure."""

from __future__ import annotations

from ..errors import DeviceListConflict, OverfenceError, RevokedDevice, SafetyMismatch
from ..sealing import BadCard

# Each once in a sitting for each contact; {who} is whom it is about.
WORDS: dict[type[OverfenceError], str] = {
    BadCard: "a server shows keys for {who} that are not {who}'s: they were not used. It may be meddling, or damaged",
    DeviceListConflict: (
        "{who}'s account has signed two different lists of devices: the first one stays. Somebody else may hold the "
        "account's key; ask {who} by another way"
    ),
    RevokedDevice: "a device that {who} has taken off their list still writes: it is not read",
    SafetyMismatch: "what was shown for {who} belongs to other keys: nothing was verified",
}


def words(error: OverfenceError, who: str) -> str:
    """What to say of it; "" where it is no concern of a person's."""
    for kind in type(error).__mro__:
        if kind in WORDS:
            return WORDS[kind].format(who=who)
    return ""
