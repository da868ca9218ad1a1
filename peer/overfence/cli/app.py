"""The command line: what can be typed, and how each ending is told. Every command's libraries load when it runs."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sys
import traceback
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from .exits import EPILOGUE, Exit, Told, explain
from .screen import Interrupted
from .settings import Settings

DEFAULT_PORT = 8400


def version() -> str:
    """Overfence's own, read when asked for."""
    from importlib.metadata import version as installed

    return f"overfence {installed('overfence')}"


app = App(
    name="overfence",
    help="Private chat, straight over the fence. Begin with: overfence chat",
    help_epilogue=EPILOGUE,
    version=version,
    version_flags=["--version"],
    result_action="return_value",
)

# What the launcher hands each command; not typed, so not parsed.
Here = Annotated[Settings, Parameter(parse=False)]


@app.meta.default
def launch(
    *,
    home: Annotated[str | None, Parameter(env_var="OVERFENCE_HOME")] = None,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="")] = False,
    rest: Annotated[Sequence[str], Parameter(parse=False)],
) -> int:
    """Run a command.

    Parameters
    ----------
    home
        Where your keys, contacts and messages lie.
    verbose
        Log to stderr what happens (never what is said, nor to whom), and show tracebacks.
    """
    log_to_stderr(verbose)
    command, bound, unparsed = app.parse_args(rest, exit_on_error=False, print_error=True)
    if verbose and command is demo:
        raise Told("demo has no -v: its processes log into files of their own, and --keep DIR keeps those.", Exit.USAGE)
    if "here" in unparsed:
        bound.arguments["here"] = Settings(home)
    answer = command(*bound.args, **bound.kwargs)
    if asyncio.iscoroutine(answer):
        answer = asyncio.run(answer)
    return answer if isinstance(answer, int) else Exit.OK


@app.command
async def chat(link: str | None = None, /, *, name: str | None = None, server: str | None = None, here: Here) -> Exit:
    """Chat. The first time it asks your name and makes an invite link; with somebody's LINK it accepts that.

    Parameters
    ----------
    link
        An invite you were sent.
    name
        What others see you as.
    server
        A node's address, as in ws://127.0.0.1:8400; else OVERFENCE_SERVER, else what config.toml in the home says.
    """
    from .session import Start, run

    return await run(here, Start(link, name, server))


@app.command
async def send(
    contact: str,
    text: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    wait: float | None = None,
    here: Here,
) -> Exit:
    """Send one message; with "-" for the text, what comes on stdin.

    Parameters
    ----------
    contact
        To whom: a name, an id, or how one begins.
    text
        What to say; after "--" it may begin with a hyphen.
    wait
        Seconds to wait for delivery, and exit with 1 without it. Not given: a few seconds at most, until the server has
        it, and exit with 0 delivered or not.
    """
    from . import once

    return await once.send(here, contact, text, wait)


@app.command
async def history(
    contact: str | None = None,
    /,
    *,
    limit: int = 50,
    json: Annotated[bool, Parameter(negative="")] = False,
    here: Here,
) -> Exit:
    """Print the last messages, oldest first: with one contact, or with all.

    Parameters
    ----------
    contact
        With whom: a name, an id, or how one begins.
    limit
        How many.
    json
        One JSON object a line.
    """
    from . import once

    return await once.history(here, contact, limit, json)


@app.command
async def search(
    *words: str,
    limit: int = 20,
    json: Annotated[bool, Parameter(negative="")] = False,
    here: Here,
) -> Exit:
    """Print the messages that have every one of the words, oldest first; exit with 1 if there is none.

    Parameters
    ----------
    words
        What to look for.
    limit
        How many, of the newest.
    json
        One JSON object a line.
    """
    from . import once

    return await once.search(here, " ".join(words), limit, json)


@app.command(name="help")
def help_(*command: str) -> Exit:
    """Show what can be typed: in all, or for one COMMAND."""
    app.help_print(command)
    return Exit.OK


@app.command
async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    data: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    here: Here,
) -> Exit:
    """Run a node: the small server that introduces people and keeps sealed messages for those who are away.

    Parameters
    ----------
    host
        The address to listen on; 0.0.0.0 for all.
    port
        0 lets the system choose; the line it prints says which.
    data
        The folder for what waits; made if missing. Default: "node" in your home folder for Overfence.
    tls_cert
        Certificate chain (PEM), together with --tls-key.
    tls_key
        Its key (PEM), without a password.
    """
    from . import serve as command

    return await command.run(host, port, data or here.home / "node", tls_cert, tls_key)


@app.command
async def demo(*, messages: int = 200, seed: int | None = None, keep: Path | None = None) -> int:
    """Watch two people and a server in processes of their own, with kills; nothing is lost, nothing doubled.

    Parameters
    ----------
    messages
        How many are sent; at least 50.
    seed
        Repeats a run's choices; each run prints its own.
    keep
        A folder for the databases and logs of the run, kept afterwards.
    """
    from ..demo import run_demo

    return await run_demo(messages, seed, keep)


@app.command(name="dev-chat", show=False)
def dev_chat(name: str, link: str | None = None, /, *, port: int = DEFAULT_PORT) -> Coroutine[Any, Any, Exit]:
    """Chat as NAME on this machine; `python3 dev.py chat NAME` calls it.

    Parameters
    ----------
    name
        Who to be; each name has a home of its own in .overfence, or in the folder OVERFENCE_DEV names.
    link
        The invite the other terminal printed.
    port
        Where the node of this machine listens; it is started if nobody does.
    """
    from .dev import run

    return run(name, link, port)


def log_to_stderr(verbose: bool) -> None:
    if not verbose:
        return
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    # They log the addresses of people at lower levels.
    for name in ("aioice", "aiortc", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; whatever happens is said in one sentence on stderr."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that has no ✓ shows something else; it is no reason to stop.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        everywhere, rest = divide(sys.argv[1:] if arguments is None else arguments)
        _, bound, _ = app.meta.parse_args(everywhere, exit_on_error=False, print_error=True)
        return launch(*bound.args, **bound.kwargs, rest=rest)
    except CycloptsError:
        return Exit.USAGE
    except (KeyboardInterrupt, Interrupted, asyncio.CancelledError):
        print("overfence: interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough (`overfence history | head`): the interpreter must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except Exception as error:
        if logging.getLogger().isEnabledFor(logging.INFO):
            traceback.print_exc()
        words, code = explain(first(error))
        print(f"overfence: {words}", file=sys.stderr)
        return code


def divide(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options that may stand anywhere, and the rest as it is. Only whole words count: "-vote" is no "-v"."""
    everywhere: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    while left and left[0] != "--":
        word = left.pop(0)
        if word == "--home":
            everywhere += [word, *left[:1]]
            del left[:1]
        elif word in ("-v", "--verbose") or word.startswith("--home="):
            everywhere.append(word)
        else:
            rest.append(word)
    return everywhere, rest + left


def first(error: Exception) -> Exception:
    """The error itself, or the first of those that tasks raised together."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
