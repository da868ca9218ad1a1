"""The import directions of the design, read from the source: what is not an arrow there is a failure here."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "overfence_reliability": "reliability/overfence_reliability",
    "overfence_signalling": "signalling/overfence_signalling",
    "overfence": "peer/overfence",
}

# A layer may import those with a lower number, and itself. Names not listed are shells (cli, tui, rpc …): they may
# import everything, and only shells may import them.
LAYERS = {
    "errors": ("errors", 0),
    "config": ("config", 0),
    "identity": ("identity", 1),
    "history": ("history", 2),
    "sealing": ("sealing", 2),
    "connect": ("connect", 2),
    "delivery": ("delivery", 3),
    "chat": ("chat", 4),
    "conversation": ("chat", 4),
    "happenings": ("chat", 4),
    "feed": ("chat", 4),
    "inside": ("chat", 4),
    "inviting": ("chat", 4),
    "trusting": ("chat", 4),
    "__init__": ("chat", 4),
}
SHELL = ("shells", 5)

PURE = (
    "reliability/overfence_reliability/*.py",
    "signalling/overfence_signalling/messages.py",
    "signalling/overfence_signalling/admission.py",
    "signalling/overfence_signalling/mailboxes.py",
    "signalling/overfence_signalling/topics.py",
    "signalling/overfence_signalling/limits.py",
    "peer/overfence/identity/pasted.py",
    "peer/overfence/identity/invite.py",
    "peer/overfence/identity/safety.py",
    "peer/overfence/sealing/*.py",
    "peer/overfence/history/event.py",
    "peer/overfence/history/log.py",
    "peer/overfence/history/timeline.py",
    "peer/overfence/history/search.py",
    "peer/overfence/delivery/sync.py",
    "peer/overfence/delivery/payload.py",
    "peer/overfence/delivery/wariness.py",
    "peer/overfence/cli/wrapping.py",
    "peer/overfence/cli/shown.py",
    "peer/overfence/connect/call.py",
    "peer/overfence/connect/sdp.py",
    "peer/overfence/connect/guard.py",
    "peer/overfence/connect/outbox.py",
    "peer/overfence/connect/backoff.py",
)
IMPURE = {"asyncio", "socket", "ssl", "sqlite3", "time", "random", "secrets", "os", "threading", "subprocess"}
IMPURE |= {"multiprocessing", "aiohttp", "aiortc", "aioice"}

DOORS = {
    "aiortc": ("peer/overfence/connect/association.py",),
    "aioice": ("peer/overfence/connect/ice.py",),
    "sqlite_utils": (
        "peer/overfence/history/store.py",
        "peer/overfence/history/migrations.py",
        "signalling/overfence_signalling/store/*.py",
    ),
    "zeroconf": ("peer/overfence/connect/lan.py",),
}


@dataclass(frozen=True)
class Import:
    line: int
    module: str
    name: str = ""

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def imports(path: str, source: str) -> Iterator[Import]:
    """Each import in the file wherever it stands, relative ones resolved, `import_module("…")` included."""
    package = path.split("/")[1:-1]
    for node in ast.walk(ast.parse(source, path)):
        match node:
            case ast.Import(names=names):
                yield from (Import(node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = package[: len(package) - level + 1] if level else []
                full = ".".join([*base, *([module] if module else [])])
                yield from (Import(node.lineno, full, alias.name) for alias in names)
            case ast.Call(func=ast.Attribute(attr=called) | ast.Name(id=called), args=[ast.Constant(str(module)), *_]):
                if called in ("import_module", "__import__"):
                    rest = module.lstrip(".")
                    base = package[: len(package) - (len(module) - len(rest)) + 1] if rest != module else []
                    yield Import(node.lineno, ".".join([*base, rest]))


def violations(tree: Mapping[str, str]) -> list[str]:
    """`file:line: what is wrong` for every import that is not an arrow of the design."""
    found: dict[str, None] = {}  # in order, each once: a line that imports five names is wrong once
    for path, source in sorted(tree.items()):
        for one in imports(path, source):
            for problem in (*directions(path, one, tree), *purity(path, one), *doors(path, one)):
                found[f"{path}:{one.line}: {problem}"] = None
    return list(found)


def directions(path: str, one: Import, tree: Mapping[str, str]) -> Iterator[str]:
    package = path.split("/")[1]
    if one.top == package:
        if package == "overfence":
            yield from layers(path, one, tree)
    elif one.top in PACKAGES:
        if package != "overfence":
            yield f"{package} imports nothing of ours, but here {one.top}"
        elif one.module != one.top or is_module(f"{PACKAGES[one.top]}/{one.name}", tree):
            yield f"import from {one.top} itself, not from inside it"
    elif package == "overfence_reliability" and one.top not in sys.stdlib_module_names:
        yield f"overfence_reliability uses only the standard library, but here {one.top}"


def layers(path: str, one: Import, tree: Mapping[str, str]) -> Iterator[str]:
    _, _, inner = one.module.partition(".")
    if not inner and (one.name in LAYERS or is_module(f"{PACKAGES['overfence']}/{one.name}", tree)):
        inner = one.name
    here, here_rank = LAYERS.get(path.split("/")[2].removesuffix(".py"), SHELL)
    there, there_rank = LAYERS.get(inner.partition(".")[0] or "__init__", SHELL)
    if here != there and here_rank <= there_rank:
        yield f"{here} may not import {there}"


def is_module(path: str, tree: Mapping[str, str]) -> bool:
    return f"{path}.py" in tree or f"{path}/__init__.py" in tree


def purity(path: str, one: Import) -> Iterator[str]:
    if one.top in IMPURE and any(fnmatchcase(path, pattern) for pattern in PURE):
        yield f"a pure file may not import {one.top}: time, chance and bytes come in from its shell"


def doors(path: str, one: Import) -> Iterator[str]:
    if not any(fnmatchcase(path, door) for door in DOORS.get(one.top, (path,))):
        yield f"{one.top} may be imported only in {', '.join(DOORS[one.top])}"


def our_tree() -> dict[str, str]:
    files = (file for folder in PACKAGES.values() for file in (ROOT / folder).rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}


def test_every_import_goes_the_way_the_design_says() -> None:
    tree = our_tree()
    assert len(tree) >= len(PACKAGES), "the packages were not found"
    found = violations(tree)
    assert not found, "\n" + "\n".join(found)


PEER = "peer/overfence/"


@pytest.mark.parametrize(
    ("path", "source", "said"),
    [
        ("reliability/overfence_reliability/loss.py", "import msgspec", "only the standard library"),
        ("reliability/overfence_reliability/loss.py", "import overfence", "nothing of ours"),
        ("reliability/overfence_reliability/loss.py", "def f():\n    import time", "pure file"),
        ("signalling/overfence_signalling/node.py", "from overfence_reliability import Run", "nothing of ours"),
        ("signalling/overfence_signalling/node.py", "from overfence.errors import X", "nothing of ours"),
        ("signalling/overfence_signalling/node.py", "import sqlite_utils", "only in"),
        (PEER + "chat.py", "from overfence_signalling.messages import Put", "not from inside"),
        (PEER + "chat.py", "import overfence_signalling.messages", "not from inside"),
        (PEER + "chat.py", "from overfence_signalling import messages", "not from inside"),
        (PEER + "chat.py", "from .cli import main", "chat may not import shells"),
        (PEER + "chat.py", "from . import cli", "chat may not import shells"),
        (PEER + "delivery/link.py", "from ..chat import Chat", "delivery may not import chat"),
        (PEER + "delivery/link.py", "from .. import Chat", "delivery may not import chat"),
        (PEER + "delivery/link.py", "from overfence import conversation", "delivery may not import chat"),
        (PEER + "history/store.py", "from ..sealing.ratchet import Ratchet", "history may not import sealing"),
        (PEER + "history/store.py", "if X:\n    from ..connect import webrtc", "history may not import connect"),
        (PEER + "sealing/card.py", "from ..history import event", "sealing may not import history"),
        (PEER + "identity/keys.py", "from ..sealing import primitives", "identity may not import sealing"),
        (PEER + "errors.py", "from .identity import keys", "errors may not import identity"),
        (PEER + "sealing/ratchet.py", "from os import urandom", "pure file"),
        (PEER + "connect/sdp.py", "import socket", "pure file"),
        (PEER + "history/log.py", "import importlib\nimportlib.import_module('sqlite3')", "pure file"),
        (PEER + "delivery/link.py", "import aiortc.rtcsctptransport", "only in"),
        (PEER + "cli.py", "import zeroconf", "only in"),
        (PEER + "history/search.py", "import sqlite_utils", "only in"),
    ],
)
def test_a_planted_wrong_import_is_found_where_it_stands(path: str, source: str, said: str) -> None:
    tree = {
        "signalling/overfence_signalling/messages.py": "",
        PEER + "cli.py": "",
        PEER + "connect/__init__.py": "",
        path: source,
    }
    found = violations(tree)
    line = source.count("\n") + 1
    assert any(one.startswith(f"{path}:{line}: ") and said in one for one in found), found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (PEER + "cli.py", "from .chat import Chat\nfrom . import errors\nfrom .demo import run"),
        (PEER + "chat.py", "from .conversation import Conversation\nfrom .delivery.sync import plan\nimport asyncio"),
        (PEER + "chat.py", "from overfence_signalling import Node, Put\nfrom overfence_reliability import Run"),
        (PEER + "__init__.py", "from .chat import Chat\nfrom .errors import OverfenceError"),
        (PEER + "delivery/outgoing.py", "from ..history import store\nfrom ..sealing import Sessions\nimport asyncio"),
        (
            PEER + "sealing/card.py",
            "from ..identity import Identity\nfrom ..errors import BadCard\nfrom . import ratchet",
        ),
        (PEER + "connect/association.py", "import aiortc"),
        (PEER + "connect/ice.py", "from aioice import ice"),
        ("signalling/overfence_signalling/store/sqlite.py", "import sqlite_utils\nfrom .. import limits"),
        ("reliability/overfence_reliability/loss.py", "import math\nfrom .frame import Ack"),
    ],
)
def test_what_the_design_allows_passes(path: str, source: str) -> None:
    assert violations({PEER + "demo.py": "", path: source}) == []
