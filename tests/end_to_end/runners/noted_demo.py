"""The whole demo, each peer noting what its contact tells: `python noted_demo.py MESSAGES SEED HOMES`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from overfence.demo import run_demo, story
from overfence.demo.stage import Actor


class NotedActor(Actor):
    """An actor whose peer runs under `noted`."""

    async def spawn(self, *arguments: str) -> None:
        await super().spawn("noted", *arguments)


if __name__ == "__main__":
    vars(story)["Actor"] = NotedActor
    messages, seed, homes = sys.argv[1:]
    sys.exit(asyncio.run(run_demo(int(messages), int(seed), Path(homes))))
