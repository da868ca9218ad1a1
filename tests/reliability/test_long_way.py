"""Over a long way, what later packets tell is worth more than any timer."""

from __future__ import annotations

import pytest

from .conftest import Wire

ONE_WAY_S = 0.2


def test_three_later_arrivals_spare_the_wait_for_a_timer() -> None:
    wire = Wire(one_way_s=ONE_WAY_S)
    wire.meet(2.0)
    for number in range(5):
        wire.ada.say(b"before %d" % number)
        wire.run_for(1.0)
    wire.lose_next()
    said_at = wire.now
    for number in range(4):
        wire.ada.say(b"%d" % number)
        wire.run_for(0.001)
    wire.run_for(2.0)
    assert wire.bob.heard[-4:] == [b"0", b"1", b"2", b"3"]
    # There, the acknowledgement back, there again; by time alone it would be an eighth of a round trip later.
    assert wire.bob.heard_at[-4] - said_at == pytest.approx(3 * ONE_WAY_S + 0.003, abs=ONE_WAY_S / 16)
