"""Which findings planted bottlenecks get, and programs that are written well: a table for docs/findings.md.

    python -m benchmarks.confusion [rounds]

Every program of tests/corpus is recorded anew in each round (default: 1).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.corpus_runs import FIRST, PLANTED, Result, run


def main(rounds: int) -> None:
    """Print both tables."""
    slow, good = {}, {}
    for name in PLANTED:
        slow[name] = [_run(f"{name}_slow") for _ in range(rounds)]
        good[name] = [_run(f"{name}_good") for _ in range(rounds)]
    print(
        f"| program | planted | among the first {FIRST} | can win at most | other findings | on the twin |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name, rule in PLANTED.items():
        ranks = [result.rank(rule) for result in slow[name]]
        named = sum(rank is not None and rank <= FIRST for rank in ranks)
        shares = [
            result.found[rank - 1].ceiling_share
            for result, rank in zip(slow[name], ranks, strict=True)
            if rank
        ]
        won = f"{100 * min(shares):.0f}–{100 * max(shares):.0f} %" if shares else "–"
        others = {f.rule for result in slow[name] for f in result.found} - {rule}
        wrong = [f.rule for result in good[name] for f in result.found]
        print(
            f"| `{name}` | {rule} | {named} of {rounds} | {won} | {', '.join(sorted(others)) or '–'} | {wrong or '0'} |"
        )
    print()
    _matrix(slow, good)


def _matrix(slow: dict[str, list[Result]], good: dict[str, list[Result]]) -> None:
    """Rules named (columns) by rules planted (rows), in findings over all rounds."""
    rules = list(PLANTED.values())
    said = [
        f.rule for results in [*slow.values(), *good.values()] for r in results for f in r.found
    ]
    rules += sorted(set(said) - set(rules))
    print("| planted \\ named | " + " | ".join(rules) + " |")
    print("| --- |" + " --- |" * len(rules))
    rows = {PLANTED[name]: results for name, results in slow.items()}
    rows["nothing (twins)"] = [result for results in good.values() for result in results]
    for planted, results in rows.items():
        counts = [sum(f.rule == rule for r in results for f in r.found) for rule in rules]
        print(f"| {planted} | " + " | ".join(str(n) if n else "" for n in counts) + " |")


def _run(name: str) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        return run(name, Path(folder))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
