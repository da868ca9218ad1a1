"""What a handshake is read by, and what its first message must show (docs/protocol.md §2)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

from ..errors import BadPayload
from ..history import postbox
from ..identity import BadDeviceList, Device, DeviceList, verify
from ..sealing import BadState, PrekeySecret
from .payload import AnyItem, Introduction


class Shelf(Mapping[bytes, PrekeySecret]):
    """My prekey secrets by id, read only when a handshake asks."""

    def __init__(self, tx: sqlite3.Connection) -> None:
        self._tx = tx

    def __getitem__(self, prekey_id: bytes) -> PrekeySecret:
        raw = postbox.prekey(self._tx, prekey_id)
        if raw is None:
            raise KeyError(prekey_id)
        try:
            return PrekeySecret.decode(raw)
        except BadState:
            # As good as gone; whoever used it meets the next card.
            raise KeyError(prekey_id) from None

    def __iter__(self) -> Iterator[bytes]:
        yield from (row[0] for row in self._tx.execute("SELECT prekey_id FROM prekeys"))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def check_introduction(account: bytes, device: Device, items: list[AnyItem]) -> Introduction:
    """A session's first message must show its device in its account's list, before anything of it is shown (§2)."""
    introduction = next((item for item in items if isinstance(item, Introduction)), None)
    if introduction is None:
        raise BadPayload("a new session without an introduction")
    listed = DeviceList.parse(introduction.device_list)
    if listed.account != account or not listed.holds(device.dsk, device.dik):
        raise BadDeviceList("the device is not in its account's list")
    # An account can list any key; only its holder can sign that it belongs there.
    if not verify(device.dsk, "device", account + device.dik, introduction.consent):
        raise BadDeviceList("the device has not signed that it is its account's")
    return introduction
