"""What two people may count on, whatever is done to them."""

from __future__ import annotations

from overfence.history import people, rows
from overfence.history.event import Text

from .home import CopiedHome, HostileWorld

# How long the calm lasts at most: the longest wait between two resets, and what it takes after it (§3, §6.4).
CALM_S = (1, 11, 61, 61, 61, 601, 61, 61, 3601, 61, 61, 61)


class Broken(Exception):
    """A promise that did not hold."""


class Promises:
    """Keeps account of what was said, and holds the two homes against it."""

    def __init__(self, world: HostileWorld) -> None:
        self.world = world
        self.pair = (world.ada, world.bob)
        self.said = 0
        # What each said and has not lost by its own rollback, by the author's name.
        self.standing: dict[str, list[str]] = {home.name: [] for home in self.pair}
        # Whoever was set back may hold less than it once confirmed, until the other has sent it again.
        self.was_set_back = False
        # Did one of them end without knowing the other?
        self.apart = False

    def say(self, home: CopiedHome, length: int) -> None:
        """One more line, like no other."""
        self.said += 1
        text = f"{home.name} {self.said} {'.' * length}"
        home.say(home.contact(self.other(home)).id, text)
        self.standing[home.name].append(text)

    def forget(self, home: CopiedHome) -> None:
        """It was set back: what it no longer knows that it said need not be readable any more."""
        other = self.other(home)
        held = set(home.texts(other)) if home.knows(other) else set()
        self.standing[home.name] = [text for text in self.standing[home.name] if text in held]
        self.was_set_back = True

    def other(self, home: CopiedHome) -> CopiedHome:
        return self.world.bob if home is self.world.ada else self.world.ada

    def fingerprint(self, home: CopiedHome) -> bytes:
        """What must be as it was after anything that fails authentication."""
        return home.fingerprint()

    def check(self) -> None:
        """At any moment: nothing shown twice, nothing made up, nothing ticked that the other does not hold."""
        for home in self.pair:
            other = self.other(home)
            if not home.knows(other) or not other.knows(home):
                continue
            shown = home.shown_of(home.contact(other).id)
            texts = [content.text for event in shown if isinstance(content := event.content(), Text)]
            if len(set(texts)) < len(texts):
                raise Broken("something was shown twice")
            if self.was_set_back:
                continue
            mine, theirs = home.log(other, home), other.log(home, home)
            if theirs != mine[: len(theirs)]:
                raise Broken("the other holds what was not written")
            if people.delivered_upto(home.tx, home.contact(other).id) > len(theirs):
                raise Broken("something is ticked that the other does not hold")

    def calm(self) -> None:
        """From here on nothing goes wrong, for as long as the back-offs may take and no longer."""
        for home in self.pair:
            home.restart()
        self.world.homes = list(self.pair)  # Eve has nothing more to do with it
        for wait_s in CALM_S:
            self.world.settle(rounds=1)
            self.world.clock.now_s += wait_s

    def check_end(self) -> None:
        """After the calm: both can talk, and everything that was said and not undone is there for both."""
        if not all(home.knows(self.other(home)) for home in self.pair):
            # Set back to before they met: only a new invite brings those two together, and nothing else may come of it.
            self.apart = True
            return self.check()
        for home in self.pair:
            self.say(home, 0)
        for wait_s in CALM_S:
            # Where nothing was said before, only these words show that a session is lost.
            self.world.settle(rounds=1)
            if not any(home.unticked(self.other(home)) for home in self.pair):
                break
            self.world.clock.now_s += wait_s
        self.check()
        for home in self.pair:
            other = self.other(home)
            for reader in self.pair:
                texts = reader.texts(self.other(reader))
                if len(set(texts)) < len(texts):
                    raise Broken("a line stands twice in a timeline")
                if missing := [text for text in self.standing[home.name] if text not in texts]:
                    raise Broken(f"{reader.name} cannot read {len(missing)} of what {home.name} said")
            ticked = people.delivered_upto(home.tx, home.contact(other).id)
            if ticked != len(other.log(home, home)):
                raise Broken("not everything the other holds is ticked")
            conv = home.contact(other).conv
            for (device, log), told in people.told_of(home.tx, other.me.dsk).items():
                if told.end and rows.id_at(other.tx, conv, device, log, told.end) != told.tip:
                    raise Broken("something is taken to be held that is not")
        ada, bob = self.world.ada.texts(self.world.bob), self.world.bob.texts(self.world.ada)
        if [text for text in ada if text in set(bob)] != [text for text in bob if text in set(ada)]:
            raise Broken("two timelines")
        # What only one has was said by the other, who lost it with its own disk.
        if lost := {text for text in {*ada} ^ {*bob} if text in self.standing[text.split()[0]]}:
            raise Broken(f"{len(lost)} texts stand in one timeline only")
