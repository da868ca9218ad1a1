"""What no file may carry: traces of somebody's machine, hosts of registries, notes to oneself; and no file too long."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE_ROOTS = ("reliability/", "signalling/", "peer/")
# Others' files, kept as they came.
NOT_OURS = ("web/vendor/", "LICENSE")
LONGEST_LINES = 450

# Put together here, so that this file does not carry what it forbids.
HOMES = "|".join(("ho" + "me", "Us" + "ers"))
HOSTS = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com", "deb." + "debian.org")
FORBIDDEN = {
    "a path of somebody's machine": re.compile(rf"(?<![\w.~-])/(?:(?:{HOMES})/\w|(?:root|work)(?:/|\b(?![\w.-])))"),
    "the host of a registry": re.compile("|".join(re.escape(host) for host in HOSTS)),
    "a note to oneself": re.compile(r"\b(?:{})\b".format("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")))),
}


def trespasses(name: str, text: str) -> list[str]:
    return [
        f"{name}:{number}: {what}: {line.strip()[:80]}"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in FORBIDDEN.items()
        if pattern.search(line)
    ]


def our_files() -> dict[str, str]:
    """The files git tracks or would, by name; without git, all that lie outside hidden folders."""
    git = shutil.which("git")
    names: list[str] = []
    if git and (ROOT / ".git").exists():
        listed = subprocess.run(
            [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        names = [name for name in listed.stdout.decode().split("\0") if name]
    else:
        files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        names = [path.as_posix() for path in files if not any(part.startswith((".", "__")) for part in path.parts[:-1])]
    found = {}
    for name in names:
        raw = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        if b"\0" not in raw and not name.startswith(NOT_OURS):
            found[name] = raw.decode("utf-8", errors="replace")
    return found


def test_no_file_carries_what_is_only_ours_here() -> None:
    files = our_files()
    assert "dev.py" in files
    found = [one for name, text in files.items() for one in trespasses(name, text)]
    assert not found, "\n" + "\n".join(found)


def test_no_source_file_is_too_long_to_read() -> None:
    sources = {name: text for name, text in our_files().items() if name.startswith(PACKAGE_ROOTS)}
    too_long = [
        f"{name}: {len(text.splitlines())} lines"
        for name, text in sources.items()
        if len(text.splitlines()) > LONGEST_LINES
    ]
    assert not too_long, "\n" + "\n".join(too_long)


@pytest.mark.parametrize(
    "line",
    [
        "open('/ho" + "me/ada/x')",
        "see /wo" + "rk/main",
        "cd /ro" + "ot",
        "https://files.python" + "hosted.org/x",
        "# TO" + "DO later",
        "// FIX" + "ME",
    ],
)
def test_each_kind_is_found(line: str) -> None:
    assert trespasses("planted.py", f"fine\n{line}\n")[0].startswith("planted.py:2: ")


@pytest.mark.parametrize(
    "line", ["work/life", "/workshop", "~/work/x", "/livez", "the home/away game", "root = 1", "a/root/b"]
)
def test_ordinary_lines_are_left_alone(line: str) -> None:
    assert trespasses("ordinary.py", line) == []
