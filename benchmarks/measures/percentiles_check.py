"""The largest relative error of percentiles by model, hour and region against the exact ones of the same convention.

Exact is the smallest value with at least a share q of the values at or below it (inverted_cdf), as ours define it;
DuckDB's quantile_cont interpolates to the next value, which moves the percentiles of small groups by more than any bin.
"""

from __future__ import annotations

from benchmarks.clock import arguments, tell
from benchmarks.measures.percentiles import COLUMNS, QUANTILES


def main() -> None:
    chosen = arguments(ours="")
    import numpy as np
    import pandas as pd
    import pyarrow.parquet as pq

    whole = pq.read_table(chosen.folder, columns=COLUMNS, read_dictionary=["model", "region"]).unify_dictionaries()
    hour = whole["time"].to_numpy().astype("datetime64[h]").astype(np.int64)
    code = {c: whole[c].combine_chunks() for c in ("model", "region")}
    words = {c: v.dictionary.to_pylist() for c, v in code.items()}
    models, regions = (code[c].indices.to_numpy().astype(np.int64) for c in ("model", "region"))
    group = ((hour - hour.min()) * len(words["model"]) + models) * len(words["region"]) + regions
    values = whole["latency_s"].to_numpy()
    order = np.argsort(values, kind="stable")
    order = order[np.argsort(group[order], kind="stable")]
    group, values = group[order], values[order]
    first = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    size = np.diff(np.append(first, len(group)))
    exact = {}
    for q in QUANTILES:
        rank = np.clip(np.ceil(q * size - 1e-9).astype(np.int64), 1, None)
        exact[f"q{q:g}"] = values[first + rank - 1]
    region, rest = group[first] % len(words["region"]), group[first] // len(words["region"])
    told = pd.DataFrame({
        "model": np.array(words["model"], dtype=object)[rest % len(words["model"])],
        "hour": ((rest // len(words["model"]) + hour.min()) * 3600).astype("datetime64[s]").astype("datetime64[us]"),
        "region": np.array(words["region"], dtype=object)[region],
        "rows": size,
        **exact,
    })  # fmt: skip
    keys = ["model", "hour", "region"]
    both = told.merge(pd.read_parquet(chosen.ours), on=keys, how="outer", suffixes=("", "_ours"))
    wrong = int((both["rows"] != both["count"]).sum())
    error = max(float((both[f"{q}_ours"] / both[q] - 1).abs().max()) for q in exact)
    tell({}, chosen.answers, groups=len(told), counts_differ=wrong, error=error)


if __name__ == "__main__":
    main()
