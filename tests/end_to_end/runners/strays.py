"""What a chat must never do on somebody's network, done once each: `python strays.py STUN_URL`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

from overfence.connect.webrtc import Link, LinkConfig

MDNS, SSDP = "224.0.0.251", "239.255.255.250"
DATAGRAMS = (("192.0.2.9", 4000), ("192.0.2.123", 123), ("10.77.0.9", 4000), ("127.0.0.1", 4000), (SSDP, 1900))


async def ask(url: str) -> None:
    """Prepare a link as a peer does that was told to use this ICE server."""
    link = Link(
        LinkConfig(ice_servers=(url,)), received=lambda lane, packet: None, ended=lambda end: None, roomy=lambda: None
    )
    await link.offer()
    await link.close()


def main(url: str) -> None:
    """One stray after the other."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
    ):
        # First of all, because the kernel lets up to a second pass before it tells the network.
        four.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(MDNS) + bytes(4))
        for target in DATAGRAMS:
            four.sendto(b"stray", target)
        six.sendto(b"stray", ("2001:db8:9::9", 4000))
        six.sendto(b"stray", ("2001:db8:77::9", 4000))
        stream.setblocking(False)
        stream.connect_ex(("192.0.2.9", 443))
        with contextlib.suppress(socket.gaierror):
            socket.getaddrinfo("overfence.example", 443, socket.AF_INET)
        asyncio.run(ask(url))


if __name__ == "__main__":
    main(sys.argv[1])
