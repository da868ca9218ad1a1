"""Who may talk to a node and how fast, and how a node proves which one it is (docs/protocol.md §4.1). No I/O."""

from __future__ import annotations

import hashlib
import ipaddress

from .messages import VERSION, ClientHello, Error, NodeHello


def node_id(key: bytes) -> bytes:
    """§4.1 A node's id: BLAKE2b-256 of its Ed25519 public key."""
    return hashlib.blake2b(key, digest_size=32).digest()


def node_hello_bytes(*, nonce: bytes, unix_s: int, version: int, durable: bool) -> bytes:
    """§4.1 What a node signs in its hello.

    ``L("node") ‖ 00 ‖ nonce[32] ‖ unix_s u64 ‖ version u64 ‖ durable u8``, integers big-endian: the client's
    fresh nonce shows the answer is new, and the fields a client acts on can't be changed on the way.
    """
    numbers = unix_s.to_bytes(8, "big") + version.to_bytes(8, "big") + bytes([durable])
    return b"overfence/1 node\x00" + nonce + numbers


def hello_is_genuine(hello: NodeHello, *, nonce: bytes) -> bool:
    """Whether the holder of ``hello.node``'s secret answered this very ``nonce``."""
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    signed = node_hello_bytes(nonce=nonce, unix_s=hello.unix_s, version=hello.version, durable=hello.durable)
    try:
        VerifyKey(hello.node).verify(signed, hello.signature)
    except BadSignatureError:
        return False
    return True


def refuse_hello(hello: ClientHello) -> Error | None:
    """Why this client can't be served, or None."""
    if hello.version != VERSION:
        return Error(code="version", text=f"this node speaks version {VERSION}, not {hello.version}")
    return None


class Allowance:
    """A token bucket: ``burst`` at once, then ``per_s`` each second."""

    def __init__(self, *, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, *, now: float) -> float:
        """Take one. 0 if it was there; else after how many seconds it will be, and nothing is taken."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._per_s


def network_of(address: str) -> str:
    """What counts as one house: an IPv4 address, or the /64 an IPv6 address lies in."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


class Crowd:
    """How many connections there are, and from which networks; never more than the limits of either."""

    def __init__(self, *, total: int, per_network: int) -> None:
        self._total = total
        self._per_network = per_network
        self._networks: dict[str, int] = {}
        self.size = 0

    def enter(self, network: str) -> bool:
        """Take a place; False when there is none. Who got one gives it back by `leave`."""
        here = self._networks.get(network, 0)
        if self.size >= self._total or here >= self._per_network:
            return False
        self._networks[network] = here + 1
        self.size += 1
        return True

    def leave(self, network: str) -> None:
        """Give a place back."""
        self.size -= 1
        self._networks[network] -= 1
        if not self._networks[network]:
            del self._networks[network]
