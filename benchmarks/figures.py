"""Numbers into the few figures that are told of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# What the first conversation is held to.
CONNECT_LIMIT_MS = 300.0
FIRST_MESSAGE_LIMIT_MS = 1000.0
SEND_P99_LIMIT_MS = 20.0
THROUGHPUT_LEAST_PER_S = 2000.0
MEMORY_GROWTH_LIMIT_MB = 10.0
CATCH_UP_LIMIT_BYTES = 20_000


def quantile(values: Sequence[float], share: float) -> float:
    """A value that at least ``share`` of the values do not pass."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """One figure of several repeats: its median, its ends, and each."""
    rounded = [round(value, 2) for value in values]
    return {"median": quantile(rounded, 0.5), "least": min(rounded), "most": max(rounded), "each": rounded}


def latencies(took_s: Sequence[float]) -> dict[str, Any]:
    """Milliseconds of many single messages."""
    took_ms = [1000 * each for each in took_s]
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    return {name: round(quantile(took_ms, share), 2) for name, share in shares.items()} | {
        "most": round(max(took_ms), 2),
        "samples": len(took_ms),
    }


def goals(ours: Mapping[str, Any], memory: Mapping[str, Any], catch_up: Mapping[str, Any]) -> dict[str, Any]:
    """Each promise with what was measured; a median where the run was repeated."""
    measured: dict[str, tuple[float, float, bool]] = {}

    def at_most(name: str, value: float, limit: float) -> None:
        measured[name] = (value, limit, value <= limit)

    at_most("connect_ms", ours["connect_ms"]["median"], CONNECT_LIMIT_MS)
    at_most("first_message_ms", ours["first_message_ms"]["median"], FIRST_MESSAGE_LIMIT_MS)
    at_most("send_p99_ms", ours["send_ms"]["p99"], SEND_P99_LIMIT_MS)
    rate = ours["messages_per_s"]["median"]
    measured["messages_per_s"] = (rate, THROUGHPUT_LEAST_PER_S, rate >= THROUGHPUT_LEAST_PER_S)
    at_most("memory_growth_mb", max(memory["growth_mb"].values()), MEMORY_GROWTH_LIMIT_MB)
    if catch_up["bytes"] is not None:
        at_most("catch_up_bytes", catch_up["bytes"], CATCH_UP_LIMIT_BYTES)
    return {name: {"measured": value, "goal": goal, "met": met} for name, (value, goal, met) in measured.items()}
