"""dev.py with a stand-in for pip, so that its ways of failing can be arranged, without a network."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60

# Knows `--version` and `install`. Each install is written down, and goes as the file `behave` in the log says, if the
# word in the file `only` is among its arguments.
STAND_IN = """
import os, pathlib, sys, time
here = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
if "--version" in arguments:
    sys.exit(0)
log = pathlib.Path(os.environ["STAND_IN"])
with open(log / "calls", "a") as calls:
    calls.write(" ".join(arguments) + "\\n")
behaviour = (log / "behave").read_text() if (log / "behave").exists() else ""
if (log / "only").exists() and (log / "only").read_text() not in arguments:
    behaviour = ""
if behaviour == "hang":
    (log / "hanging").write_text(str(os.getpid()))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log / "go").exists():
        time.sleep(0.02)
elif behaviour:
    print(behaviour)
    sys.exit(1)
python = pathlib.Path(arguments[arguments.index("--python") + 1])
site = next(python.parent.parent.glob("lib/python3*/site-packages"))
(site / "overfence").mkdir(exist_ok=True)
(site / "overfence" / "__main__.py").write_text("import sys; print('overfence', sys.argv[1:]); sys.exit(7)")
"""

NO_NETWORK = """\
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError: Failed to establish a new connection'
ERROR: Could not find a version that satisfies the requirement aiohttp==9.9.9 (from versions: none)
ERROR: No matching distribution found for aiohttp==9.9.9"""


class Checkout:
    """A small copy of the project, a Python of its own to run dev.py with, and a log of what its pip was asked."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.root.mkdir()
        shutil.copy(ROOT / "dev.py", self.root)
        (self.root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
        (self.root / "requirements.lock").write_text("aiohttp==9.9.9 \\\n    --hash=sha256:00\n")
        self.log = folder / "log"
        self.log.mkdir()
        bare = folder / "bare"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True, timeout=PATIENCE_S)
        self.python = bare / "bin" / "python"
        self.site = next(bare.glob("lib/python3*/site-packages"))
        (self.site / "pip.py").write_text(STAND_IN)
        self.stamp = self.root / ".venv" / "overfence-stamp"
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        process = subprocess.Popen(
            [self.python, self.root / "dev.py", *arguments],
            env={**kept, "STAND_IN": str(self.log)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def calls(self) -> list[str]:
        return (self.log / "calls").read_text().splitlines() if (self.log / "calls").exists() else []

    def behave(self, how: str, *, only: str = "install") -> None:
        (self.log / "only").write_text(only)
        (self.log / "behave").write_text(how)

    def hanging(self) -> None:
        wait_for(lambda: (self.log / "hanging").exists())


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    one = Checkout(tmp_path)
    yield one
    (one.log / "go").touch()
    for process in one.started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE_S)


def test_the_first_command_makes_the_environment_and_becomes_the_command(checkout: Checkout) -> None:
    code, out, err = checkout.run("demo", "--messages", "5")
    assert (code, out) == (7, "overfence ['demo', '--messages', '5']\n")
    assert "making .venv" in err and "ready" in err
    packages, project = checkout.calls()
    assert "--require-hashes" in packages and "--only-binary :all:" in packages
    assert "--no-deps --no-build-isolation --editable" in project


def test_the_second_command_starts_at_once(checkout: Checkout) -> None:
    checkout.run("serve")
    code, out, err = checkout.run("chat", "ada")
    assert (code, out, err) == (7, "overfence ['dev-chat', 'ada']\n", "")
    assert len(checkout.calls()) == 2


@pytest.mark.parametrize("lost", ["stamp", "everything but the stamp", "the Python"])
def test_a_half_made_environment_is_made_anew(checkout: Checkout, lost: str) -> None:
    checkout.run("serve")
    left = checkout.root / ".venv" / "left"
    left.touch()
    if lost == "stamp":
        checkout.stamp.unlink()
    elif lost == "the Python":
        (checkout.root / ".venv" / "bin" / "python").unlink()
    else:
        checkout.stamp.write_text("0123 4567\n")
    code, _, err = checkout.run("serve")
    assert code == 7 and "removing the .venv" in err
    assert not left.exists() and len(checkout.calls()) == 4


def test_a_new_lock_means_a_new_environment_a_new_pyproject_only_a_new_install(checkout: Checkout) -> None:
    checkout.run("serve")
    left = checkout.root / ".venv" / "left"
    left.touch()
    (checkout.root / "pyproject.toml").write_text("[project]\nname = 'y'\n")
    checkout.run("serve")
    assert left.exists() and len(checkout.calls()) == 3
    (checkout.root / "requirements.lock").write_text("aiohttp==9.9.10 \\\n    --hash=sha256:00\n")
    checkout.run("serve")
    assert not left.exists() and len(checkout.calls()) == 5


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_stopped_midway_it_leaves_no_stamp_and_the_next_run_builds(
    checkout: Checkout, how: signal.Signals, code: int
) -> None:
    checkout.behave("hang")
    first = checkout.start("serve")
    checkout.hanging()
    first.send_signal(how)
    assert first.wait(PATIENCE_S) == code
    assert not checkout.stamp.exists()
    (checkout.log / "go").touch()  # an installer that outlived the kill may now end
    checkout.behave("")
    code, _, err = checkout.run("serve")
    assert code == 7 and "never finished" in err


@pytest.mark.parametrize("step", ["--require-hashes", "--editable"])
def test_whichever_step_fails_the_environment_is_not_used(checkout: Checkout, step: str) -> None:
    checkout.behave("something new", only=step)
    assert checkout.run("serve")[0] == 3
    assert not checkout.stamp.exists()


def test_a_changed_pyproject_that_cannot_be_installed_leaves_no_stamp(checkout: Checkout) -> None:
    checkout.run("serve")
    (checkout.root / "pyproject.toml").write_text("[project]\nname = 'y'\n")
    checkout.behave("something new")
    assert checkout.run("serve")[0] == 3
    assert not checkout.stamp.exists()


def test_ctrl_c_takes_the_installer_with_it(checkout: Checkout) -> None:
    checkout.behave("hang")
    first = checkout.start("serve")
    checkout.hanging()
    wait_for(lambda: (checkout.log / "hanging").read_text() != "")
    installer = int((checkout.log / "hanging").read_text())
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=PATIENCE_S)
    assert "Stopped." in err and "Traceback" not in err
    with pytest.raises(ProcessLookupError):
        os.kill(installer, 0)


@pytest.mark.parametrize("killed", [False, True])
def test_a_second_run_waits_for_the_first_and_says_so(checkout: Checkout, killed: bool) -> None:
    checkout.behave("hang")
    first = checkout.start("serve")
    checkout.hanging()
    if killed:
        # Its installer lives on and still writes: the lock must be the installer's too.
        first.kill()
        first.wait(PATIENCE_S)
    second = checkout.start("serve")
    assert second.stderr is not None
    assert "waiting" in second.stderr.readline()
    assert len(checkout.calls()) == 1
    checkout.behave("")
    (checkout.log / "go").touch()
    second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 7
    assert len(checkout.calls()) == (3 if killed else 2)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (NO_NETWORK, "No network: aiohttp==9.9.9 could not be fetched"),
        (NO_NETWORK.splitlines()[-1], "no ready-made aiohttp==9.9.9"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "The disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one requirements.lock"),
        ("something new", "something new"),
    ],
)
def test_what_pip_could_not_do_is_said_in_words(checkout: Checkout, said: str, expected: str) -> None:
    checkout.behave(said)
    code, _, err = checkout.run("serve")
    assert code == 3 and expected in err
    assert not checkout.stamp.exists()
    checkout.behave("")
    assert checkout.run("serve")[0] == 7


def test_without_any_pip_it_says_how_to_get_one(checkout: Checkout) -> None:
    (checkout.site / "pip.py").unlink()
    # The new environment finds no ensurepip either, as on Debian without python3-venv.
    blocker = "import sys; sys.modules['ensurepip'] = None\n"
    (checkout.site / "sitecustomize.py").write_text(blocker)
    script = checkout.root / "dev.py"
    script.write_text(script.read_text().replace('has(PYTHON, "ensurepip"', 'has(sys.executable, "ensurepip"'))
    code, _, err = checkout.run("serve")
    assert code == 3 and "has no pip" in err and "apt install python3-pip" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dance"], "There is no command 'dance'"),
        (["chat"], "chat needs a name"),
        (["check", "x"], "check takes no"),
        (["lock", "--force"], "lock takes nothing"),
    ],
)
def test_misuse_is_answered_before_anything_is_made(checkout: Checkout, arguments: list[str], said: str) -> None:
    code, _, err = checkout.run(*arguments)
    assert code == 2 and said in err
    assert not (checkout.root / ".venv").exists()


def test_help_needs_no_environment(checkout: Checkout) -> None:
    code, out, err = checkout.run("--help")
    assert code == 0 and err == ""
    assert all(f"\n  {command}" in out for command in ("demo", "chat NAME", "serve", "test", "check", "lock"))
    assert not (checkout.root / ".venv").exists()


def test_an_old_python_can_read_the_file_and_is_told(checkout: Checkout) -> None:
    source = (ROOT / "dev.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    # Only the name of the version is old here; every syntax it could trip over is parsed above.
    old = "import sys, runpy; sys.version_info = (3, 8, 18); runpy.run_path(sys.argv[1], run_name='__main__')"
    told = subprocess.run(
        [checkout.python, "-c", old, checkout.root / "dev.py"], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert told.returncode == 1 and told.stdout == ""
    assert told.stderr.startswith("dev.py needs Python 3.11 or newer; this is 3.8 (")
