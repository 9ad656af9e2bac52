"""Ours: the first call in a fresh process beside the second, from `import workbench` on."""

from __future__ import annotations

from benchmarks.clock import arguments, clocked, tell
from benchmarks.measures.ours import VERSIONS


def main() -> None:
    chosen = arguments()
    import workbench as wb

    def work():
        return wb.profile(wb.cube(wb.open_table(chosen.folder), progress=False))

    _, first = clocked(work)
    _, second = clocked(work)
    tell({}, chosen.answers, first=first, second=second, versions=VERSIONS, **first)


if __name__ == "__main__":
    main()
