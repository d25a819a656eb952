"""Groups kept whole: parts of images, changed so that no group is divided."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def keep_groups_whole(parts: Ints, labels: Ints, groups: Ints, seed: int) -> Ints:
    """The part of each image once every group is in one part; the parts as they are where no group has two images.

    `parts`, `labels` and `groups` are numbers from 0, one for each image. Groups are placed the largest first: of the
    parts with room for one, into that in which most of its images are already; where no such part has any of them, into
    the part that lacks most. Then as few single images as possible, drawn by the seed, change part to restore each
    class's counts.

    A class's counts stay as they were as long as its single images suffice, and otherwise within its largest group,
    with two exceptions. Where a part's count is smaller than the largest group, a part that would be without the class
    is given one, and another part can then lack up to (number of parts - 1) groups. And groups of several classes can
    contradict each other; they are placed as well as one can by taking them in turn.
    """
    is_single = np.bincount(groups)[groups] == 1
    if is_single.all():
        return parts
    together = _largest_first(groups, ~is_single)
    room = _Room(parts, labels, together, is_single)
    placed = parts.copy()
    for rows in together:
        placed[rows] = room.take(labels[rows], parts[rows])
    generator = np.random.default_rng(seed)
    for label in range(len(room.free)):
        singles = np.flatnonzero(is_single & (labels == label))
        placed[singles] = _restored(parts[singles], room.for_singles(label), generator)
    return placed


def _largest_first(groups: Ints, is_member: NDArray[np.bool_]) -> list[Ints]:
    """The rows of each group, the largest group first, equal ones in the order of the rows."""
    members = np.flatnonzero(is_member)
    ordered = members[np.argsort(groups[members], kind="stable")]
    rows_of = np.split(ordered, np.flatnonzero(np.diff(groups[ordered])) + 1)
    return sorted(rows_of, key=lambda rows: (-len(rows), rows[0]))


class _Room:
    """How many images of each class (rows) each part (columns) can still take while groups are placed."""

    def __init__(self, parts: Ints, labels: Ints, together: list[Ints], is_single: NDArray[np.bool_]) -> None:
        self.free = np.zeros((labels.max() + 1, parts.max() + 1), dtype=np.int64)
        np.add.at(self.free, (labels, parts), 1)
        self.is_empty = np.ones(self.free.shape, dtype=bool)
        # Single images and groups that are still to come; the last of them must go where the class is missing.
        self.to_come = np.bincount(labels[is_single], minlength=len(self.free))
        for rows in together:
            self.to_come[np.unique(labels[rows])] += 1
        self.weights = 1 / np.maximum(self.free.sum(axis=1), 1) ** 2  # of shares, so that small classes count too

    def take(self, labels: Ints, parts: Ints) -> int:
        """The part for one group, whose room is taken."""
        classes, counts = np.unique(labels, return_counts=True)
        free, is_empty = self.free[classes], self.is_empty[classes]
        is_last = self.to_come[classes] <= is_empty.sum(axis=1)
        needed = (is_empty & is_last[:, None]).sum(axis=0)
        fits = (free >= counts[:, None]).all(axis=0)
        stay = np.bincount(parts, minlength=free.shape[1]) * fits
        # Of all parts this one brings the squares of the shares' distances from the target down most.
        lack = (self.weights[classes] * counts) @ free
        chosen = int(np.lexsort((-lack, -stay, -needed))[0])
        self.free[classes, chosen] -= counts
        self.is_empty[classes, chosen] = False
        self.to_come[classes] -= 1
        return chosen

    def for_singles(self, label: int) -> Ints:
        """How many single images of a class each part takes, after all groups are placed."""
        wish: Ints = np.maximum(self.free[label], 0)
        for _ in range(wish.sum() - self.free[label].sum()):  # a group took too much, and the fullest wish gives way
            wish[np.argmax(2 * wish - self.is_empty[label])] -= 1
        return wish


def _restored(parts: Ints, wish: Ints, generator: np.random.Generator) -> Ints:
    """The parts of single images of one class, as few of them changed as give each part as many as it wishes."""
    too_many = np.bincount(parts, minlength=len(wish)) - wish
    movers = [generator.permutation(np.flatnonzero(parts == part))[: max(n, 0)] for part, n in enumerate(too_many)]
    restored = parts.copy()
    restored[np.concatenate(movers)] = np.repeat(np.arange(len(wish)), np.maximum(-too_many, 0))
    return restored
