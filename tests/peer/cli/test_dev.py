"""`dev.py chat NAME` in two terminals: the first brings up the node and says what to type in the second."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from overfence.cli.exits import Exit

from .conftest import Start

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_two_commands_and_two_people_talk(start: Start, tmp_path: Path, port: int) -> None:
    ada = start("dev-chat", "ada", "--port", port)
    pid = int(ada.sees(rf"^started a node at ws://127\.0\.0\.1:{port} .*Stop it with: kill (\d+)$")[1])
    try:
        link = ada.sees(r"^  python3 dev\.py chat bob '(overfence:[\w-]+)'$")[1]
        bob = start("dev-chat", "bob", link, "--port", port)
        bob.sees(rf"^using the node at ws://127\.0\.0\.1:{port}$")
        bob.sees(r"ada is now your contact")
        bob.types("hello")
        ada.sees(r"bob: hello$")
        assert {path.name for path in (tmp_path / ".overfence").iterdir()} == {"ada", "bob", "node"}
        # The node is nobody's child: whoever came first may leave.
        # Bob has a home now: the next link is for somebody who hasn't.
        ada.types("/invite")
        ada.sees(r"^  python3 dev\.py chat carol 'overfence:")
        ada.types("/quit")
        assert ada.ends() == Exit.OK
        again = start("dev-chat", "ada", "--port", port)
        again.sees(r"bob: hello$")
    finally:
        os.kill(pid, signal.SIGTERM)


def test_a_stranger_on_the_port_is_said(start: Start, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        refused = start("dev-chat", "ada", "--port", port)
        assert refused.ends() == Exit.IN_USE
    assert f"Something that is no node listens on port {port}" in refused.said


@pytest.mark.parametrize("name", ["../ada", ".ada", "a/b", "node"])
def test_a_name_that_is_no_folder_of_its_own_is_refused(start: Start, name: str, port: int) -> None:
    refused = start("dev-chat", name, "--port", port)
    assert refused.ends() == Exit.BAD_INPUT
    assert "names a folder here" in refused.said
