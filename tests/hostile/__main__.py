"""`python -m tests.hostile --seeds N`: two people talk, and all is done to them that wire and disk allow."""

from __future__ import annotations

import argparse
import sys

from .campaign import Result, account, campaign, shrink
from .story import draw

NIGHTLY_SEEDS = 10_000


def at_least_one(word: str) -> int:
    """A count; none at all would end well without having shown anything."""
    if (count := int(word)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return count


def main() -> int:
    """0 if every promise held."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--seeds", type=at_least_one, default=2_000, help="how many stories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=at_least_one, default=2, help="how many at a time")
    parser.add_argument("--nightly", action="store_true", help=f"{NIGHTLY_SEEDS:,} stories")
    parser.add_argument("--rollbacks", action="store_true", help="set databases back to older copies as well")
    options = parser.parse_args()
    seeds = NIGHTLY_SEEDS if options.nightly else options.seeds

    def tell(so_far: Result) -> None:
        print(f"\r{so_far.seeds} of {seeds} seeds", end="", file=sys.stderr, flush=True)

    result, took_s = campaign(
        seeds, rollbacks=options.rollbacks, first=options.first, processes=options.processes, told=tell
    )
    print(file=sys.stderr)
    for name, number in sorted(result.counts.items()):
        print(f"{number:10,} {name}")
    for shape, left in sorted(result.untouched().items()):
        print(f"{result.sizes[shape] - left} of {result.sizes[shape]} byte positions of every {shape} damaged")
    print(f"{result.seeds} seeds in {took_s:.1f} s")
    for seed, detail in result.failures:
        print(f"seed {seed}: {detail}")
    if result.failures:
        print(account(shrink(draw(result.failures[0][0], rollbacks=options.rollbacks))))
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
