"""What a frozen trunk makes of each image, computed once an image and kept on disk."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from linnaeus.data.dataset import ImageDataset, Rows
from linnaeus.data.store import ContentStore
from linnaeus.evaluation.inference import Forward
from linnaeus.files import fingerprint
from linnaeus.networks.concatenated import Concatenated, Member
from linnaeus.progress import Progress, silent
from linnaeus.records import Preprocessing

BATCH = 32
LARGEST_IN_MEMORY_BYTES = 256 << 20  # reading one row at a time costs a small head more than its training


def cached_activations(
    trunks: Sequence[Forward],
    images: ImageDataset,
    hashes: Sequence[str],
    folder: Path,
    *,
    view: int = 0,
    progress: Progress = silent,
) -> Rows:
    """The trunks' outputs for every image, joined; only what no run before has computed is computed.

    images: not shuffled; where it augments, `view` chooses one of the views that it draws of an image.
    hashes: SHA-256 of each image file's content, in the same order.
    Each trunk's are kept in a sub-folder of `folder`, keyed by its weights and structure, the preprocessing, the view.
    """
    assert images.preprocess is not None
    seen = [] if images.augment is None else [images.augment.model_dump(mode="json"), images.seed, view]
    named = f"Computing features, view {view + 1}" if seen else "Computing features"
    parts: list[Rows] = []
    for trunk in trunks:
        store = ContentStore(folder / _key(trunk.module, images.preprocess, seen))
        new = store.new(hashes)
        if new:
            with progress(named, len(new)) as advance:
                loader = images.identified_by(hashes).subset(new).loader(BATCH)
                loader.sampler.set_epoch(view)  # type: ignore[attr-defined]
                batches = (inputs for inputs, _ in loader)
                store.add([hashes[place] for place in new], trunk(batches, advance, images=len(new)))
        rows = store.rows(hashes)
        parts.append(rows[np.arange(len(rows))] if rows.nbytes <= LARGEST_IN_MEMORY_BYTES else rows)
    return parts[0] if len(parts) == 1 else JoinedRows(parts)


class JoinedRows:
    """The activations of several trunks for the same images, those of each image in a row."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = parts

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        """The activations at `places`, (places, width of all)."""
        return np.concatenate([part[places] for part in self.parts], axis=1)


def trunks_of(trunk: nn.Module) -> list[Forward]:
    """The trunks whose activations are kept apart: those of several joined backbones, else the trunk itself.

    One that gets its images as it would alone is the backbone itself, whose activations others use too.
    """
    if not isinstance(trunk, Concatenated):
        return [Forward(trunk)]
    members = [member for member in trunk.members if isinstance(member, Member)]
    return [Forward(member.backbone if member.own == member.given else member) for member in members]


def images_to_compute(trunk: nn.Module, preprocessing: Preprocessing, hashes: Sequence[str], folder: Path) -> int:
    """How many images, by the hashes of their content, must go through a trunk, since no run before has done that."""
    stores = (ContentStore(folder / _key(part.module, preprocessing, [])) for part in trunks_of(trunk))
    return max(len(store.new(hashes)) for store in stores)


def activation_bytes(trunk: nn.Module, preprocessing: Preprocessing) -> int:
    """Bytes that the trunk's output takes for one image."""
    with torch.inference_mode():
        output = trunk(torch.zeros(1, 3, preprocessing.size, preprocessing.size))
    return int(output.numel()) * 4


def _key(trunk: nn.Module, preprocessing: Preprocessing, seen: list[object]) -> str:
    digest = hashlib.sha256()
    for name, value in trunk.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    structure = getattr(trunk, "code", str(trunk))
    settings = [preprocessing.size, preprocessing.mean, preprocessing.std]
    return fingerprint([digest.hexdigest(), structure, settings, *seen])[:32]
