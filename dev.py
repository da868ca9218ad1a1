#!/usr/bin/env python3
"""Everything a developer types: makes `.venv` from requirements.lock when needed, then runs what you ask for in it.

Only the standard library, and only syntax that Python 3.6 can parse, so that an old Python gets a sentence, not a
SyntaxError. (Hence no `from __future__ import annotations` here.)
"""

import errno
import glob
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import deque

if sys.version_info < (3, 11):  # noqa: UP036 - old Pythons do arrive here: this file is run before any installer looks
    old = "{}.{}".format(*sys.version_info)
    sys.exit(f"dev.py needs Python 3.11 or newer; this is {old} ({sys.executable}). Try: python3.11 dev.py")
if os.name != "posix":
    sys.exit("dev.py runs on Linux and macOS. On Windows, use it inside WSL.")

ROOT = os.path.dirname(os.path.realpath(__file__))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
PYTHON_VERSION = "{}.{}".format(*sys.version_info)
LOCK = os.path.join(ROOT, "requirements.lock")
PROJECT = os.path.join(ROOT, "pyproject.toml")
UV_HOME = os.path.join(ROOT, ".uv")

# Written last: an environment without it, or with another one's, was never finished.
STAMP = os.path.join(VENV, "overfence-stamp")
# It only writes the lock file, so it stays outside it; pinned so that two people write the same one.
UV = "uv==0.13.9"
# How long a stopped pip may take to clean up after itself before it is killed.
STOP_S = 10.0
# The exit code for an environment that could not be made.
SETUP_FAILED = 3

HELP = """\
usage: python3 dev.py COMMAND [arguments]

  demo [arguments]         two people, one server, killed and restarted: see that nothing is lost
  chat NAME [arguments]    talk as NAME on this machine; prints the command for the second terminal
  serve [arguments]        run a node
  test [pytest arguments]  run the tests
  check                    ruff, mypy --strict and the import directions
  lock [--check|--upgrade] rewrite requirements.lock (or only say whether it is current, or take newer versions)

The first command makes .venv from requirements.lock; later ones start at once.
Arguments are passed on: `dev.py test --help` is pytest's help.
"""

# What pip says when the network, not the lock file, is at fault.
NO_NETWORK = re.compile(
    r"connection broken by|Failed to establish a new connection|name resolution|NameResolutionError|"
    r"Network is unreachable|ConnectTimeout|ReadTimeout|Read timed out|ProxyError|Connection refused|dns error|"
    r"error sending request|Failed to fetch",
    re.IGNORECASE,
)
NOT_FOUND = re.compile(r"(?:No matching distribution found for|satisfies the requirement) (\S+)")
BAD_HASH = re.compile(r"do not match the hashes|Hash mismatch", re.IGNORECASE)
DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE)
AGAIN = "Nothing half-made will be used: run the same command again."


class Failed(Exception):
    """The environment could not be made; the message says what to do, and nothing half-made will be used."""


def say(text: str) -> None:
    """To stderr, because stdout belongs to the command (`demo` ends it with a line of JSON)."""
    print(f"dev.py: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="", file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    command, rest = arguments[0], arguments[1:]
    problem = misuse(command, rest)
    if problem:
        say(f"{problem} See: python3 dev.py --help")
        return 2
    try:
        return run(command, rest)
    except Failed as failure:
        say(str(failure))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        say("The disk is full. Make room, then run this again." if full else f"The system refused: {error}")
    except KeyboardInterrupt:
        say("Stopped. What is half-made is made anew next time.")
        return 130
    return SETUP_FAILED


def misuse(command: str, rest: list[str]) -> str:
    if command not in ("demo", "chat", "serve", "test", "check", "lock"):
        return f"There is no command {command!r}."
    if command == "chat" and not rest:
        return "chat needs a name, as in: python3 dev.py chat ada."
    if command == "check" and rest:
        return "check takes no arguments."
    if command == "lock" and rest not in ([], ["--check"], ["--upgrade"]):
        return "lock takes nothing, --check or --upgrade."
    return ""


def run(command: str, rest: list[str]) -> int:
    if command == "lock":
        return lock(rest)
    prepare()
    if command == "check":
        return check()
    if command == "test":
        os.chdir(ROOT)
        return become("pytest", rest)
    return become("overfence", ["dev-chat" if command == "chat" else command, *rest])


def become(module: str, arguments: list[str]) -> int:
    """Replaces this process, so that signals, the terminal and the exit code are the command's own."""
    sys.stdout.flush()
    os.execve(PYTHON, [PYTHON, "-m", module, *arguments], environment(for_pip=False))


def environment(for_pip: bool) -> dict[str, str]:
    """The caller's variables, without those that would point an interpreter or pip away from `.venv`."""
    unwanted = {"PYTHONHOME", "__PYVENV_LAUNCHER__"}
    if for_pip:
        unwanted |= {"PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV"}
        unwanted |= {"PIP_QUIET", "PIP_VERBOSE", "PIP_DRY_RUN", "PIP_NO_DEPS", "PIP_REQUIREMENT", "PIP_PYTHON"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    # The answers of pip and the C library are read below, so they must be in English.
    return {**kept, "LC_ALL": "C.UTF-8", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"} if for_pip else kept


def wanted() -> tuple[str, str]:
    """What a finished environment would have been made from: (all that means a rebuild, the project's own file).

    The checkout's place counts because scripts and the editable install hold absolute paths."""
    with open(LOCK, "rb") as file:
        made_from = hashlib.sha256(file.read())
    for part in (ROOT, sys.implementation.name, PYTHON_VERSION, os.uname().machine):
        made_from.update(b"\0" + os.fsencode(part))
    with open(PROJECT, "rb") as file:
        return made_from.hexdigest(), hashlib.sha256(file.read()).hexdigest()


def stamped() -> tuple[str, ...]:
    """What `.venv` was made from; empty when it was never finished, or its Python has gone."""
    try:
        with open(STAMP, encoding="ascii") as file:
            words = tuple(file.read().split())
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return ()
    return words if os.access(PYTHON, os.X_OK) else ()


def prepare() -> None:
    """Returns once `.venv` is what the lock file says; only two files are read when it already is."""
    if not (os.path.exists(LOCK) and os.path.exists(PROJECT)):
        raise Failed(f"requirements.lock or pyproject.toml is missing from {ROOT}: is this a whole checkout?")
    if stamped() == wanted():
        return
    with Turn() as turn:
        # Another dev.py may have made it while this one waited.
        if stamped() != wanted():
            make(turn)


class Turn:
    """One dev.py at a time changes `.venv`; the others wait.

    The folder itself is what is locked: it needs no file of its own, and no editor replaces it. Installers inherit
    the lock, so one that outlives a killed dev.py still keeps the next from building into its folder."""

    def __enter__(self) -> "Turn":
        import fcntl

        self.file = os.open(ROOT, os.O_RDONLY)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another dev.py is at work in this checkout: waiting for it to finish")
            fcntl.flock(self.file, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.file)


def make(turn: Turn) -> None:
    started_at = time.monotonic()

    def step(text: str) -> None:
        say(f"[{time.monotonic() - started_at:5.1f} s] {text}")

    leave_own_environment()
    made_from, project = wanted()
    old = stamped()
    if old[:1] != (made_from,):
        say(f"making .venv for Python {PYTHON_VERSION} from requirements.lock (once; about a minute)")
        if os.path.lexists(VENV):
            step("removing the .venv that is there: " + ("made for something else" if old else "never finished"))
            remove_venv()
        step("an empty environment")
        create_venv(turn)
        with open(LOCK, encoding="utf-8") as file:
            count = len(re.findall(r"^[A-Za-z0-9]", file.read(), re.MULTILINE))
        step(f"up to {count} packages, each checked against its hash")
        # Only ready-made files: compiling one would run its unpinned build tools on this machine.
        install(turn, ["--only-binary", ":all:", "--require-hashes", "-r", LOCK])
    else:
        say("pyproject.toml has changed")
        os.unlink(STAMP)
    step("overfence itself, editable")
    install(turn, ["--no-deps", "--no-build-isolation", "--editable", ROOT])
    with open(STAMP + ".new", "w", encoding="ascii") as file:
        file.write(f"{made_from}\n{project}\n")
    os.replace(STAMP + ".new", STAMP)
    step("ready")


def leave_own_environment() -> None:
    """`.venv/bin/python dev.py` can't rebuild the ground it stands on: the Python under it goes on instead."""
    base = getattr(sys, "_base_executable", "")
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV) and base and os.path.exists(base):
        os.execv(base, [base, os.path.join(ROOT, "dev.py"), *sys.argv[1:]])


def remove_venv() -> None:
    # The stamp first: a removal that is interrupted must not look finished.
    for path in (STAMP, VENV):
        if os.path.islink(path) or os.path.isfile(path):
            os.unlink(path)
    if os.path.isdir(VENV):
        shutil.rmtree(VENV)


def create_venv(turn: Turn) -> None:
    """Without pip, which Debian's venv module cannot bring: the running Python's pip installs from outside."""
    if has(sys.executable, "venv", "--help"):
        return finish([sys.executable, "-m", "venv", "--without-pip", VENV], turn)
    # Some systems package that module apart. This is what it makes, as far as an interpreter looks.
    base = os.path.realpath(sys.executable)
    os.makedirs(os.path.join(VENV, "lib", f"python{PYTHON_VERSION}", "site-packages"))
    os.makedirs(os.path.dirname(PYTHON))
    os.symlink(base, PYTHON)
    with open(os.path.join(VENV, "pyvenv.cfg"), "w", encoding="utf-8") as file:
        file.write(f"home = {os.path.dirname(base)}\ninclude-system-site-packages = false\n")


def has(python: str, module: str, *arguments: str) -> bool:
    answer = subprocess.run([python, "-m", module, *arguments], env=environment(for_pip=True), capture_output=True)
    return answer.returncode == 0


def install(turn: Turn, what: list[str]) -> None:
    tail = ["install", "--progress-bar", "off", "--no-warn-script-location", *what]
    if has(sys.executable, "pip", "--python", PYTHON, "--version"):
        return finish([sys.executable, "-m", "pip", "--python", PYTHON, *tail], turn)
    if not has(PYTHON, "pip", "--version"):
        if not has(PYTHON, "ensurepip", "--version"):
            raise Failed(
                f"This Python ({sys.executable}) has no pip (22.3 or newer). On Debian and Ubuntu: "
                "apt install python3-pip. Elsewhere: python3 -m ensurepip"
            )
        finish([PYTHON, "-m", "ensurepip"], turn)
    return finish([PYTHON, "-m", "pip", *tail], turn)


def finish(command: list[str], turn: Turn) -> None:
    """Runs an installer to its end, showing on a terminal where it is; its own words only if it fails."""
    said: deque[str] = deque(maxlen=2000)

    def stopped(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stopped)
    # A session of its own, because pip starts a second pip: both are stopped, and together.
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(for_pip=True),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        pass_fds=(turn.file,),
    )
    try:
        assert child.stdout is not None  # noqa: S101 - for the type checker: a pipe was asked for
        for line in child.stdout:
            said.append(line.rstrip())
            show_progress(line)
        code = child.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
        show_progress("")
        stop(child)
    if code:
        raise Failed(explain("\n".join(said)))


def show_progress(line: str) -> None:
    if sys.stderr.isatty() and (not line or line.startswith(("Collecting ", "Installing collected"))):
        print(f"\r\x1b[K{line.strip()[:70]}", end="", file=sys.stderr, flush=True)


def stop(child: "subprocess.Popen[str]") -> None:
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        try:
            os.killpg(child.pid, signal_number)
            child.wait(STOP_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def explain(output: str) -> str:
    """What went wrong in one or two sentences, with the installer's last words when they are needed."""
    found, last = NOT_FOUND.search(output), "\n".join(output.splitlines()[-15:])
    what = found.group(1) if found else "a package"
    if DISK_FULL.search(output):
        return f"The disk is full. Make room; {AGAIN[0].lower()}{AGAIN[1:]}"
    if NO_NETWORK.search(output):
        return f"No network: {what} could not be fetched. {AGAIN}"
    if BAD_HASH.search(output):
        return f"A downloaded file is not the one requirements.lock names, so it was not installed.\n{last}"
    if found:
        return f"There is no ready-made {what} for this Python and system where pip looks. {AGAIN}"
    return f"The installer failed. Its last words:\n{last}"


def check() -> int:
    """Every check runs, so that one round shows everything that is wrong."""
    os.chdir(ROOT)
    folders = ("reliability", "signalling", "peer", "tests", "benchmarks", "examples", "dev.py")
    code = [path for path in folders if path.endswith(".py") or glob.glob(f"{path}/**/*.py", recursive=True)]
    commands = {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "mypy --strict": ["mypy", "--strict", *code],
        "import directions": ["pytest", "-q", "tests/house/test_imports.py"],
    }
    failed = []
    for name, command in commands.items():
        say(name)
        if subprocess.run([PYTHON, "-m", *command], env=environment(for_pip=False)).returncode:
            failed.append(name)
    say("failed: " + ", ".join(failed) if failed else "all checks passed")
    return 1 if failed else 0


def lock(options: list[str]) -> int:
    """Resolves for every supported Python and system at once, keeping the versions already there."""
    written = os.path.join(UV_HOME, "requirements.lock")
    with Turn() as turn:
        uv = bring_uv(turn)
        if os.path.exists(written):
            os.unlink(written)
        if os.path.exists(LOCK) and options != ["--upgrade"]:
            shutil.copyfile(LOCK, written)
        flags = "--universal --python-version 3.11 --generate-hashes --no-header --no-annotate --all-extras --quiet"
        finish([uv, "pip", "compile", PROJECT, *flags.split(), "--group", "dev", "-o", written], turn)
        with open(written, encoding="utf-8") as file:
            text = file.read()
        if "://" in text or ROOT in text:
            raise Failed("The new lock would name a host or a path of this machine; requirements.lock is unchanged.")
        if options != ["--check"]:
            os.replace(written, LOCK)
            say("requirements.lock written")
            return 0
    with open(LOCK, encoding="utf-8") as file:
        stale = file.read() != text
    say("requirements.lock is out of date: python3 dev.py lock" if stale else "requirements.lock is current")
    return int(stale)


def bring_uv(turn: Turn) -> str:
    uv = os.path.join(UV_HOME, "bin", "uv")
    if not os.path.isdir(os.path.join(UV_HOME, UV.replace("==", "-") + ".dist-info")):
        say(f"fetching {UV} into .uv")
        shutil.rmtree(UV_HOME, ignore_errors=True)
        python = sys.executable if has(sys.executable, "pip", "--version") else PYTHON
        finish([python, "-m", "pip", "install", "--only-binary", ":all:", "--target", UV_HOME, UV], turn)
    return uv


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
