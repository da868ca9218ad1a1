"""Envelopes that a node changes, copies, delays or takes elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from overfence.sealing import BadEnvelope

from .conftest import Meet
from .middleman import Middleman
from .mischief import changing_envelopes, cutting_off, flipping, noise


@pytest.mark.parametrize(
    "change",
    [pytest.param(flipping(at), id=f"byte {at}") for at in (0, 23, 24, 31, 32, 200, -17, -16, -1)]
    + [pytest.param(cutting_off(size), id=f"{size} bytes fewer") for size in (1, 16, 300, 60_000)]
    + [pytest.param(noise, id="noise")],
)
async def test_a_changed_envelope_is_refused(node: Middleman, meet: Meet, change: Callable[[bytes], bytes]) -> None:
    async with meet() as two:
        with node.does(changing_envelopes("Bob", change)) as mischief:
            await two.ada.says("one", "two")
            await mischief.has_struck.wait()
            refused = await two.bob.refuses(BadEnvelope)
            assert refused.contact is two.bob.contact
            assert two.bob.heard == ["hello"]
            await two.ticks_are_true()
        await two.hear_each_other()
