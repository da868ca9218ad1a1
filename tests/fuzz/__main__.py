"""Fuzz the decoders: ``python -m tests.fuzz [TARGET …] [--seconds 10 | --minutes 10 | --nightly]``."""

from __future__ import annotations

import argparse
import resource
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from hashlib import blake2b
from pathlib import Path
from random import SystemRandom

from .engine import Result, fuzz
from .targets import TARGETS

NIGHTLY_S = 600.0
# A decoder that asks for more than this has believed a length it was told.
MEMORY_LIMIT_BYTES = 3 * 1024**3


def run(name: str, seconds: float, seed: int, found: Path) -> tuple[str, Result, str]:
    """One target in this process; where it fails, the input is written into ``found``."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    target = TARGETS[name]
    result = fuzz(target.run, target.corpus(), seconds=seconds, seed=seed, words=target.words, limit=target.limit)
    if result.finding is None:
        return name, result, ""
    found.mkdir(parents=True, exist_ok=True)
    path = found / f"{name}-{blake2b(result.finding.data, digest_size=6).hexdigest()}"
    path.write_bytes(result.finding.data)
    told = "".join(traceback.format_exception(result.finding.error))
    result.finding = None  # tracebacks don't travel between processes
    return name, result, f"{path}\n{told}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all, unless said otherwise")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--minutes", type=float, help="for each target")
    parser.add_argument("--nightly", action="store_true", help="ten minutes for each target")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=None, help="repeats a run; drawn and printed otherwise")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="where failing inputs go")
    given = parser.parse_args()
    names = given.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if given.seconds <= 0 or (given.minutes or 1) <= 0:
        parser.error("a run without time shows nothing")
    seconds = NIGHTLY_S if given.nightly else given.minutes * 60 if given.minutes else given.seconds
    seed = SystemRandom().randrange(2**32) if given.seed is None else given.seed
    print(f"seed {seed}, {seconds:g} s each, {given.processes} processes", flush=True)
    failed, total, begin_at = [], 0, time.monotonic()
    with ProcessPoolExecutor(given.processes) as pool:
        for future in as_completed(pool.submit(run, name, seconds, seed, given.found) for name in names):
            name, result, failure = future.result()
            total += result.executions
            rate = result.executions / max(result.seconds, 1e-9)
            print(
                f"{name:14}{result.executions:>10,} executions {rate:>9,.0f}/s {result.steps:>6} steps"
                f" {len(result.parents):>5} parents {'FAILED' if failure else 'ok'}",
                flush=True,
            )
            if failure:
                failed.append(name)
                print(failure, flush=True)
    print(f"{total:,} executions in {time.monotonic() - begin_at:.0f} s; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
