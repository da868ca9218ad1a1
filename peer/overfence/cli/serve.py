"""`overfence serve`: one node, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from ipaddress import ip_address
from pathlib import Path

from .exits import Exit
from .settings import checked_port


async def run(host: str, port: int, data: Path, tls_cert: Path | None, tls_key: Path | None) -> Exit:
    """Serve until SIGTERM or SIGINT; the one line on stdout says where."""
    checked_port(port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Before the libraries load: whoever starts a node may stop it at once.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    from overfence_signalling import Node, NodeConfig

    config = NodeConfig(host=host, port=port, data=data, tls_cert=tls_cert, tls_key=tls_key)
    async with Node.open(config) as node:
        print(f"listening on {listening(host, node.url)}", flush=True)
        print(f"keeping what waits for people in {data}", file=sys.stderr)
        print(reach(host, tls_cert is not None), file=sys.stderr, flush=True)
        await stop.wait()
        print("stopping", file=sys.stderr, flush=True)
    return Exit.OK


def listening(host: str, url: str) -> str:
    """The node's URL with the very address it listens on: its own names loopback where that is all of them."""
    try:
        address = ip_address(host)
    except ValueError:
        return url
    if not address.is_unspecified:
        return url
    shown = f"[{address}]" if address.version == 6 else address
    return f"{url.partition('://')[0]}://{shown}:{url.rpartition(':')[2]}"


def reach(host: str, tls: bool) -> str:
    """Who can reach a node that listens on ``host``, and what its operator might want to change about that."""
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if local:
        return "only this machine can reach it; for others too: --host 0.0.0.0. Stop it with Ctrl-C"
    if not tls:
        return (
            "reachable by whoever reaches this machine, at its name or address. Messages are sealed end to end; with "
            "--tls-cert and --tls-key nobody on the way sees which mailboxes are used, either. Stop it with Ctrl-C"
        )
    return "reachable by whoever reaches this machine, at its name or address. Stop it with Ctrl-C"
