"""Ours: adding a day to a store that holds 1, 30 and 365 days, each added by a pass of its own as a schedule would."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.clock import arguments, clocked, files, tell
from benchmarks.measures.ours import VERSIONS

AROUND = 8  # additions looked at: one of them merges eight cubes into one


def main() -> None:
    chosen = arguments(axis="", after="1,30,365")
    import workbench as wb

    after = [int(one) for one in chosen.after.split(",")]
    days = files(chosen.folder)[: max(after) + AROUND]
    by = [wb.Period("time", chosen.axis)] if chosen.axis else []
    took = []
    with tempfile.TemporaryDirectory() as folder:
        seen, store = Path(folder) / "days", Path(folder) / "store"
        seen.mkdir()
        for number, day in enumerate(days):
            os.link(day, seen / Path(day).name)
            cube, one = clocked(lambda: wb.cube(wb.open_table(seen), by=by, onto=store, progress=False))
            took.append(one | {"counted": int(cube.attrs["counted_files"])})
            assert int(cube.attrs["counted_files"]) == 1, "a day was counted twice"
            assert int(cube.attrs["stored_files"]) == number + 1
        size = sum(path.stat().st_size for path in store.iterdir())
        again, idle = clocked(lambda: wb.cube(wb.open_table(seen), by=by, onto=store, progress=False))
        assert int(again.attrs["counted_files"]) == 0
        alone, _ = clocked(lambda: wb.cube(wb.open_table(Path(days[-1])), by=by, progress=False))
        _, scratch = clocked(lambda: wb.cube(wb.open_table(Path(days[-1])), by=by, progress=False))
        assert int(alone["count"].sum()) <= int(again["count"].sum())
    added = {str(n): {k: [one[k] for one in took[n : n + AROUND]] for k in ("cpu", "wall")} for n in after}
    tell(
        {}, chosen.answers, added=added, idle=idle, scratch=scratch, store_bytes=size, days=len(days),
        rows=int(again["count"].sum()), cpu=sum(one["cpu"] for one in took), wall=sum(one["wall"] for one in took),
        start_mb=took[0]["start_mb"], peak_mb=took[-1]["peak_mb"], versions=VERSIONS,
    )  # fmt: skip


if __name__ == "__main__":
    main()
