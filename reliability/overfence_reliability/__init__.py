"""Acknowledge, retry, order: reliability that outlives every connection. Pure, standard library only."""

from __future__ import annotations

from .vector import RANGES_LIMIT, BadRun, HaveVector, Run, ranges

__all__ = ["RANGES_LIMIT", "BadRun", "HaveVector", "Run", "ranges"]
