"""`python -m tests.planted [NAME …]`: plant each bug in a copy of the sources, and see that the named tests fail."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter

from .trial import Result, UnpatchedFails, Verdict, patches, try_all


def main() -> int:
    """0 if every bug is caught; 1 if not; 2 where nothing could be said."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a bug, as --list shows it; all, unless said")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--list", action="store_true", help="only show what there is")
    parser.add_argument("--json", action="store_true", help="the results as JSON")
    options = parser.parse_args()
    every = {bug.name: bug for bug in patches()}
    if unknown := set(options.names) - set(every):
        parser.error(f"no such bug: {', '.join(sorted(unknown))}")
    bugs = [every[name] for name in options.names or every]
    if options.list:
        for bug in bugs:
            print(f"{bug.name:40} {bug.what}")
        return 0
    began_at = time.monotonic()
    try:
        results = try_all(bugs, jobs=options.jobs, told=lambda result: None if options.json else show(result))
    except UnpatchedFails as error:
        print(f"without any bug: {error}", file=sys.stderr)
        return 2
    took_s = time.monotonic() - began_at
    counts = Counter(result.verdict for result in results)
    if options.json:
        told = [
            {
                "name": bug.name,
                "what": bug.what,
                "tests": bug.tests,
                "verdict": result.verdict.value,
                "detail": result.detail,
                "took_s": round(result.took_s, 2),
            }
            for bug, result in zip(bugs, results, strict=True)
        ]
        print(json.dumps({"caught": counts[Verdict.CAUGHT], "of": len(bugs), "took_s": took_s, "bugs": told}, indent=1))
    else:
        others = [f"{counts[verdict]} {verdict.value}" for verdict in Verdict if verdict is not Verdict.CAUGHT]
        print(f"{counts[Verdict.CAUGHT]} of {len(bugs)} caught, {', '.join(others)}, in {took_s:.0f} s")
    return 0 if counts[Verdict.CAUGHT] == len(bugs) else 1


def show(result: Result) -> None:
    """One line."""
    print(f"{result.name:40} {result.verdict.value:15} {result.took_s:5.1f} s  {result.detail[:100]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
