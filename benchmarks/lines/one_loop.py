"""Both ends of one connection in one process and loop: `python -m benchmarks.lines.one_loop KIND COUNT WINDOW SIZE`."""

from __future__ import annotations

import asyncio
import sys
import time

from ..orders import Window, now, report
from .peer import make

CONFIRM_EVERY = 16


async def run(kind: str, count: int, width: int, size: int) -> None:
    """So many messages one way, never more than ``width`` on their way; how much processor time that took."""
    heard = 0
    window = Window(width)

    def arrived(_message: bytes) -> None:
        nonlocal heard
        heard += 1
        # Waking the sender for every single one would measure the loop.
        if heard % CONFIRM_EVERY == 0 or heard == count:
            window.confirm(heard)

    ada, bob = make(kind, lambda _message: None), make(kind, arrived)
    await ada.accept(await bob.answer(await ada.offer()))
    await asyncio.gather(ada.opened(), bob.opened())
    used_s, began_at = time.process_time(), now()
    message = bytes(size)
    for _ in range(count):
        await window.take()
        ada.send(message)
    await window.emptied()
    report("ran", cpu_s=time.process_time() - used_s, took_s=now() - began_at)
    await asyncio.gather(ada.close(), bob.close())


async def main() -> None:
    """The entry point."""
    kind, *numbers = sys.argv[1:]
    report("ready", at=now())
    await run(kind, *map(int, numbers))


if __name__ == "__main__":
    asyncio.run(main())
