"""Ours: the full profile of every column, on threads or worker processes."""

from __future__ import annotations

from benchmarks.clock import arguments, clocked, tell
from benchmarks.measures.ours import VERSIONS, crew, imported, statistics, warmed_everywhere, worker_memory


def main() -> None:
    chosen = arguments(cluster="threads", size=0)
    import workbench as wb

    imports = imported()
    with crew(chosen.cluster, chosen.size) as (workers, cpu):
        warmed_everywhere(workers, chosen.folder)
        answers, took = clocked(
            lambda: statistics(wb.cube(wb.open_table(chosen.folder), cluster=workers, progress=False)), cpu
        )
        took |= worker_memory(workers)
    tell(answers, chosen.answers, **took, imports_mb=imports, versions=VERSIONS)


if __name__ == "__main__":
    main()
