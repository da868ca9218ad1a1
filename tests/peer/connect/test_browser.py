"""A real browser reads what we write and talks on the same two channels, whoever offers."""

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
from overfence_reliability import Lane

from .conftest import PATIENCE_S, Side

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.requires("chromium")

# The browser's side of a link: open the two lanes, gather fully, echo on the lane it came by.
PAGE = """
globalThis.heard = [];
globalThis.pc = new RTCPeerConnection({iceServers: []});
globalThis.lanes = [
  pc.createDataChannel("fast", {negotiated: true, id: 0, ordered: false, maxRetransmits: 0}),
  pc.createDataChannel("bulk", {negotiated: true, id: 1, ordered: false}),
];
for (const lane of lanes) {
  lane.binaryType = "arraybuffer";
  lane.onmessage = ({data}) => { heard.push([lane.id, data.byteLength]); lane.send(data); };
}
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
    said = [(lane, size) for lane in Lane for size in (1, 1159, 1160)]
    for lane, size in said:
        ada.link.post(lane, bytes(size))
    await ada.hears(6)
    assert sorted(zip(ada.lanes, map(len, ada.heard), strict=True)) == said
    assert sorted(map(tuple, await browser.run("heard"))) == said
    await a_file_both_ways(ada, browser)
    await losses_are_skipped(ada, browser)


async def a_file_both_ways(ada: Side, browser: Browser) -> None:
    """A thousand bulk packets, echoed: nothing lost, nothing twice."""
    before = len(ada.heard)
    said = [b"%04d" % number + bytes(1156) for number in range(1000)]
    left = said[::-1]
    while left:
        ada.roomy.clear()
        while left and ada.link.room_bytes(Lane.BULK) >= 1160:
            ada.link.post(Lane.BULK, left.pop())
        if left:
            await asyncio.wait_for(ada.roomy.wait(), PATIENCE_S)
    assert sorted((await ada.hears(before + 1000))[before:]) == said


async def losses_are_skipped(ada: Side, browser: Browser) -> None:
    """Fast packets that never left are skipped, and what comes after them is heard at once."""
    association = ada.link._association
    assert association is not None
    security = association._security
    before = len(ada.heard)
    security.transmit, real = lambda packet: None, security.transmit  # type: ignore[method-assign]  # the lossy path
    for _ in range(5):
        ada.link.post(Lane.FAST, b"lost")
    security.transmit = real  # type: ignore[method-assign]  # the path is back
    for _ in range(20):
        ada.link.post(Lane.FAST, b"kept")
    assert (await ada.hears(before + 20))[before:] == [b"kept"] * 20
    assert association._outbox is not None
    async with asyncio.timeout(PATIENCE_S):
        while association._outbox.next_timer() is not None:  # noqa: ASYNC110 - nothing announces that all is told
            await asyncio.sleep(0.01)  # the browser's acknowledgements come when it likes


@pytest.mark.timeout(90)
async def test_a_browser_answers_our_offer_and_says_goodbye(sides: Callable[..., Side], browser: Browser) -> None:
    ada = sides()
    offer = json.dumps({"type": "offer", "sdp": await ada.link.offer()})
    script = f"pc.setRemoteDescription({offer}).then(() => pc.createAnswer()).then(gathered)"
    await ada.link.accept(await browser.run(script))
    await talk(ada, browser)
    await browser.run("lanes[1].close()")
    assert (await ada.ended(within_s=2.5)).reason == "remote"


@pytest.mark.timeout(90)
async def test_we_answer_a_browsers_offer(sides: Callable[..., Side], browser: Browser) -> None:
    ada = sides()
    answer = await ada.link.answer(await browser.run("pc.createOffer().then(gathered)"))
    await browser.run(f"pc.setRemoteDescription({json.dumps({'type': 'answer', 'sdp': answer})})")
    await talk(ada, browser)
    await browser.run("pc.close()")
    assert (await ada.ended(within_s=2.5)).reason == "remote"
