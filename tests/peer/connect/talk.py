"""Two links that talk in a process of their own; prints, as JSON, every address they told each other."""

from __future__ import annotations

import asyncio
import json
import sys

from overfence.connect.sdp import Description
from overfence.connect.webrtc import Link, LinkConfig
from overfence_reliability import Lane

PATIENCE_S = 10.0


async def main(ice_servers: tuple[str, ...]) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    ada, bob = (
        Link(
            LinkConfig(ice_servers=servers),
            received=lambda _lane, packet: heard.put_nowait(packet),
            ended=lambda _end: None,
            roomy=lambda: None,
        )
        for servers in (ice_servers, ())
    )
    offer = await ada.offer()
    answer = await bob.answer(offer)
    await ada.accept(answer)
    await asyncio.gather(ada.opened(PATIENCE_S), bob.opened(PATIENCE_S))
    ada.post(Lane.BULK, b"over the fence")
    message = await asyncio.wait_for(heard.get(), PATIENCE_S)
    told = [*Description.parse(offer, "offer").candidates, *Description.parse(answer, "answer").candidates]
    await asyncio.gather(ada.close(), bob.close())
    addresses = [[each.ip, each.port] for each in told]
    print(json.dumps({"heard": message.decode(), "addresses": addresses}))


asyncio.run(main(tuple(sys.argv[1:])))
