"""`python3 dev.py chat NAME`: people on one machine, each with a home in the checkout, and a node that stays."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

from .exits import Exit, Told
from .session import Start
from .session import run as run_session
from .settings import Settings, checked_port

FOLDER = ".overfence"
NODE = "node"
PEOPLE = ("bob", "ada", "carol", "dave", "erin", "frank")
PROBE_S = 1.0
NODE_START_S = 20.0
PROBE_EVERY_S = 0.05


def run(name: str, link: str | None, port: int) -> Coroutine[Any, Any, Exit]:
    """A chat as ``name``, to be awaited; the first on this machine brings up the node at once."""
    checked_port(port, 1)
    folder = Path(os.environ.get("OVERFENCE_DEV") or FOLDER).absolute()
    if not name.isprintable() or name.startswith(".") or name == NODE or set(name) & set("/\\"):
        raise Told(f"{name!r} names a folder here, too: use letters and digits.", Exit.BAD_INPUT)
    server = find_or_start_node(folder, port)
    names = _fresh_names(folder, name)
    start = Start(link, name, server, their_command=lambda: f"python3 dev.py chat {next(names)}")
    return run_session(Settings(folder / name), start)


def _fresh_names(folder: Path, own: str) -> Iterator[str]:
    """Who may sit at the next terminal: people who have no home yet, each once."""
    for other in chain(PEOPLE, (f"guest{number}" for number in count(1))):
        if other != own.casefold() and not (folder / other).exists():
            yield other


def find_or_start_node(folder: Path, port: int) -> str:
    """The URL of the node on this machine's ``port``, started first if nobody listens; raises `Told`."""
    url = f"ws://127.0.0.1:{port}"
    if is_live(port):
        print(f"using the node at {url}", flush=True)
        return url
    data = folder / NODE
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = data / "node.log"
    command = [sys.executable, "-m", "overfence", "serve", "--port", str(port), "--data", str(data)]
    with open(log, "ab") as output:
        # A session of its own: it goes on when this terminal is closed, and Ctrl-C here does not reach it.
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    deadline_at = time.monotonic() + NODE_START_S
    while not is_live(port):
        if time.monotonic() > deadline_at or (child.poll() is not None and not is_live(port)):
            child.kill()
            raise Told(f"The node did not start; its last words are in {log}")
        time.sleep(PROBE_EVERY_S)
    if child.poll() is None:
        print(f"started a node at {url} (data and log in {data}); it goes on running. Stop it with: kill {child.pid}")
    else:
        print(f"using the node at {url}")
    sys.stdout.flush()
    return url


def is_live(port: int) -> bool:
    """Whether a node answers there; raises `Told` if something else does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_S)
    try:
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        answer.read(1024)
    except ConnectionRefusedError:
        return False
    except (OSError, http.client.HTTPException):
        raise Told(f"Something that is no node listens on port {port}. Stop it.", Exit.IN_USE) from None
    finally:
        connection.close()
    if answer.status != http.client.OK or answer.headers.get("Server") != "overfence":
        raise Told(f"Something that is no node listens on port {port}. Stop it.", Exit.IN_USE)
    return True
