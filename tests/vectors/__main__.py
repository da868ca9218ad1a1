"""Writes the vectors anew: ``python -m tests.vectors``; with ``--check``, only says whether they are as committed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from . import conversation, events, identities, sealing, wires

HERE = Path(__file__).parent
FILES: dict[str, tuple[str, Callable[[], list[identities.Case]]]] = {
    "keys": ("§1: keys and the text made of them", identities.keys),
    "signatures": ("§0: Sig, which signatures hold and which must not", identities.signatures),
    "device_list": ("§1: device lists", identities.device_lists),
    "invite": ("§4.5: invites, and what is read from around them", identities.invites),
    "decline": ("§4.5: declining an invite", wires.declines),
    "safety": ("§1: safety numbers and the code that compares them", identities.safety_numbers),
    "primitives": ("§0: H, L, HMAC, HKDF, AEAD, DH", sealing.primitives),
    "padding": ("§3: padding", sealing.padding),
    "card": ("§1: prekeys and cards", sealing.cards),
    "envelope": ("§4.2: envelopes", sealing.envelopes),
    "handshake": ("§2: the handshake, step by step, and first messages", sealing.handshakes),
    "ratchet": (
        "§3: conversations over the ratchet, step after step; where a step has no message, the one sealed by its name",
        conversation.ratchets,
    ),
    "conversation": ("§6.1: the id of a direct conversation", events.conversations),
    "event": ("§6.1: events and their ids", events.events),
    "payload": ("§6.3: what a sealed message holds", events.payloads),
    "have": ("§6.2: runs, and what they leave to be sent", events.haves),
    "mailbox": ("§4.2: mailbox addresses", wires.mailboxes),
    "hello": ("§4.1: the node's hello and its signature", wires.hellos),
    "topic": ("§4.3: topic ids and entries", wires.topics),
    "packet": ("§7.1: packets and frames", wires.packets),
}


def plain(value: object) -> object:
    """As JSON can say it: bytes become lower-case hex."""
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {key: plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [plain(inner) for inner in value]
        case int() if not isinstance(value, bool) and abs(value) >= 2**53:
            raise AssertionError("JavaScript reads no such number")
        case _:
            return value


def text_of(name: str) -> str:
    """One file: a line for each case, so that a difference shows which."""
    about, make = FILES[name]
    cases = ",\n".join(json.dumps(plain(case), ensure_ascii=False) for case in make())
    head = json.dumps(f"docs/protocol.md {about}. Bytes are lower-case hex.", ensure_ascii=False)
    return f'{{"about": {head},\n"cases": [\n{cases}\n]}}\n'


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vectors", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a committed file differs")
    given = parser.parse_args()
    stale = []
    for name in FILES:
        path, text = HERE / f"{name}.json", text_of(name)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.name)
        if not given.check:
            path.write_text(text, encoding="utf-8")
    print(f"{'differ' if given.check else 'written'}: {', '.join(stale) or 'none'}")
    return 1 if given.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
