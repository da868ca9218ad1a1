"""The Double Ratchet of §3 as a table of everything it derives, from the text alone; it is told what was lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from .spec import DH, HMAC, L, aead, header, hkdf, message_key, pad, x25519


@dataclass
class Chain:
    """One sending chain: its number of messages so far, and what the next is sealed with."""

    ratchet_key: bytes
    chain: bytes
    n: int = 0

    def step(self) -> tuple[int, bytes]:
        """This message's number and ``mk``."""
        n, mk = self.n, HMAC(self.chain, b"\x01")
        self.chain, self.n = HMAC(self.chain, b"\x02"), self.n + 1
        return n, mk

    def skip_to(self, n: int) -> None:
        """As if the messages before ``n`` had been sealed, and lost."""
        while self.n < n:
            self.step()


@dataclass
class Side:
    """One side: ``root`` and its own ratchet pair; ``pn`` is the length of its last sending chain."""

    root: bytes
    secret: bytes
    sending: Chain | None = None
    pn: int = 0
    turns: list[dict[str, bytes]] = field(default_factory=list)

    def turn(self, theirs: bytes, secret: bytes) -> None:
        """Hear a ratchet key for the first time: the receiving chain's root, then a new pair and its sending chain."""
        receiving_root, receiving = self._derive(self.root, self.secret, theirs)
        self.secret = secret
        self.begin(receiving_root, theirs, {"receiving_root": receiving_root, "receiving_chain": receiving})

    def begin(self, root: bytes, theirs: bytes, told: dict[str, bytes] | None = None) -> None:
        """A sending chain to ``theirs``."""
        self.root, sending = self._derive(root, self.secret, theirs)
        self.pn = self.sending.n if self.sending else 0
        self.sending = Chain(x25519(self.secret), sending)
        self.turns.append({**(told or {}), "sending_root": self.root, "sending_chain": sending})

    @staticmethod
    def _derive(root: bytes, own: bytes, theirs: bytes) -> tuple[bytes, bytes]:
        derived = hkdf(root, DH(own, theirs), L("ratchet"), 64)
        return derived[:32], derived[32:]


def seal(
    side: Side, payload: bytes, *, sid: bytes, AD: bytes, nonce: bytes, padded: bytes | None = None
) -> tuple[bytes, dict[str, object]]:
    """The next message, and what it was made with."""
    if side.sending is None:
        raise AssertionError("this side has not heard the other yet")
    n, mk = side.sending.step()
    key, hdr = message_key(mk), header(sid, side.sending.ratchet_key, side.pn, n)
    message = hdr + aead(key, nonce, pad(payload) if padded is None else padded, AD + hdr)
    return message, {"pn": side.pn, "n": n, "mk": mk, "key": key, "nonce": nonce, "message": message}
