"""Several processes that train one model together, as `torchrun` starts them, a device each."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple, TypeVar

import torch
from torch import distributed

Item = TypeVar("Item")

LONGEST_WAIT = timedelta(hours=24)  # for the first process to decode and compute what all need


class Shard(NamedTuple):
    """Number `number`, from 0, of `of` processes, each of which takes its share of every batch."""

    number: int = 0
    of: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.number == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every `of`-th item, beginning with this process's number."""
        return items[self.number :: self.of]


def this_shard() -> Shard:
    """This process's place among those that torchrun started; alone without torchrun."""
    return Shard(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def devices_here() -> int:
    """How many of the processes run on this machine, a device each."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def first_process_alone() -> Iterator[None]:
    """The block is run by the first process, and by the others when it has left it, to find what it has written.

    An error in the first process ends the others, since torchrun then stops them.
    """
    shard = this_shard()
    if shard.of > 1:
        _connect()
        if not shard.is_first:
            distributed.barrier()
    yield
    if shard.of > 1 and shard.is_first:
        distributed.barrier()


def wait_for_all() -> None:
    """Come back when every process is here."""
    if this_shard().of > 1:
        _connect()
        distributed.barrier()


def _connect() -> None:
    if not distributed.is_initialized():
        if torch.cuda.is_available():  # else every process on this machine would take the first device
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=LONGEST_WAIT)
