"""A real browser reads what we write and talks on the same channel, whoever offers."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from .conftest import PATIENCE_S, Side

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.requires("chromium")

# The browser's side of a link: gather fully, answer pings, echo data.
PAGE = """
globalThis.heard = [];
globalThis.pc = new RTCPeerConnection({iceServers: []});
globalThis.channel = pc.createDataChannel("overfence", {negotiated: true, id: 0});
channel.binaryType = "arraybuffer";
channel.onmessage = ({data}) => {
  const bytes = new Uint8Array(data);
  if (bytes[0] === 1) channel.send(new Uint8Array([2]));
  if (bytes[0] === 0) { heard.push(bytes.length - 1); channel.send(bytes); }
};
globalThis.gathered = async (description) => {
  await pc.setLocalDescription(description);
  if (pc.iceGatheringState !== "complete")
    await new Promise(done => {
      pc.onicegatheringstatechange = () => pc.iceGatheringState === "complete" && done();
      setTimeout(done, 3000);  // without any interface it never says "complete"
    });
  return pc.localDescription.sdp;
};
"""


class Browser:
    """One page, driven by the browser's own debugging protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def run(self, script: str) -> Any:
        number = next(self._ids)
        parameters = {"expression": script, "awaitPromise": True, "returnByValue": True}
        await self._socket.send_json({"id": number, "method": "Runtime.evaluate", "params": parameters})
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await self._socket.receive_json()
                if answer.get("id") == number:
                    assert "exceptionDetails" not in answer["result"], answer
                    return answer["result"]["result"].get("value")


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    process = await asyncio.create_subprocess_exec(
        *(CHROMIUM or "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
        *("--remote-debugging-port=0", f"--user-data-dir={tmp_path}/profile", "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            while not (line := (await process.stderr.readline()).decode()).startswith("DevTools listening on "):
                assert process.returncode is None
        port = line.split(":")[2].split("/")[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [each for each in await answer.json() if each["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"]) as socket:
                page = Browser(socket)
                await page.run(PAGE)
                yield page
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE_S)


async def talk(ada: Side, browser: Browser) -> None:
    if not await browser.run("pc.localDescription.sdp.includes('a=candidate')"):
        pytest.skip("this browser finds no address on a machine with only a loopback interface")
    await ada.link.opened(PATIENCE_S)
    for size in (0, 1, 65_536):
        ada.link.send(bytes(size))
    assert [len(each) for each in await ada.hears(3)] == [0, 1, 65_536]
    assert await browser.run("heard") == [0, 1, 65_536]


@pytest.mark.timeout(90)
async def test_a_browser_answers_our_offer_and_says_goodbye(sides: Callable[..., Side], browser: Browser) -> None:
    ada = sides()
    offer = json.dumps({"type": "offer", "sdp": await ada.link.offer()})
    script = f"pc.setRemoteDescription({offer}).then(() => pc.createAnswer()).then(gathered)"
    await ada.link.accept(await browser.run(script))
    await talk(ada, browser)
    await browser.run("channel.close()")
    assert (await ada.ended(within_s=2.5)).reason == "remote"


@pytest.mark.timeout(90)
async def test_we_answer_a_browsers_offer(sides: Callable[..., Side], browser: Browser) -> None:
    ada = sides()
    answer = await ada.link.answer(await browser.run("pc.createOffer().then(gathered)"))
    await browser.run(f"pc.setRemoteDescription({json.dumps({'type': 'answer', 'sdp': answer})})")
    await talk(ada, browser)
    await browser.run("pc.close()")
    assert (await ada.ended(within_s=2.5)).reason == "remote"
