"""`python -m tests.simulation --seeds N`: many stories; a failure is told as short as it gets."""

from __future__ import annotations

import argparse
import sys

from .campaign import Result, campaign
from .shrink import account, shrink
from .story import draw


def at_least_one(word: str) -> int:
    """A count; none at all would end well without having shown anything."""
    if (count := int(word)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return count


def main() -> int:
    """0 if every promise held."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=at_least_one, default=2_000, help="how many stories")
    parser.add_argument("--messages", type=at_least_one, default=500, help="how many messages each")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=at_least_one, default=2, help="how many processes")
    options = parser.parse_args()

    def tell(so_far: Result) -> None:
        print(f"\r{so_far.seeds} seeds, {so_far.counts['messages']} messages", end="", file=sys.stderr, flush=True)

    result, took_s = campaign(
        options.seeds, messages=options.messages, first=options.first, jobs=options.jobs, told=tell
    )
    print(file=sys.stderr)
    for name, number in sorted(result.counts.items()):
        print(f"{number:10} {name}")
    print(f"{result.seeds} seeds, {result.counts['messages']} messages in {took_s:.1f} s")
    for seed, detail in result.failures:
        print(f"seed {seed}: {detail}")
    if result.failures:
        seed, _ = result.failures[0]
        print(account(shrink(draw(seed, options.messages))))
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
