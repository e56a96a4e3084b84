import errno
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from notus.core.errors import ConfigError, DataError, RunError
from notus.core.parallel import kept_workers, map_shards, start_workers, usable_cores
from notus.formats.quarantine import RowError


def square(number: int) -> tuple[int, int]:
    time.sleep(0.02 * (number % 3))  # so that they do not end in their order
    return number * number, os.getpid()


def fails(at: int, number: int) -> int:
    if number >= at:
        raise RowError(f"row {number}", "missing-field")
    return number


def dies(number: int) -> int:
    if number == 1:
        os._exit(9)
    return number


def test_results_come_in_order_and_from_other_processes() -> None:
    found = list(map_shards(square, range(9), 2))
    assert [value for value, _ in found] == [number**2 for number in range(9)]
    assert len({pid for _, pid in found} - {os.getpid()}) == 2


@pytest.mark.parametrize(("shards", "workers"), [([3], 8), ([3, 4, 5], 1), ([], 2)])
def test_what_is_small_is_done_here(shards: list[int], workers: int) -> None:
    found = list(map_shards(square, shards, workers))
    assert [value for value, _ in found] == [number**2 for number in shards]
    assert {pid for _, pid in found} <= {os.getpid()}


def test_the_first_error_in_order_arrives_as_the_line_that_it_is() -> None:
    results = map_shards(partial(fails, 2), range(6), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(DataError, match="row 2") as caught:
        next(results)
    assert type(caught.value) is DataError  # RowError is made of more than a message
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError):
        list(map_shards(_config_error, [1, 2], 2))


def _config_error(_: int) -> None:
    raise ConfigError("no")


def test_a_killed_worker_is_said() -> None:
    with pytest.raises(RunError, match="--workers 1"):
        list(map_shards(dies, range(4), 2))


def test_no_more_results_are_held_than_twice_the_workers(tmp_path: Path) -> None:
    results = map_shards(partial(_touch, tmp_path), range(20), 2)
    next(results)
    time.sleep(1)
    assert len(list(tmp_path.iterdir())) <= 5
    results.close()  # type: ignore[attr-defined]


def _touch(folder: Path, number: int) -> int:
    (folder / str(number)).touch()
    return number


def test_the_processes_end_with_their_parent() -> None:
    code = (
        "import time, os\nfrom notus.core.parallel import map_shards\nfrom tests.core.test_parallel import sleeps\n"
        "if __name__ == '__main__':\n    print(next(map_shards(sleeps, [0, 60, 60], 2)), flush=True)\n"
    )
    script = "import sys; sys.path.insert(0, '.')\n" + code
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "0\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        assert children
        parent.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def sleeps(seconds: int) -> int:
    time.sleep(seconds)
    return seconds


def test_cores_are_those_that_may_be_used() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def fills_the_disk(shard):
    raise OSError(errno.ENOSPC, "No space left on device", f"/runs/{shard}.parquet")


def test_a_refusal_in_a_worker_process_is_told_by_who_started_it():
    with pytest.raises(RunError, match=r"/runs/1\.parquet: no space"):
        list(map_shards(fills_the_disk, [1, 2, 3], workers=2))


def test_processes_are_kept_for_all_that_is_done_in_a_block():
    with kept_workers():
        start_workers(2, "notus.core.records")
        first = {pid for _, pid in map_shards(square, range(9), 2)}
        assert {pid for _, pid in map_shards(square, range(9), 2)} <= first | {os.getpid()}
        assert len(first) == 2
        alive = [psutil.Process(pid) for pid in first]
    assert not psutil.wait_procs(alive, timeout=10)[1]


def test_an_error_ends_the_kept_processes_and_others_take_their_place():
    with kept_workers():
        first = {pid for _, pid in map_shards(square, range(9), 2)}
        with pytest.raises(DataError):
            list(map_shards(partial(fails, 2), range(6), 2))
        assert not psutil.wait_procs([psutil.Process(pid) for pid in first if psutil.pid_exists(pid)], timeout=10)[1]
        assert not {pid for _, pid in map_shards(square, range(9), 2)} & first


def has_pandas(number: int) -> tuple[bool, int]:
    import pyarrow as pa

    return "pandas" in sys.modules, len(pa.array([str(number)] * 10_000))


def gives_pandas(number: int) -> list[float]:
    import pyarrow as pa

    return list(pa.table({"a": pa.array([number, None])}).to_pandas()["a"].fillna(-1))


def test_processes_make_large_columns_without_pandas_and_give_it_to_who_asks():
    assert list(map_shards(has_pandas, [1, 2, 3], 2)) == [(False, 10_000)] * 3
    pytest.importorskip("pandas")
    assert list(map_shards(gives_pandas, [1, 2], 2)) == [[1, -1], [2, -1]]
