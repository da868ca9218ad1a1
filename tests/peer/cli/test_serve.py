"""`overfence serve` as its operator meets it: one line, a clean end, and clear words when it can't."""

from __future__ import annotations

import signal
import socket
import urllib.request
from pathlib import Path

import pytest
from overfence.cli.exits import Exit

from .conftest import Start


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_serves_and_ends_cleanly(start: Start, tmp_path: Path, how: signal.Signals) -> None:
    serving = start("serve", "--port", "0", "--data", tmp_path / "node")
    port = serving.sees(r"^listening on ws://127\.0\.0\.1:(\d+)$")[1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
        assert answer.status == 200
    serving.process.send_signal(how)
    assert serving.ends() == Exit.OK
    assert serving.said.count("listening on") == 1
    assert "Traceback" not in serving.said
    assert (tmp_path / "node").is_dir()


def test_a_port_in_use_is_said_and_nothing_is_made(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = start("serve", "--port", str(port), "--data", tmp_path / "node")
        assert refused.ends() == Exit.IN_USE
    assert refused.said == (
        f"overfence: Cannot listen on 127.0.0.1 port {port}: another process listens there. "
        "Choose another with --port, or stop the process that listens there.\n"
    )
    assert not (tmp_path / "node").exists()


def test_a_data_directory_in_use_is_said_and_the_first_node_goes_on(start: Start, tmp_path: Path) -> None:
    first = start("serve", "--port", "0", "--data", tmp_path / "node")
    port = first.sees(r"^listening on ws://127\.0\.0\.1:(\d+)$")[1]
    second = start("serve", "--port", "0", "--data", tmp_path / "node")
    assert second.ends() == Exit.IN_USE
    assert "another node is using this data directory" in second.said
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=10) as answer:
        assert answer.status == 200


def test_a_certificate_without_its_key_is_said(start: Start, tmp_path: Path) -> None:
    refused = start("serve", "--port", "0", "--data", tmp_path / "node", "--tls-cert", tmp_path / "none.pem")
    assert refused.ends() == Exit.BAD_INPUT
    assert "a certificate and its key come together" in refused.said.lower()


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", r"0\.0\.0\.0"), ("::", r"\[::\]")])  # noqa: S104 - that is the story
def test_it_names_the_address_it_listens_on(start: Start, tmp_path: Path, host: str, shown: str) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    serving = start("serve", "--host", host, "--port", "0", "--data", tmp_path / "node")
    serving.sees(rf"^listening on ws://{shown}:\d+$")
    serving.sees(r"at its name or address")


def test_with_v_it_logs_what_happens(start: Start, tmp_path: Path) -> None:
    serving = start("-v", "serve", "--port", "0", "--data", tmp_path / "node")
    serving.sees(r"INFO overfence_signalling: event='serving'")
