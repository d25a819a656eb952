import imagehash
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from linnaeus.data.decode import Pixels
from linnaeus.data.perceptual import HASH_COLUMNS, hash_columns, hash_number, hash_text
from linnaeus.errors import CatalogueError

SIZES = [(224, 224), (150, 200), (301, 97), (48, 64)]


def _picture(height: int, width: int, seed: int = 0) -> Pixels:
    """A grey picture with patches of many sizes, as photographs have them."""
    generator = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(generator.random((side, side), dtype=np.float32)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
        )
        for side in (3, 6, 12, 24)
    ]
    blended = np.average(layers, axis=0, weights=(12, 6, 4, 3))
    return np.asarray((blended - blended.min()) / np.ptp(blended) * 255).astype(np.uint8)


def _hashes(*pictures: Pixels) -> dict[str, NDArray[np.uint64]]:
    return {name: hash_number(texts) for name, texts in hash_columns(pictures).items()}


def _bits(first: int, second: int) -> int:
    return (int(first) ^ int(second)).bit_count()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_hash_is_imagehash_s_but_for_a_few_bits(height: int, width: int) -> None:
    pictures = [_picture(height, width, seed) for seed in range(20)]
    expected = [int(str(imagehash.phash(Image.fromarray(picture))), 16) for picture in pictures]
    differing = [_bits(*pair) for pair in zip(_hashes(*pictures)["phash"], expected, strict=True)]
    assert max(differing) <= 6
    assert np.mean(differing) <= 1.5


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_mirrored_hash_is_exactly_that_of_the_mirror_image(height: int, width: int) -> None:
    pictures = [_picture(height, width, seed) for seed in range(10)]
    mirrored = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
    hashes = _hashes(*pictures)
    assert hashes["phash_mirrored"].tolist() == _hashes(*mirrored)["phash"].tolist()
    assert (hashes["phash_mirrored"] != hashes["phash"]).all()


def test_the_centre_s_hash_is_nearly_that_of_the_cropped_picture() -> None:
    pictures = [_picture(200, 240, seed) for seed in range(20)]
    cropped = [np.ascontiguousarray(picture[10:190, 12:228]) for picture in pictures]
    centres, wholes = _hashes(*pictures)["phash_centre"], _hashes(*cropped)["phash"]
    assert max(_bits(*pair) for pair in zip(centres, wholes, strict=True)) <= 4


def test_different_pictures_differ_in_many_and_an_even_number_of_bits() -> None:
    hashes = _hashes(*(_picture(96, 96, seed) for seed in range(12)))["phash"].tolist()
    differing = [_bits(first, second) for place, first in enumerate(hashes) for second in hashes[:place]]
    assert min(differing) >= 12
    assert not any(bits % 2 for bits in differing)


def test_blank_pictures_of_any_grey_have_one_hash() -> None:
    blanks = [np.full((height, 64), grey, np.uint8) for height in (64, 50) for grey in (1, 77, 255)]
    assert set(hash_columns(blanks)["phash"]) == {"8000000000000000"}


def test_a_picture_is_hashed_the_same_alone_and_among_others() -> None:
    pictures = [_picture(70, 90, seed) for seed in range(5)]
    alone = [hash_columns([picture]) for picture in pictures]
    together = hash_columns(pictures)
    assert together == {name: [hashes[name][0] for hashes in alone] for name in HASH_COLUMNS}


def test_text_and_number_are_each_other_s_inverse() -> None:
    numbers = [0, 1, 2**63, 2**64 - 1, 0x0123456789ABCDEF]
    texts = [*hash_text(numbers)]
    assert texts[-1] == "0123456789abcdef"
    assert hash_number(texts).tolist() == numbers
    assert hash_number([]).tolist() == []


@pytest.mark.parametrize("text", ["", "0123", "x123456789abcdef", "0123456789abcdef0", "0123456789abcde "])
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(CatalogueError, match="16 hexadecimal digits"):
        hash_number(["0123456789abcdef", text])
