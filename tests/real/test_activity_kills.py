"""kill -9 while the activity log is being written."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

KILLS = 50

WRITER = """
import sys, time, trio
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.unit.observe.activity.rows import Store, row

async def main():
    store = Store(Path({path!r}))
    await store.open()
    while True:
        id = store.add(row(ts_ms=int(time.time() * 1000)))
        sys.stdout.write(f"{{id}} {{time.monotonic()}}\\n")
        sys.stdout.flush()
        await trio.sleep(0.0005)

trio.run(main)
"""


def test_given_a_process_that_writes_when_it_is_killed_50_times_then_less_than_a_second_is_lost_each_time(
    tmp_path: Path,
) -> None:
    path = tmp_path / "activity.db"
    script = WRITER.format(root=str(Path(__file__).parents[2]), path=str(path))
    last_kept = 0
    for number in range(KILLS):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            added: list[tuple[int, float]] = []
            # Kill at another moment of the batch each time.
            while not added or added[-1][1] - added[0][1] < 0.3 + number % 10 * 0.03:
                line = process.stdout.readline().split()
                added.append((int(line[0]), float(line[1])))
            process.kill()
            killed_at = time.monotonic()
            added += [(int(id), float(at)) for id, at in map(bytes.split, process.stdout) if at]

        db = sqlite3.connect(path)
        (sound,) = db.execute("PRAGMA integrity_check").fetchone()
        kept = [id for (id,) in db.execute("SELECT id FROM activity ORDER BY id")]
        (summed,) = db.execute("SELECT sum(requests) FROM activity_day").fetchone()
        db.close()
        assert sound == "ok"
        assert summed == len(kept)
        assert added[0][0] == last_kept + 1, "ids go on where the file ends"
        lost = [at for id, at in added if id > kept[-1]]
        assert not lost or killed_at - lost[0] < 1.0
        assert kept == list(range(1, kept[-1] + 1)), "rows are lost at the end only"
        last_kept = kept[-1]
