"""What near-duplicates across parts do to a test accuracy: the plain split beside the one that keeps them together.

    python benchmarks/leaks.py ../shared/data/animals9 [--rename animals10] [--seeds 3] [--copies 200]

Prints how many pairs there are, how many of them the plain split divides, and the test accuracy of lite0-dense256 (a
frozen backbone) on both. With --copies, so many images are first copied as JPEG of quality 60 into their own class,
which shows what a folder full of copies would do.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

import linnaeus
from linnaeus.data.sources import find_sources
from linnaeus.steps.splitting import known_pairs

MODEL = "lite0-dense256"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rename")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=0)
    options = parser.parse_args()
    linnaeus.keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        images = with_copies(options.images, Path(folder) / "images", options.copies)
        project = Path(folder) / "project"
        linnaeus.catalogue(images, project, rename=options.rename, progress=linnaeus.bars)
        linnaeus.clean(project, progress=linnaeus.bars)
        for seed in range(5, 5 + options.seeds):
            for together in (False, True):
                print(measured(project, seed, together), flush=True)


def with_copies(images: Path, target: Path, copies: int) -> Path:
    """The folder, or a copy of it in which some images stand twice."""
    if not copies:
        return images
    shutil.copytree(images, target)
    relpaths = [source.relpath for source in find_sources(target)[0]]
    for relpath in np.random.default_rng(0).choice(relpaths, copies, replace=False):
        path = target / relpath
        with Image.open(path) as image:
            image.convert("RGB").save(path.with_name(f"copy of {path.stem}.jpg"), quality=60)
    return target


def measured(project: Path, seed: int, together: bool) -> str:
    splits = linnaeus.split(project, linnaeus.SplitRecipe(seed=seed, near_duplicates=together))
    leaks = pd.read_parquet(project / "leaks.parquet")
    run = linnaeus.train(project, MODEL, allow_leaks=True, force=True, progress=linnaeus.bars)
    (evaluation,) = linnaeus.evaluate(project, [MODEL], final=True, force=True, progress=linnaeus.bars)
    predictions = run.predictions("test")
    is_right = predictions["category"].eq(predictions["predicted_category"])
    leaking = predictions["relpath"].isin([*leaks["first"], *leaks["second"]])
    pairs = known_pairs(linnaeus.open_project(project), splits.table.assign(source=None)[["relpath"]])
    way = "kept together" if together else "plain split  "
    told = f", on the {leaking.sum()} that leak {is_right[leaking].mean():.1%}" if leaking.any() else ""
    rest = f", without those {is_right[~leaking].mean():.2%}"
    return (
        f"seed {seed}, {way}: {len(pairs)} pairs, {len(leaks)} across parts; test accuracy "
        f"{evaluation.metrics['accuracy']:.2%} of {len(predictions)}{told}{rest if leaking.any() else ''}"
    )


if __name__ == "__main__":
    main()
