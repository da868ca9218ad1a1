"""What two people of a benchmark are led through, wherever their processes are."""

from __future__ import annotations

from .crew import Member

SIZE_BYTES = 200
EVERY_S = 0.05


async def introduce(ada: Member, bob: Member) -> tuple[float, float]:
    """Acquainted, and linked; how long the first message and the link took, in seconds."""
    ada.tell("invite")
    link = (await ada.hear("invite"))["link"]
    bob.tell("accept", link=link, text="-1 the first")
    accepted, heard = await bob.hear("accepted"), await ada.hear("heard")
    open_at = await connected(ada, bob)
    present_at = min([float((await each.hear("present"))["at"]) for each in (ada, bob)])
    return heard["at"] - accepted["at"], open_at - present_at


async def connected(ada: Member, bob: Member) -> float:
    """When both had the direct path."""
    ends = [await each.hear("path", that=lambda report: report["path"] == "direct") for each in (ada, bob)]
    return max(float(end["at"]) for end in ends)


async def lone(sender: Member, receiver: Member, count: int) -> list[float]:
    """How long each of ``count`` single messages took, from before the send to the other side's code."""
    receiver.tell("expect", count=count, each=True)
    await receiver.hear("expecting")
    sender.tell("pace", count=count, every_s=EVERY_S, size=SIZE_BYTES)
    arrived = await receiver.hear("arrived", within_s=30 + 4 * count * EVERY_S)
    paced = await sender.hear("paced")
    return [at - sent_at for at, sent_at in zip(arrived["at"], paced["sent_at"], strict=True)]
