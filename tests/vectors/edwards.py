"""Edwards25519 by plain arithmetic (RFC 8032 §5.1), forgiving where libraries must not be.

It decodes unreduced and small-order points, so that signatures can be shown which hold by the equation and must
be refused all the same.
"""

from __future__ import annotations

from hashlib import sha512

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
NEUTRAL: Point = (0, 1)

# y of the points of order 1, 2 and 4, and both of order 8 (§5.1.3 decodes them like any other).
SMALL_ORDER = (
    *(1, P - 1, 0),
    int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
    int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
)


def small_order_encodings() -> list[bytes]:
    """Every 32 bytes that a forgiving reader takes for a point whose order divides 8: reduced or not, either sign."""
    values = [y + extra for y in SMALL_ORDER for extra in (0, P) if y + extra < 2**255]
    return [(y | sign << 255).to_bytes(32, "little") for y in values for sign in (0, 1)]


def decode(raw: bytes) -> Point | None:
    """The point, y taken modulo p and the sign of x = 0 passed over; None where there is none."""
    number = int.from_bytes(raw, "little")
    sign, y = number >> 255, (number & (2**255 - 1)) % P
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * ROOT_OF_MINUS_ONE % P
    if x * x % P != square:
        return None
    return (-x % P if x & 1 != sign else x), y


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + y1 * x2) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def times(scalar: int, point: Point) -> Point:
    total = NEUTRAL
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point, scalar = add(point, point), scalar >> 1
    return total


def challenge(r: bytes, public: bytes, signed: bytes) -> int:
    return int.from_bytes(sha512(r + public + signed).digest(), "little") % ORDER


def holds(public: bytes, signed: bytes, signature: bytes) -> bool:
    """Whether ``[S]B = R + [k]A``, with none of the checks that make it mean something."""
    base = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    a, r = decode(public), decode(signature[:32])
    if base is None or a is None or r is None:
        return False
    s = int.from_bytes(signature[32:], "little")
    return times(s, base) == add(r, times(challenge(signature[:32], public, signed), a))


def forge(public: bytes, signed: bytes) -> bytes | None:
    """A signature by nobody under a key of small order, if this message has one with S = 0."""
    a = decode(public)
    if a is None:
        raise AssertionError("no point at all")
    for count in range(8):
        r = encode(times(count, a))
        if holds(public, signed, r + bytes(32)):
            return r + bytes(32)
    return None
