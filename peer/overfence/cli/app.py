"""The command line: what can be typed, and how each ending is told. Every command's libraries load when it runs."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from .exits import EPILOGUE, Exit, explain
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
# The launcher passes on every token as it stands, `--` included: the command's own parser reads it.
app.meta.end_of_options_delimiter = ""

_settings = Settings()


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    home: Annotated[Path | None, Parameter(env_var="OVERFENCE_HOME")] = None,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="")] = False,
) -> int:
    """Run a command.

    Parameters
    ----------
    home
        Where your keys, contacts and messages lie.
    verbose
        Log to stderr what happens (never what is said, nor to whom), and show tracebacks.
    """
    global _settings
    _settings = Settings(home)
    _settings.verbose = verbose
    log_to_stderr(verbose)
    command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=True)
    answer = command(*bound.args, **bound.kwargs)
    if asyncio.iscoroutine(answer):
        answer = asyncio.run(answer)
    return answer if isinstance(answer, int) else Exit.OK


@app.command
async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    data: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
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

    return await command.run(host, port, data or _settings.home / "node", tls_cert, tls_key)


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
    try:
        return int(app.meta(arguments, exit_on_error=False, print_error=True, result_action="return_value") or 0)
    except CycloptsError:
        return Exit.USAGE
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("overfence: interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough (`overfence history | head`): the interpreter must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except Exception as error:
        if _settings.verbose:
            traceback.print_exc()
        words, code = explain(error)
        print(f"overfence: {words}", file=sys.stderr)
        return code
