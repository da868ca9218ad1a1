"""Marks that say what a test needs: where that is missing it is skipped with the reason; in CI it fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from functools import cache

import pytest
from hypothesis import settings

MARKERS = (
    "nightly: long; runs only with OVERFENCE_NIGHTLY=1",
    "requires(*tools): needs these programs, as in requires('strace', 'tcpdump')",
    "needs_root: needs the rights of root",
    "needs_netns: makes network namespaces (root, and a system that lets it)",
)

# Debian keeps tcpdump and nft where only root's PATH looks.
PROGRAMS = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))

NIGHTLY = os.environ.get("OVERFENCE_NIGHTLY") == "1"

# No deadline: on a shared machine it measures the neighbours. The blob repeats a failure found elsewhere.
settings.register_profile("daily", deadline=None, print_blob=True)
settings.register_profile("nightly", deadline=None, print_blob=True, max_examples=2000)
settings.load_profile("nightly" if NIGHTLY else "daily")


def pytest_configure(config: pytest.Config) -> None:
    # Whatever started us in the background may have SIGINT ignored, and every process under test would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for line in MARKERS:
        config.addinivalue_line("markers", line)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("nightly") and not NIGHTLY:
        pytest.skip("nightly: set OVERFENCE_NIGHTLY=1 to run it")
    lacking = [f"the program {tool}" for mark in item.iter_markers("requires") for tool in mark.args if not found(tool)]
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        lacking.append("root")
    if item.get_closest_marker("needs_netns") and not network_namespaces():
        lacking.append("network namespaces")
    if lacking:
        # A skip nobody reads would let a promise go untested for months.
        unmet = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        unmet(f"this machine lacks {', '.join(sorted(set(lacking)))}")


def found(tool: str) -> bool:
    return shutil.which(tool, path=PROGRAMS) is not None


@cache
def network_namespaces() -> bool:
    unshare = shutil.which("unshare", path=PROGRAMS)
    ip = shutil.which("ip", path=PROGRAMS)
    if unshare is None or ip is None:
        return False
    tried = subprocess.run([unshare, "--net", ip, "link", "set", "lo", "up"], capture_output=True, timeout=20)
    return tried.returncode == 0
