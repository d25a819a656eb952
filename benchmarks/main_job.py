"""The main job with its defaults on a folder of photographs: every figure of the leaderboard, and what each stage took.

    python benchmarks/main_job.py IMAGES [--rename animals10]

This is what the README's table of results and docs/log.md are made from. It works in a fresh temporary project.
"""

import argparse
import tempfile
from pathlib import Path
from time import perf_counter

import linnaeus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rename")
    options = parser.parse_args()
    linnaeus.keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        started = perf_counter()
        plan = linnaeus.Plan(rename=options.rename)
        outcome = linnaeus.run(options.images, Path(folder) / "project", plan, progress=linnaeus.bars)
        seconds = perf_counter() - started
        print(outcome.comparison.table.to_string(index=False))
        for cost in outcome.costs:
            print(f"{cost.stage:45} {cost.seconds:8.1f} s {cost.peak_memory_mib:8.0f} MiB at most so far")
        print(f"{'all':45} {seconds:8.1f} s")


if __name__ == "__main__":
    main()
