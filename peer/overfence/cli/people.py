"""How contacts are called on screen, and who is meant by a typed name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from .exits import Exit, Told
from .shown import brief, shown_name, skeleton

SHORT_ID = 6
SUGGESTED = 8


class Person(Protocol):
    """What is looked at here of a `Contact`."""

    @property
    def id(self) -> str:
        """The user id."""

    @property
    def name(self) -> str:
        """What they call themselves, or are called here."""


Found = TypeVar("Found", bound=Person)


def label(person: Person, everyone: Sequence[Person], own_name: str = "") -> str:
    """The person's name as shown; with the beginning of their id where the name alone could mean someone else."""
    name = shown_name(person.name)
    looks = skeleton(name)
    alike = [other for other in everyone if other.id != person.id and skeleton(shown_name(other.name)) == looks]
    if not alike and looks not in (skeleton(shown_name(own_name)), "you"):
        return name
    # Six letters can be searched for: as many as it takes to tell one from the other.
    length = SHORT_ID
    while length < len(person.id) and any(other.id[:length] == person.id[:length] for other in alike):
        length += 1
    return f"{name} ({person.id[:length]})"


def find(typed: str, everyone: Sequence[Found], own_name: str = "") -> Found:
    """Whom ``typed`` means, by label, name or id, else by how one begins; raises `Told` with what was possible."""
    wanted = " ".join(typed.split()).casefold()
    labels = {person.id: label(person, everyone, own_name).casefold() for person in everyone}
    means: tuple[Callable[[Found], bool], ...] = (
        lambda person: wanted in (labels[person.id], person.id.casefold()),
        lambda person: shown_name(person.name).casefold() == wanted,
        lambda person: labels[person.id].startswith(wanted) or person.id.casefold().startswith(wanted),
    )
    for meant in means:
        matches = [person for person in everyone if meant(person)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            which = ", ".join(label(person, everyone, own_name) for person in matches[:SUGGESTED])
            raise Told(f"{brief(typed)} may mean several: {which}. Type more of it.", Exit.BAD_INPUT)
    known = ", ".join(label(person, everyone, own_name) for person in everyone[:SUGGESTED])
    whom = f"You know {known}." if known else "You have no contacts yet: overfence chat shows how to get one."
    raise Told(f"There is no contact {brief(typed)}. {whom}", Exit.BAD_INPUT)
