"""What goes wrong in a story, and when it is over."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from .promises import weigh
from .story import Fault, Kind

if TYPE_CHECKING:
    from .world import World

# What a stopped process's sockets hold for it.
SOCKET_BYTES = 212_992


class Misfortunes:
    """Befall the two people of a world, each for its time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._blocked = [0, 0]

    @property
    def is_blocked(self) -> bool:
        """Is there a direction in which nothing passes?"""
        return any(self._blocked)

    def strike(self, fault: Fault) -> None:
        """One of them happens."""
        world = self._world
        world.to_come -= 1
        who = fault.who
        world.counts[fault.kind.value] += 1
        world.tell(who, f"{fault.kind.value} for {fault.for_s:.2f} s")
        match fault.kind:
            case Kind.PARTITION | Kind.PAUSE:
                self._block((0, 1), fault.for_s)
            case Kind.ONE_WAY:
                self._block((who,), fault.for_s)
            case Kind.PATH_DIES:
                self._lose_path(fault)
            case Kind.KILL:
                self._kill((who,), fault.for_s)
            case Kind.KILL_BOTH:
                self._kill((0, 1), fault.for_s)
            case Kind.SLEEP:
                self._sleep(fault)
            case _:
                assert_never(fault.kind)

    def _block(self, directions: tuple[int, ...], for_s: float) -> None:
        world = self._world
        world.to_come += 1
        for who in directions:
            self._blocked[who] += 1
            if world.link is not None:
                world.link.block(who)
        world.clock.at(world.clock.now + for_s, lambda: self._heal(directions))

    def _heal(self, directions: tuple[int, ...]) -> None:
        world = self._world
        world.to_come -= 1
        for who in directions:
            self._blocked[who] -= 1
            link = world.link
            if not self._blocked[who] and link is not None:
                for at, packet in link.heal(who, now=world.clock.now):
                    world.arrive_bulk(who, link, packet, at)
        world.tell(directions[0], "healed")
        if not any(self._blocked):
            world.healed_at = world.clock.now
            weigh(world.story, world.lives)

    def _lose_path(self, fault: Fault) -> None:
        world = self._world
        if world.link is None:
            return
        world.link.is_dead = True
        if fault.is_noticed:
            world.path_closed(fault.who)
            world.dial(after_s=world.story.connect_s)

    def _kill(self, victims: tuple[int, ...], for_s: float) -> None:
        world = self._world
        for who in victims:
            if world.lives[who] is None:
                continue
            world.die(who)
            world.to_come += 1
            world.clock.at(world.clock.now + for_s, lambda who=who: self._restart(who))  # type: ignore[misc]

    def _restart(self, who: int) -> None:
        world = self._world
        world.to_come -= 1
        world.be_born(who)
        world.dial(after_s=world.story.connect_s)

    def _sleep(self, fault: Fault) -> None:
        world = self._world
        who = fault.who
        if world.asleep_until[who] > world.clock.now:
            return
        world.to_come += 1
        world.asleep_until[who] = world.clock.now + fault.for_s
        # Who is suspended misses what comes; a stopped process's sockets go on filling.
        world.asleep_bytes[who] = 0 if fault.is_noticed else SOCKET_BYTES
        world.clock.arm(who, None)

        def wake() -> None:
            world.to_come -= 1
            if fault.clock_stops:
                world.clock.ahead_s[who] -= fault.for_s
            world.tell(who, "awake")
            world.clock.dirty[who] = True

        # Before anything that waited for the same instant.
        world.clock.at(world.asleep_until[who], wake, is_first=True)

    def end_damage(self) -> None:
        """Damage is over; both begin anew, for nobody knows what it did."""
        world = self._world
        world.to_come -= 1
        first, second = (replace(one, corrupt=0.0, truncate=0.0) for one in world.conditions)
        world.conditions = (first, second)
        self._kill((0, 1), 0.1)
