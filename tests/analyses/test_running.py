"""Any two spans of windows from running counts: what the cube itself gives, and nothing but two reads a span."""

import numpy as np
import pytest

import workbench as wb
from workbench.analyses import drift, running


@pytest.fixture(scope="module")
def sums(daily):
    return running.running(daily)


def spans(daily, first, second):
    parts = []
    for start, end in (first, second):
        stop = str(np.datetime64(end.removesuffix("Z")) + np.timedelta64(1, "D"))
        parts.append(wb.collapse(wb.select(daily, window=slice(start, stop)), "window"))
    return parts


def test_a_span_gives_what_its_cube_gives(daily, sums):
    first, second = (sums.windows[0], sums.windows[3]), (sums.windows[7], sums.windows[9])
    fast = running.between(sums, first, second).set_index(["column", "segment"])
    slow = drift.judge(drift.compare(*spans(daily, first, second), "before")).set_index(["column", "segment"])
    slow = slow.reindex(fast.index)
    for name in ("rows_reference", "rows_current", "missing_current", "missing_change_p", "metric", "evaluated"):
        assert (fast[name].fillna(-1) == slow[name].fillna(-1)).all(), name
    seen = fast[fast["evaluated"]]
    bound = max(sums.bound)
    assert bound < 0.03
    assert (slow["distance"][seen.index] - seen["distance"]).abs().max() <= 2 * bound
    assert (seen["wasserstein"] - slow["wasserstein"][seen.index]).abs().div(
        slow["wasserstein"][seen.index]
    ).median() < 0.05
    assert (seen["verdict"] == slow["verdict"][seen.index]).mean() > 0.97
    assert fast.loc[("f05", ""), "verdict"] == slow.loc[("f05", ""), "verdict"] == "drifted"


def test_windows_add_up_in_any_order(sums):
    one = running.between(sums, (sums.windows[0], sums.windows[0]), (sums.windows[5], sums.windows[5]))
    other = running.between(sums, (sums.windows[5], sums.windows[5]), (sums.windows[0], sums.windows[0]))
    assert one["rows_reference"].tolist() == other["rows_current"].tolist()
    both = one["evaluated"] & other["evaluated"] & (one["metric"] == "ks")
    assert one["ks"][both].to_numpy() == pytest.approx(other["ks"][both].to_numpy())


def test_kept_in_a_file_and_read_in_place(sums, tmp_path):
    kept = running.load(running.save(sums, tmp_path / "running.counts"))
    assert isinstance(kept.counts, np.memmap)
    spans = (sums.windows[0], sums.windows[2]), (sums.windows[4], sums.windows[6])
    a, b = running.between(sums, *spans), running.between(kept, *spans)
    assert a.equals(b)
    assert [path.name for path in tmp_path.iterdir()] == ["running.counts"]
    (tmp_path / "other").write_bytes(b"no counts")
    for name in ("other", "none"):
        with pytest.raises(wb.WorkbenchError, match="holds no running counts"):
            running.load(tmp_path / name)


def test_spans_that_are_no_comparison(daily, sums):
    a, b, c = sums.windows[:3]
    with pytest.raises(wb.WorkbenchError, match="share windows"):
        running.between(sums, (a, b), (b, c))
    with pytest.raises(wb.WorkbenchError, match="there is no window '2026-03-99'"):
        running.between(sums, ("2026-03-99", b), (c, c))
    with pytest.raises(wb.WorkbenchError, match="ends before it begins"):
        running.between(sums, (b, a), (c, c))
    with pytest.raises(wb.WorkbenchError, match="need windows of time"):
        running.running(wb.collapse(daily, "window"))
