"""What is done to two people who talk: each move of a story, and what must hold right after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import NamedTuple

from overfence.delivery.outcome import Outcome
from overfence.history import people, postbox
from overfence.sealing import Pre, open_envelope, seal_envelope

from ..peer.delivery.conftest import NODE, Box, Home
from .home import CopiedHome, HostileWorld
from .promises import Broken, Promises
from .story import WAITS_S, Kind, Move

# Waits of a story together: past 30 days sessions and mail are given up, by design.
PATIENCE_S = 28 * 86_400
# Successive bytes damaged by one move, so that a campaign reaches every byte there is.
FLIPS = 32


class Passed(NamedTuple):
    """A message that was on its way, and the envelope and mailbox it lay in, if it did not go by link."""

    hearer: CopiedHome
    sender: CopiedHome
    message: bytes
    mailbox: bytes = b""
    envelope: bytes = b""


class Hostility:
    """Plays moves on a world, and holds each against the promises."""

    def __init__(self, world: HostileWorld, seed: int) -> None:
        self.world = world
        self.pair = (world.ada, world.bob)
        self.random = Random(seed)  # noqa: S311 (a story that can be repeated)
        self.counts: Counter[str] = Counter()
        self.flipped: set[tuple[str, int]] = set()
        self.sizes: dict[str, int] = {}
        self.promises = Promises(world)
        self.passed: list[Passed] = []
        self.known: set[bytes] = set()
        self.waited_s = 0
        # Successive seeds go on where the one before ended: every byte has its turn.
        self.place = FLIPS * seed

    def other(self, home: CopiedHome) -> CopiedHome:
        return self.world.bob if home is self.world.ada else self.world.ada

    def play(self, move: Move) -> None:
        """One move; it is counted where there was something to do it to."""
        home = self.pair[move.who]
        self.record()
        if _MOVES[move.kind](self, home, move.size):
            self.counts[move.kind.value] += 1
        self.promises.check()

    def record(self) -> None:
        """Whoever runs the node keeps everything that ever lay there."""
        for home in self.pair:
            for mine, box in self.boxes(home):
                for _, _, envelope, _ in box.items:
                    if envelope not in self.known:
                        self.known.add(envelope)
                        _, message = open_envelope(mine.key, mine.mailbox, envelope)
                        self.passed.append(Passed(home, self.other(home), message, mine.mailbox, envelope))

    def boxes(self, home: Home) -> list[tuple[postbox.Mailbox, Box]]:
        """Its mailboxes that the node has, but for what Eve puts there."""
        eve = home.contact(self.world.eve).id
        boxes = self.world.node.boxes
        mine = [at for at in postbox.mailboxes(home.tx, NODE) if at.contact != eve]
        return [(at, boxes[at.mailbox]) for at in mine if at.mailbox in boxes]

    # ── life ──────────────────────────────────────────────────────────────────────────────────────

    def say(self, home: CopiedHome, size: int) -> bool:
        knows = home.knows(self.other(home))
        if knows:
            self.promises.say(home, size % 300)
        return knows

    def errands(self, home: CopiedHome, size: int) -> bool:
        home.errands()
        return True

    def fetch(self, home: CopiedHome, size: int) -> bool:
        home.fetch(at_most=1 + size % 4)
        return True

    def fetch_unacknowledged(self, home: CopiedHome, size: int) -> bool:
        home.fetch(forget=False)
        return True

    def ask_after(self, home: CopiedHome, size: int) -> bool:
        home.ask_after()
        return True

    def link(self, home: CopiedHome, size: int) -> bool:
        met = all(people.device(one.tx, self.other(one).me.dsk) for one in self.pair)
        if not met or any(one.links for one in self.pair):
            return False
        for one in self.pair:
            one.links[self.other(one).me.dsk] = []
            one.progress.pop(self.other(one).me.dsk, None)
        return True

    def link_carries(self, home: CopiedHome, size: int) -> bool:
        """Some of what is on the link comes, and not always in order."""
        waiting = self.other(home).links.get(home.me.dsk, [])
        for _ in range(min(len(waiting), 1 + size % 4)):
            message = waiting.pop(0 if size % 3 else self.random.randrange(len(waiting)))
            self.passed.append(Passed(home, self.other(home), message))
            home.take_message(self.other(home).me.dsk, message)
        return True

    def link_breaks(self, home: CopiedHome, size: int) -> bool:
        was = any(one.links for one in self.pair)
        self.cut()
        return was

    def cut(self) -> None:
        for one in self.pair:
            one.links.clear()
            one.progress.clear()

    def restart(self, home: CopiedHome, size: int) -> bool:
        self.cut()
        home.restart()
        return True

    def wait(self, home: CopiedHome, size: int) -> bool:
        wait_s = WAITS_S[size % len(WAITS_S)]
        if self.waited_s + wait_s > PATIENCE_S:
            return False
        self.waited_s += wait_s
        self.world.clock.now_s += wait_s
        return True

    # ── weather ───────────────────────────────────────────────────────────────────────────────────

    def full(self, home: CopiedHome, size: int) -> Box | None:
        boxes = [box for _, box in self.boxes(home) if box.items]
        return boxes[size % len(boxes)] if boxes else None

    def lose(self, home: CopiedHome, size: int) -> bool:
        box = self.full(home, size)
        if box is not None:
            del box.items[size % len(box.items)]
        return box is not None

    def double(self, home: CopiedHome, size: int) -> bool:
        box = self.full(home, size)
        if box is not None:
            _, put_id, envelope, day = box.items[size % len(box.items)]
            box.last += 1
            box.items.append((box.last, put_id, envelope, day))
        return box is not None

    def reorder(self, home: CopiedHome, size: int) -> bool:
        box = self.full(home, size)
        if box is None or len(box.items) < 2:
            return False
        contents = [item[1:] for item in box.items]
        self.random.shuffle(contents)
        box.items = [(item[0], *content) for item, content in zip(box.items, contents, strict=True)]
        return True

    # ── malice ────────────────────────────────────────────────────────────────────────────────────

    def replay(self, home: CopiedHome, size: int) -> bool:
        """Anything recorded comes again: as it lay in the mailbox, and as it would come by the link."""
        if not self.passed:
            return False
        again = self.passed[size % len(self.passed)]
        if size % 3:
            again.hearer.take_message(again.sender.me.dsk, again.message)
        elif postbox.mailbox(again.hearer.tx, again.mailbox) is not None:
            again.hearer.take_envelope(again.mailbox, again.envelope)
        return True

    def enveloped(self, size: int) -> Passed | None:
        """One that lay in a mailbox which is still there."""
        found = [one for one in self.passed if postbox.mailbox(one.hearer.tx, one.mailbox) is not None]
        return found[size % len(found)] if found else None

    def flip_envelope(self, home: CopiedHome, size: int) -> bool:
        found = self.enveloped(size)
        if found is not None:
            take = [
                partial(found.hearer.take_envelope, found.mailbox, damaged)
                for damaged in self.damage("envelope", found.envelope)
            ]
            self.changes_nothing(found.hearer, "a damaged envelope", *take)
        return found is not None

    def flip_handshake(self, home: CopiedHome, size: int) -> bool:
        return self.flip("handshake", size)

    def flip_message(self, home: CopiedHome, size: int) -> bool:
        return self.flip("message", size)

    def flip(self, shape: str, size: int) -> bool:
        """Inside, by one who can put it on the link, or seal it into an envelope."""
        found = [one for one in self.passed if (Pre.peek(one.message) is not None) == (shape == "handshake")]
        if not found:
            return False
        hearer, sender, message, mailbox, _ = found[size % len(found)]
        mine = postbox.mailbox(hearer.tx, mailbox)
        take = []
        for damaged in self.damage(shape, message):
            if size % 2 and mine is not None:
                envelope = seal_envelope(mine.key, mailbox, sender.me.dsk, damaged, self.random.randbytes)
                take.append(partial(hearer.take_envelope, mailbox, envelope))
            else:
                take.append(partial(hearer.take_message, sender.me.dsk, damaged))
        self.changes_nothing(hearer, f"a damaged {shape}", *take)
        return True

    def damage(self, shape: str, whole: bytes) -> Iterator[bytes]:
        """Copies with one bit changed, each in the byte after the one before."""
        self.sizes[shape] = min(self.sizes.get(shape, len(whole)), len(whole))
        for _ in range(FLIPS):
            self.place += 1
            at = self.place % len(whole)
            self.flipped.add((shape, at))
            yield whole[:at] + bytes((whole[at] ^ 1 << self.random.randrange(8),)) + whole[at + 1 :]

    def wrong_mailbox(self, home: CopiedHome, size: int) -> bool:
        """An envelope comes to Eve, back to its sender, and to other mailboxes of its owner."""
        found = self.enveloped(size)
        if found is None:
            return False
        for one in (*self.pair, self.world.eve):
            for box in postbox.mailboxes(one.tx, NODE):
                if box.mailbox != found.mailbox:
                    take = partial(one.take_envelope, box.mailbox, found.envelope)
                    self.changes_nothing(one, "an envelope for another mailbox", take)
        return True

    def wrong_device(self, home: CopiedHome, size: int) -> bool:
        """A message comes to its hearer as if from Eve, to Eve as if for her, and back to its sender."""
        if not self.passed:
            return False
        hearer, sender, message, *_ = self.passed[size % len(self.passed)]
        eve = self.world.eve
        for one, by in ((hearer, eve), (eve, sender), (eve, hearer), (sender, hearer), (sender, eve)):
            self.changes_nothing(one, "another's message", partial(one.take_message, by.me.dsk, message))
        return True

    def changes_nothing(self, home: CopiedHome, what: str, *takes: Callable[[], Outcome]) -> None:
        """None of this authenticates. A used number is told from damage by nobody: it is answered, and no more."""
        before, duplicates = self.promises.fingerprint(home), 0
        for take in takes:
            outcome = take()
            if outcome.ordered or outcome.calls or outcome.told:
                raise Broken(f"{what} was taken in")
            duplicates += bool(outcome.duplicates)
        if not duplicates and self.promises.fingerprint(home) != before:
            raise Broken(f"{what} changed the database")
        self.counts["refused"] += len(takes) - duplicates
        self.counts["refused as a duplicate"] += duplicates

    # ── the past ──────────────────────────────────────────────────────────────────────────────────

    def roll_back(self, home: CopiedHome, size: int) -> bool:
        if not home.copies:
            return False
        self.cut()
        self.other(home).restart()
        home.set_back(home.copies[size % len(home.copies)])
        self.promises.forget(home)
        return True

    def roll_back_both(self, home: CopiedHome, size: int) -> bool:
        return all([self.roll_back(one, size // (1 + place)) for place, one in enumerate(self.pair)])


_MOVES: dict[Kind, Callable[[Hostility, CopiedHome, int], bool]] = {
    kind: getattr(Hostility, kind.name.lower()) for kind in Kind
}
