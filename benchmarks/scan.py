"""How fast images are scanned and cleaned, side by side with other ways, in one run on the same folder.

    python benchmarks/scan.py ../shared/data/animals9
    python benchmarks/scan.py ../shared/data/animals9 --many 200000     memory on that many (hard-linked) files

Prints images a second and the ratio to the bare cost of decoding with libjpeg-turbo on the same cores. cleanvision and
imagededup take part where they are installed (pip install cleanvision imagededup).
"""

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import simplejpeg
from PIL import Image

from linnaeus.data.catalogue import catalogue_folder
from linnaeus.data.clean import Cleaning, clean_images
from linnaeus.data.scan import scan_files
from linnaeus.data.sources import find_sources
from linnaeus.scale.cores import core_count, map_images
from linnaeus.scale.device import keep_freed_memory
from linnaeus.settings import CleanRecipe

BLOCK = 64
PEAK = """
import sys
from pathlib import Path
from linnaeus.data.scan import scan_files
from linnaeus.data.sources import find_sources
images = Path(sys.argv[1])
sources, _ = find_sources(images)
table = scan_files(images, [s.relpath for s in sources], scanned_by="", max_pixels=10**8)
# Not ru_maxrss, which begins with what the parent process held.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(len(table), int(peak.split()[1]) / 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--many", type=int, default=0, help="measure memory on so many files instead (Linux)")
    arguments = parser.parse_args()
    keep_freed_memory()
    images: Path = arguments.images
    relpaths = [source.relpath for source in find_sources(images)[0]]
    print(f"{len(relpaths)} files, {core_count()} cores, best of {arguments.repeats}\n")
    if arguments.many:
        _memory(images, relpaths, arguments.many)
        return
    _scan(images, relpaths, arguments.repeats)
    _clean(images, arguments.repeats)


def _scan(images: Path, relpaths: list[str], repeats: int) -> None:
    known = scan_files(images, relpaths, scanned_by="x", max_pixels=10**8)
    ways: dict[str, Callable[[], object]] = {
        "bare decoding, libjpeg-turbo": lambda: _in_blocks(_decode_bare, images, relpaths),
        "Pillow loop, decoding only": lambda: _in_blocks(_decode_pillow, images, relpaths),
        "linnaeus, the whole scan": lambda: scan_files(images, relpaths, scanned_by="x", max_pixels=10**8),
        "linnaeus, again, nothing new": lambda: scan_files(images, relpaths, known, scanned_by="x", max_pixels=10**8),
    }
    if find_spec("imagededup"):
        ways["imagededup, its PHash alone"] = lambda: _imagededup(images)
    if find_spec("cleanvision"):
        ways["cleanvision, all its checks"] = lambda: _cleanvision(images)
    seconds = {name: _best(work, 1 if "cleanvision" in name else repeats) for name, work in ways.items()}
    bare = seconds["bare decoding, libjpeg-turbo"]
    for name, taken in seconds.items():
        print(f"{name:34} {len(relpaths) / taken:9,.0f} images/s {taken / bare:7.2f} x bare")
    print()


def _clean(images: Path, repeats: int) -> None:
    """Cleaning the folder itself, and copies of it at 300 x 225 and 1280 x 960 pixels, beside a plain Pillow loop."""
    with tempfile.TemporaryDirectory() as folder:
        for size in (None, (300, 225), (1280, 960)):
            source = images if size is None else _resized(images, Path(folder) / f"{size[0]}", size)
            table = catalogue_folder(source, {}).images
            target = Path(folder) / "clean"
            ours = _best(lambda: clean_images(table, source, target, Cleaning(CleanRecipe())), repeats)  # noqa: B023
            paths = [source / relpath for relpath in table["relpath"]]
            plain_target = Path(folder) / "plain"
            plain_target.mkdir(exist_ok=True)
            plain = _best(lambda: [*map_images(partial(_pillow_clean, plain_target), paths)], repeats)  # noqa: B023
            print(
                f"clean {size or 'as they are'!s:14} {len(paths) / ours:7,.0f} images/s, Pillow loop "
                f"{len(paths) / plain:7,.0f}: {plain / ours:.2f} times as fast"
            )
    print()


def _memory(images: Path, relpaths: list[str], many: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for count in (len(relpaths), many):
            copies = Path(folder) / f"{count}"
            for number in range(count):
                source = images / relpaths[number % len(relpaths)]
                target = copies / f"class{number % 10}" / f"{number:07}{source.suffix}"
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(source, target)
            start = time.perf_counter()
            found = subprocess.run(
                [sys.executable, "-c", PEAK, str(copies)], capture_output=True, text=True, check=True
            )
            rows, peak = found.stdout.split()
            print(
                f"{int(rows):9,} files: peak {float(peak):7.0f} MiB, {int(rows) / (time.perf_counter() - start):,.0f}/s"
            )


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        target.symlink_to(source.resolve())


def _best(work: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def _in_blocks(work: Callable[[Path], object], images: Path, relpaths: list[str]) -> None:
    blocks = [relpaths[start : start + BLOCK] for start in range(0, len(relpaths), BLOCK)]
    for _ in map_images(lambda block: [work(images / relpath) for relpath in block], blocks):
        pass


def _decode_bare(path: Path) -> None:
    content = path.read_bytes()
    try:
        simplejpeg.decode_jpeg(content, "RGB")
    except ValueError:  # no JPEG, or one with unusual sampling
        Image.open(io.BytesIO(content)).load()


def _decode_pillow(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def _pillow_clean(target: Path, path: Path) -> None:
    with Image.open(path) as image:
        square = image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    square.save(target / f"{path.parent.name}-{path.stem}.jpg", quality=90)


def _resized(images: Path, target: Path, size: tuple[int, int]) -> Path:
    def save(relpath: str) -> None:
        path = (target / relpath).with_suffix(".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(images / relpath) as image:
            image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(path, quality=90)

    relpaths = [source.relpath for source in find_sources(images)[0]]
    step = max(1, len(relpaths) // 500)
    for _ in map_images(save, relpaths[::step]):
        pass
    return target


def _imagededup(images: Path) -> None:
    from imagededup.methods import PHash

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        for folder in sorted(path for path in images.iterdir() if path.is_dir()):
            PHash(verbose=False).encode_images(image_dir=folder)


def _cleanvision(images: Path) -> None:
    from cleanvision import Imagelab

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        Imagelab(data_path=str(images)).find_issues(verbose=False)


if __name__ == "__main__":
    main()
