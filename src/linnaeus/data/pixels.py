"""The images of the clean copy, decoded once."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from linnaeus.data.dataset import ImageDataset
from linnaeus.data.decode import Pixels
from linnaeus.data.store import ContentStore
from linnaeus.progress import Progress, silent
from linnaeus.scale.cores import map_images


class _SizesDifferError(Exception):
    """An image has not the size of the first."""


def with_cached_pixels(
    dataset: ImageDataset, hashes: Sequence[str], folder: Path, progress: Progress = silent
) -> ImageDataset:
    """The dataset, reading pixels from a store below `folder`; only images that no run before has decoded are decoded.

    hashes: SHA-256 of each image file's content, in the order of the dataset's rows. The store is `folder/<size>`, by
    the pixels of a side, and takes 3 * size * size bytes an image on disk.
    Images that are not all squares of one size are not kept: then the dataset comes back as it is, decoding each image
    whenever it is asked for. Raises TrainingError where an image cannot be read or the store is damaged.
    """
    height, width = dataset.decoded(0).shape[:2]
    store = ContentStore(folder / f"{height}")
    new = store.new(hashes)
    try:
        if height != width:
            raise _SizesDifferError
        if new:
            with progress("Decoding images", len(new)) as advance:
                images = map_images(dataset.decoded, new, advance)
                store.add([hashes[place] for place in new], _squares(images, height))
    except _SizesDifferError:
        return dataset
    return dataset.reading(store.rows(hashes))


def _squares(images: Iterable[Pixels], side: int) -> Iterator[Pixels]:
    """Each image as a block of one row. Raises _SizesDifferError at the first that has another size."""
    for image in images:
        if image.shape != (side, side, 3):
            raise _SizesDifferError
        yield image[None]
