"""The benchmark's node, in a process of its own. Its words: DATA [HOST]."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from overfence_signalling import Node, NodeConfig

from .orders import orders, report


async def serve(data: Path, host: str = "127.0.0.1") -> None:
    """Until told to quit."""
    async with Node.open(NodeConfig(host=host, data=data)) as node:
        report("ready")
        report("serving", url=node.url)
        async for _ in orders():
            pass


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), *sys.argv[2:3]))
