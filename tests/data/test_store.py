import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from linnaeus.data.store import ContentStore
from linnaeus.errors import TrainingError
from linnaeus.files import read_json

ROWS = np.arange(24, dtype=np.int16).reshape(4, 2, 3)
HASHES = list("abcd")

PEAK_GROWTH = """
import resource, sys
import numpy as np
from pathlib import Path
from linnaeus.data.store import ContentStore
rows = ContentStore(Path(sys.argv[1])).rows([str(number) for number in range(256)])
rows[np.arange(8)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = sum(int(rows[np.arange(start, start + 8)][:, 0].sum()) for start in range(0, 256, 8))
print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def _store(folder: Path) -> ContentStore:
    store = ContentStore(folder / "store")
    store.add(HASHES, [ROWS[:3], ROWS[3:]])
    return store


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_rows_of_any_type_and_shape_come_back_as_they_were(
    tmp_path: Path, dtype: type[np.generic], shape: tuple[int, ...]
) -> None:
    rows = np.random.default_rng(0).integers(0, 100, (4, *shape)).astype(dtype)
    store = ContentStore(tmp_path)
    store.add(HASHES, [rows])
    found = store.rows(HASHES)[np.arange(4)]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, rows)


def test_rows_are_found_by_their_content_in_any_order_and_repeated(tmp_path: Path) -> None:
    rows = _store(tmp_path).rows(["c", "a", "c"])
    assert len(rows) == 3
    assert rows.nbytes == 3 * 6 * 2
    np.testing.assert_array_equal(rows[np.array([0, 1, 2, 1])], ROWS[[2, 0, 2, 0]])
    assert rows[np.array([], np.int64)].shape == (0, 2, 3)


def test_some_rows_are_rows(tmp_path: Path) -> None:
    part = _store(tmp_path).rows(HASHES).subset(np.array([3, 1]))
    np.testing.assert_array_equal(part[np.array([0, 1])], ROWS[[3, 1]])


def test_what_is_new_is_named_once_and_what_is_kept_is_not(tmp_path: Path) -> None:
    assert _store(tmp_path).new(["x", "b", "y", "x", "a"]) == [0, 2]


def test_rows_added_later_are_found_beside_the_earlier_ones(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.add(["e"], [ROWS[:1] + 100])
    again = ContentStore(store.folder).rows(["e", "b", "e", "d"])
    np.testing.assert_array_equal(again[np.arange(4)], np.stack([ROWS[0] + 100, ROWS[1], ROWS[0] + 100, ROWS[3]]))


def test_its_files_are_plain_arrays_and_lists_of_hashes(tmp_path: Path) -> None:
    folder = _store(tmp_path).folder
    assert sorted(path.name for path in folder.iterdir()) == ["0.json", "0.npy"]
    np.testing.assert_array_equal(np.load(folder / "0.npy"), ROWS)
    assert read_json(folder / "0.json") == HASHES


def test_work_that_is_interrupted_leaves_no_file(tmp_path: Path) -> None:
    def blocks() -> Iterator[np.ndarray]:
        yield ROWS[:2]
        raise KeyboardInterrupt

    store = ContentStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.add(HASHES, blocks())
    assert [*tmp_path.iterdir()] == []


def test_rows_whose_list_was_never_written_do_not_count_and_are_replaced(tmp_path: Path) -> None:
    store = _store(tmp_path)
    (store.folder / "0.json").unlink()
    assert store.new(HASHES) == [0, 1, 2, 3]
    store.add(["z"], [ROWS[3:]])
    np.testing.assert_array_equal(store.rows(["z"])[np.array([0])], ROWS[3:])


def test_too_few_rows_are_no_store(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="3 rows for 4 hashes"):
        ContentStore(tmp_path).add(HASHES, [ROWS[:3]])
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("kept", [0, 40, -1])
def test_a_file_that_is_cut_off_is_an_error_that_says_what_to_do(tmp_path: Path, kept: int) -> None:
    store = _store(tmp_path)
    file = store.folder / "0.npy"
    os.truncate(file, kept if kept >= 0 else file.stat().st_size + kept)
    with pytest.raises(TrainingError, match=r"0\.npy is damaged.*delete the folder"):
        store.rows(HASHES)


def test_a_file_that_is_cut_off_while_it_is_in_use_is_an_error_where_it_is_read(tmp_path: Path) -> None:
    store = _store(tmp_path)
    rows = store.rows(HASHES)
    os.truncate(store.folder / "0.npy", (store.folder / "0.npy").stat().st_size - 1)
    np.testing.assert_array_equal(rows[np.array([0])], ROWS[:1])
    with pytest.raises(TrainingError, match="ends too early"):
        rows[np.array([3])]
    (store.folder / "0.npy").unlink()
    with pytest.raises(TrainingError, match="No such file"):
        rows[np.array([0])]


def test_a_list_of_another_length_than_its_rows_is_an_error(tmp_path: Path) -> None:
    store = _store(tmp_path)
    np.save(store.folder / "0.npy", ROWS[:2])
    with pytest.raises(TrainingError, match="2 rows, its list of hashes 4"):
        store.rows(HASHES)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit")
def test_reading_all_of_a_store_leaves_it_out_of_memory(tmp_path: Path) -> None:
    row = np.ones((1, 250_000), np.uint8)
    ContentStore(tmp_path).add([str(number) for number in range(256)], (row for _ in range(256)))
    done = subprocess.run([sys.executable, "-c", PEAK_GROWTH, tmp_path], capture_output=True, text=True, check=True)
    total, growth_kib = map(int, done.stdout.split())
    assert total == 256
    assert growth_kib < 8 * 1024  # of 64 MB
