"""Ours: drift of a table from a reference - counted before and opened from its file (--stored), or counted here too."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.clock import arguments, clocked, tell
from benchmarks.measures.ours import VERSIONS


def main() -> None:
    chosen = arguments(reference="", stored=0)
    import workbench as wb
    from workbench.analyses import drift

    before = Path(chosen.reference)
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "reference.nc"
        small = wb.cube(wb.open_table(chosen.folder.parent / "warm"), progress=False)
        wb.save_cube(wb.cube(wb.open_table(before), progress=False) if chosen.stored else small, stored)
        drift.judge(drift.compare(wb.open_cube(stored), small, "warm"))

        def work():
            if chosen.stored:
                reference = wb.open_cube(stored)
            else:
                reference = wb.cube(wb.open_table(before), progress=False)
            current = wb.cube(wb.open_table(chosen.folder), plan=reference, progress=False)
            return drift.judge(drift.compare(reference, current, "reference"))

        judged, took = clocked(work)
    found = judged[judged["drifted"]]["column"].unique().tolist()
    answers = judged.set_index("column")[["ks", "total_variation"]].T.to_dict()
    tell(answers, chosen.answers, **took, drifted=found, versions=VERSIONS)


if __name__ == "__main__":
    main()
