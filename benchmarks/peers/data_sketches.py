"""Apache DataSketches over pyarrow's arrays: KLL for quantiles and histogram, HLL for distinct, exact text counts.

Its Python HLL takes one value a call; moments are numpy's.
"""

from __future__ import annotations

from benchmarks.clock import BINS, SEVEN, arguments, clocked, files, tell, versions


def main() -> None:
    chosen = arguments()
    import datasketches as ds
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    def work() -> dict:
        answers: dict = {}
        parts: dict = {}
        paths = files(chosen.folder)
        names = pq.read_schema(paths[0]).names
        for path in paths:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    for name in names:
                        values = file.read_row_group(group, columns=[name], use_threads=False)[name].combine_chunks()
                        one = answers.setdefault(name, {"count": 0, "missing": 0})
                        one["missing"] += values.null_count
                        values = values.drop_null()
                        one["count"] += len(values)
                        if pa.types.is_dictionary(values.type) or pa.types.is_string(values.type):
                            found = one.setdefault("values", {})
                            for pair in pc.value_counts(values).to_pylist():
                                value = str(pair["values"])
                                found[value] = found.get(value, 0) + pair["counts"]
                            continue
                        kll, hll, moments = parts.setdefault(
                            name, (ds.kll_doubles_sketch(2000), ds.hll_sketch(14), np.zeros(3))
                        )
                        values = values.cast(pa.int64()) if pa.types.is_timestamp(values.type) else values
                        values = values.to_numpy(zero_copy_only=False).astype(float)
                        kll.update(values)
                        update = hll.update
                        for value in values.tolist():
                            update(value)
                        if len(values):
                            add(moments, values)
        for name, (kll, hll, (count, mean, m2)) in parts.items():
            one = answers[name]
            low, high = kll.get_min_value(), kll.get_max_value()
            one |= {"min": low, "max": high, "mean": mean, "std": (m2 / (count - 1)) ** 0.5}
            one |= dict(zip(SEVEN, kll.get_quantiles(list(SEVEN.values())), strict=True))
            edges = np.linspace(low, high, BINS + 1)[1:-1]
            shares = kll.get_pmf(np.unique(edges).tolist()) if high > low else [1.0]
            one["histogram"] = round(sum(shares) * count)
            one["distinct"] = hll.get_estimate()
        for one in answers.values():
            one.setdefault("distinct", len(one.get("values", ())))
        return answers

    def add(moments, values) -> None:
        """Chan's update of count, mean and summed squares."""
        count, mean = len(values), values.mean()
        total, step = moments[0] + count, mean - moments[1]
        moments[2] += ((values - mean) ** 2).sum() + step**2 * moments[0] * count / total
        moments[1] += step * count / total
        moments[0] = total

    answers, took = clocked(work)
    tell(answers, chosen.answers, **took, versions=versions("datasketches", "pyarrow", "numpy"))


if __name__ == "__main__":
    main()
