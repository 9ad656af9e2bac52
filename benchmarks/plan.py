"""What is measured: sections by name, each a list of scripts that run in turn on the same files. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One script on one table.

    module: under benchmarks; table: as `benchmarks.data` calls it; args: more arguments ({home} is the tables' folder);
    needs: the module that a peer must have ("" for ours); base: the label of the measure that this one is divided by;
    once: its own repetitions are its statistic; big: only with BENCH_BIG; gives: which statistics, in words.
    """

    label: str
    module: str
    table: str
    args: tuple[str, ...] = ()
    needs: str = ""
    base: str = ""
    gives: str = ""
    once: bool = False
    big: bool = False
    fresh: bool = False  # with an empty folder for compiled kernels
    tables: tuple[str, ...] = ()  # others that it reads
    timeout: float = 600.0


ALL = "count, missing, min, max, mean, std, histogram, 7 quantiles, distinct, text counts"
SCAN, OURS = "measures.scan", "measures.profile"
FOUR = ("--columns", "time,model,region,latency_s")
REFERENCE = ("--reference", "{home}/before")
PAIR = "ours, both sides counted"


def scan(label: str, table: str, *args: str) -> Measure:
    return Measure(label, SCAN, table, args, gives="nothing: every column read")


def ours(label: str, table: str, *args: str, base: str = "bare scan", big: bool = False) -> Measure:
    return Measure(label, OURS, table, args, base=base, gives=ALL, big=big)


def grouped(table: str, words: str) -> list[Measure]:
    base = f"bare scan of four columns, {words}"
    out = f"{{home}}/percentiles-{table}.parquet"
    four = "p50, p90, p95, p99 of latency by model, hour, region"
    return [
        scan(base, table, *FOUR),
        Measure(f"ours, {words}", "measures.percentiles", table, ("--out", out), base=base, gives=f"{four}, to 0.1 %"),
        Measure(
            f"DuckDB, {words}", "peers.duckdb_percentiles", table, needs="duckdb", base=base,
            gives=f"{four}, exact (quantile_cont)",
        ),
        Measure(
            f"error of ours, {words}", "measures.percentiles_check", "requests", ("--ours", out), once=True,
            tables=(table,), gives="the largest relative error, every group and quantile",
        ),
    ]  # fmt: skip


def peer(label: str, module: str, needs: str, *args: str, table: str = "requests", gives: str = ALL) -> Measure:
    base = {"requests": "bare scan", "tenth": "bare scan of a tenth", "hundredth": "bare scan of a hundredth"}[table]
    return Measure(label, f"peers.{module}", table, args, needs=needs, base=base, gives=gives)


SECTIONS: dict[str, tuple[str, list[Measure]]] = {
    "profile": ("The full profile of every column", [
        scan("bare scan", "requests"),
        Measure("bare scan by two threads", SCAN, "requests", ("--threads", "2"), base="bare scan",
                gives="nothing: every column read, files side by side"),
        ours("ours, threads", "requests"),
        ours("ours, two processes", "requests", "--cluster", "processes", "--size", "2"),
        scan("bare scan, lz4", "lz4"),
        ours("ours, threads, lz4", "lz4", base="bare scan, lz4"),
    ]),
    "drift": ("Drift", [
        scan("bare scan of the current window", "requests"),
        Measure("ours, against a stored reference", "measures.drift", "requests", (*REFERENCE, "--stored", "1"),
                base="bare scan of the current window", tables=("before", "warm"),
                gives="opened reference, counted current window, KS, PSI, Jensen-Shannon, Wasserstein, total variation"),
        Measure(PAIR, "measures.drift", "after", REFERENCE, base=PAIR, tables=("before", "warm"),
                gives="on each side: both counted, the same distances"),
        Measure("Evidently, default preset", "peers.evidently_drift", "after", REFERENCE, needs="evidently", base=PAIR,
                tables=("before",), gives="on each side: DataDriftPreset(), DataFrames read from the same files"),
        Measure("NannyML, univariate drift", "peers.nanny_drift", "after", REFERENCE, needs="nannyml", base=PAIR,
                tables=("before",), gives="on each side: UnivariateDriftCalculator, default methods, one chunk"),
    ]),
    "percentiles": ("Percentiles of latency by model, hour and region", [
        *grouped("requests", "in time order"), *grouped("shuffled", "hours over all row groups"),
    ]),
    "store": ("Adding a day to a store", [
        Measure("a store without axes", "measures.store", "days", once=True, timeout=1200,
                gives="full profile of a day more, committed, and the sum of all"),
        Measure("a store by day", "measures.store", "days", ("--axis", "D"), once=True, big=True, timeout=1800,
                gives="the same by day"),
    ]),
    "memory": ("Peak memory from a tenth of the rows to ten times as many", [
        ours("a tenth of the rows", "tenth", base=""),
        ours("the rows", "requests", base=""),
        ours("ten times the rows", "tenfold", base="", big=True),
    ]),
    "first": ("The first call in a fresh process", [
        Measure("compiled kernels cached", "measures.first", "hundredth", gives="a small table, from `import workbench` on"),
        Measure("nothing compiled yet", "measures.first", "hundredth", fresh=True, once=True, gives="the same, once a version"),
    ]),
    "rank": ("Rank error on adversarial columns", [
        Measure("adversarial columns", "measures.rank", "adversarial", once=True, gives="999 quantiles of each column"),
    ]),
    "peers": ("The same statistics from the peers", [
        scan("bare scan", "requests"),
        ours("ours, threads", "requests"),
        peer("DuckDB SUMMARIZE", "duckdb_summarize", "duckdb",
             gives="count, missing, min, max, mean, std, 3 quantiles and distinct approximate; no histogram, no text counts"),
        peer("DuckDB by hand, approximate", "duckdb_hand", "duckdb"),
        peer("DuckDB by hand, approximate, no histogram", "duckdb_hand", "duckdb", "--histogram", "0",
             gives=ALL.replace("histogram, ", "")),
        peer("DuckDB by hand, exact", "duckdb_hand", "duckdb", "--exact", "1", gives=f"{ALL}; quantiles and distinct exact"),
        peer("Polars", "polars_hand", "polars", gives=f"{ALL}; quantiles exact"),
        peer("Dask DataFrame", "dask_frame", "dask"),
        peer("pandas", "pandas_frame", "pandas", gives=f"{ALL}; quantiles and distinct exact"),
        scan("bare scan of a tenth", "tenth"),
        peer("DataSketches", "data_sketches", "datasketches", table="tenth"),
        peer("whylogs", "why_logs", "whylogs", table="tenth",
             gives="count, missing, min, max, mean, std, quantiles, distinct, frequent strings; no histogram"),
        scan("bare scan of a hundredth", "hundredth"),
        peer("ydata-profiling, minimal", "ydata", "ydata_profiling", table="hundredth",
             gives=f"{ALL}, and more (report not drawn)"),
    ]),
}  # fmt: skip
