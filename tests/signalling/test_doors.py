"""A node's doors: TLS, health, and the page that says what it is."""

from __future__ import annotations

import datetime
import os
import ssl
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from overfence_signalling import (
    SOCKET_PATH,
    SUBPROTOCOL,
    BadTls,
    ClientHello,
    Node,
    NodeConfig,
    NodeHello,
    StorageFailed,
    decode_node,
    encode,
)
from overfence_signalling.store import Store

from .conftest import Client, Start


def certificate(folder: Path, name: str, *, password: bytes | None = None) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    cert_path, key_path = folder / f"{name}.crt", folder / f"{name}.key"
    cert_path.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
    return cert_path, key_path


async def test_with_a_certificate_it_speaks_tls(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "a")
    context = ssl.create_default_context(cafile=str(cert))
    async with Node.open(NodeConfig(host="localhost", tls_cert=cert, tls_key=key)) as node:
        assert node.url == f"wss://localhost:{node.port}"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(node.url + SOCKET_PATH, protocols=[SUBPROTOCOL], ssl=context) as ws,
        ):
            await ws.send_bytes(encode(ClientHello(version=1, nonce=os.urandom(32))))
            assert isinstance(decode_node(await ws.receive_bytes()), NodeHello)


async def test_a_bad_certificate_is_said(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "a")
    _, other = certificate(tmp_path, "b")
    locked_cert, locked = certificate(tmp_path, "c", password=b"secret")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")
    for tls_cert, tls_key in (
        (cert, None),
        (None, key),
        (cert, other),
        (cert, tmp_path / "missing"),
        (nonsense, key),
        (locked_cert, locked),
    ):
        with pytest.raises(BadTls):
            async with Node.open(NodeConfig(tls_cert=tls_cert, tls_key=tls_key, data=tmp_path / "data")):
                pass
    assert not (tmp_path / "data").exists()


async def get(node: Node, path: str) -> tuple[int, str, dict[str, str]]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{node.port}{path}") as answer:
        return answer.status, await answer.text(), dict(answer.headers)


async def test_health_says_alive_and_ready(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start() as node:
        assert (await get(node, "/livez"))[:2] == (200, "alive\n")
        assert (await get(node, "/readyz"))[:2] == (200, "ready\n")

        async def broken(self: Store) -> None:
            raise StorageFailed("disk I/O error")

        with monkeypatch.context() as patch:
            patch.setattr(Store, "answers", broken)
            assert (await get(node, "/readyz"))[0] == 503
            assert (await get(node, "/livez"))[0] == 200


async def test_the_page_says_what_a_node_is_and_loads_nothing_from_elsewhere(start: Start) -> None:
    async with start() as node:
        status, page, headers = await get(node, "/")
        assert status == 200 and headers["Content-Type"].startswith("text/html")
        for said in ("can\N{RIGHT SINGLE QUOTATION MARK}t read", "What it does see", "network address of every device"):
            assert said in page
        loaded = [page]
        for path in ("/node.css", "/node.js"):
            status, text, _ = await get(node, path)
            assert status == 200
            loaded.append(text)
        assert not [text for text in loaded if "http://" in text or "https://" in text]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert headers["Server"] == "overfence"
        for path in ("/nothing", "/../pyproject.toml", "/node.db", "/%2e%2e/pyproject.toml"):
            assert (await get(node, path))[0] == 404
        assert (await get(node, "/nothing"))[2]["Content-Security-Policy"] == policy


async def test_the_public_status_tells_of_nobody(start: Start, mk: bytes) -> None:
    async with start() as node, Client.to(node) as client:
        before = (await get(node, "/status.json"))[1]
        await client.open(mk)
        await client.put(mk, b"x" * 1_000)
        after = (await get(node, "/status.json"))[1]
        assert before == after, "a single person's coming and writing doesn't show"
        assert node.id.hex() in after


async def test_other_things_at_the_socket_are_refused(start: Start) -> None:
    async with start() as node:
        assert (await get(node, "/ws"))[0] == 400
        async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{node.port}/ws") as answer:
            assert answer.status == 405
