"""Distances of two histograms, against hand-made answers, published values and simulated noise."""

import json
import re

import numpy as np
import pytest

from workbench.analyses import distances as far
from workbench.analyses.shares import share_noise, share_p
from workbench.errors import WorkbenchError


def counts_of(*samples):
    """The samples' distinct values in order, and each sample's counts over them."""
    at = np.unique(np.concatenate(samples))
    return at, *(np.array([(np.asarray(sample) == value).sum() for value in at]) for sample in samples)


def test_same_shares_are_at_zero_distance():
    a, b = [10, 20, 30], [1, 2, 3]
    for distance in (far.ks, far.jensen_shannon, far.total_variation):
        assert distance(a, b) == pytest.approx(0, abs=1e-7)
    assert far.psi(a, b, smooth=0) == pytest.approx(0)
    assert far.wasserstein(a, b, [0, 1, 2]) == pytest.approx(0)


def test_nothing_in_common_is_at_distance_one():
    a, b = [5, 0], [0, 7]
    assert far.ks(a, b) == far.total_variation(a, b) == far.jensen_shannon(a, b) == 1


def test_wasserstein_of_a_shift_is_the_shift():
    assert far.wasserstein([1, 1, 0, 0], [0, 0, 1, 1], [0.0, 1.0, 10.0, 11.0]) == pytest.approx(10)


def test_many_windows_at_once_are_each_window_alone():
    a, windows = np.array([5, 3, 2]), np.array([[5, 3, 2], [0, 5, 5], [10, 0, 0]])
    for distance in (far.ks, far.psi, far.jensen_shannon, far.total_variation, far.chi_square_p):
        assert distance(a, windows).tolist() == pytest.approx([float(distance(a, one)) for one in windows])


def test_psi_without_smoothing_of_an_empty_cell_is_infinite_and_with_it_is_not():
    assert np.isinf(far.psi([1, 1], [2, 0], smooth=0))
    assert far.psi([1, 1], [2, 0]) < 2


@pytest.mark.parametrize("n", [200, 5_000])
def test_noise_is_what_sampling_alone_gives(n):
    """The mean of 400 comparisons of two samples of one distribution is within 15 % of the closed form."""
    rng, m, p = np.random.default_rng(5), 2 * n, np.array([0.1, 0.2, 0.3, 0.25, 0.15])
    a, b = rng.multinomial(n, p, 400), rng.multinomial(m, p, 400)
    for distance, noise in (
        (far.psi, far.psi_noise),
        (far.total_variation, far.total_variation_noise),
        (lambda x, y: far.jensen_shannon(x, y) ** 2, lambda x, y: far.jensen_shannon_noise(x, y) ** 2),
        (lambda x, y: far.wasserstein(x, y, np.arange(5)), lambda x, y: far.wasserstein_noise(x, y, np.arange(5))),
    ):
        seen = np.mean([distance(x, y) for x, y in zip(a, b, strict=True)])
        told = np.mean([noise(x, y) for x, y in zip(a, b, strict=True)])
        assert told == pytest.approx(seen, rel=0.15)


def test_noise_of_ks_without_ties():
    rng, found = np.random.default_rng(2), []
    for _ in range(300):
        _, a, b = counts_of(rng.normal(size=400), rng.normal(size=300))
        found.append(float(far.ks(a, b)))
    assert far.ks_noise(np.ones(400), np.ones(400)) == pytest.approx(0.8687 * np.sqrt(2 / 400), rel=1e-3)
    assert far.ks_noise([400], [300]) == pytest.approx(np.mean(found), rel=0.08)


def test_p_values_are_spread_evenly_when_nothing_moved():
    rng, p = np.random.default_rng(3), np.full(8, 1 / 8)
    a, b = rng.multinomial(4000, p, 2000), rng.multinomial(3000, p, 2000)
    told = np.array([far.chi_square_p(x, y) for x, y in zip(a, b, strict=True)])
    assert np.mean(told < 0.05) == pytest.approx(0.05, abs=0.015)
    k, j = rng.binomial(4000, 0.03, 2000), rng.binomial(3000, 0.03, 2000)
    assert np.mean(share_p(k, 4000, j, 3000) < 0.05) == pytest.approx(0.045, abs=0.015)


def test_missing_shares_that_are_both_zero_or_one_do_not_differ():
    assert share_p(0, 10, 0, 10) == share_p(10, 10, 5, 5) == 1
    assert share_noise(0, 10, 0, 10) == 0


def test_equal_parts_keep_a_heavy_value_apart():
    assert far.equal_parts([1, 98, 1], 10).tolist() == [0, 1, 2]
    groups = far.equal_parts(np.ones(100), 10)
    assert np.bincount(groups).tolist() == [10] * 10
    assert far.grouped(np.ones((2, 100)), groups).tolist() == [[10.0] * 10] * 2


def test_values_outside_the_reference_join_its_ends():
    assert far.equal_parts([0, 0, 5, 5, 0], 2).tolist() == [0, 0, 0, 1, 1]


def test_cells_that_overlap_are_joined_and_others_stay_apart():
    a, b, at = far.together(([1, 2, 4], [1, 3, 4]), ([2.5, 5], [3.5, 5]))
    assert (a.tolist(), b.tolist(), at.tolist()) == ([0, 1, 2], [1, 3], [1, 2.75, 4, 5])
    assert far.onto([[7, 8]], b, 4).tolist() == [[0, 7, 0, 8]]


def test_published_values(shared):
    vectors = {one["id"]: one for one in json.loads((shared / "drift" / "vectors.json").read_text())["vectors"]}

    def near(name, value):
        assert float(value) == pytest.approx(vectors[name]["expected"], abs=vectors[name]["abs_tol"])

    near("deequ_psi", far.psi(*vectors["deequ_psi"]["inputs"].values(), smooth=0))
    near("deequ_kll_linf", far.ks(*counts_of([1, 2, 3, 4], [2, 3, 4, 5])[1:]))
    x = [2] * 3 + [3] * 4 + [5] * 5 + [6] * 4
    assert far.ks(*counts_of(x, np.array(x) + 1)[1:]) == pytest.approx(0.3125)
    near("tfdv_jsd_points", far.jensen_shannon([1, 1, 0], [1, 0, 1]) ** 2)
    near("popmon_ks_prob", far.ks_p(0.8, [2], [2]))
    assert far.chi_square_p([1, 2, 0, 5], [3, 4, 0, 2], least=0) == pytest.approx(0.2341, abs=1e-4)
    at, a, b = counts_of([4.5] * 3 + [6.7, 2.1], [4.6] + [7.0] * 3 + [9.2])
    near("scipy_w1_weighted", far.wasserstein(a, b, at))
    rng = np.random.RandomState(31)
    old = rng.normal(1, 1, 100)
    new = np.random.RandomState(31).normal(5, 2, 100)
    at, a, b = counts_of(old, new)
    near("frouros_emd", far.wasserstein(a, b, at))


def test_shares_of_few_rows_are_tested_exactly():
    """Against scipy's hypergeometric: twice the smaller tail, whichever side is smaller and whichever half rarer."""
    from scipy.stats import hypergeom

    rng = np.random.default_rng(6)
    for n, m, share in ((200, 50, 0.02), (50, 200, 0.97), (100_000, 200, 0.01), (300, 100_000, 0.005)):
        k, j = rng.binomial(n, share, 50), rng.binomial(m, share, 50)
        law = hypergeom(n + m, k + j, m)
        right = np.minimum(1, 2 * np.minimum(law.cdf(j), law.sf(j - 1)))
        few = np.minimum(k + j, n + m - k - j) * min(n, m) / (n + m) < 10
        assert few.sum() > 20
        some = few & (k + j > 0) & (k + j < n + m)
        assert share_p(k, n, j, m)[some] == pytest.approx(right[some], rel=1e-6)
    assert share_p(0, 1000, 40, 50) < 1e-40


def test_rare_cells_are_tested_together():
    several, joined = ([500, 30, 20, 20], [50, 3, 1, 3]), ([500, 70], [50, 7])
    assert far.chi_square_p(*several) == pytest.approx(far.chi_square_p(*joined, least=0))
    assert far.chi_square_p([3, 3], [0, 1]) == 1  # one cell is left, of which nothing can be said


def test_anderson_darling_of_many_windows_is_scipys_of_each():
    import warnings

    from scipy.stats import anderson_ksamp

    from workbench.analyses.significance import anderson_darling_two

    rng = np.random.default_rng(3)
    before = rng.normal(size=400)
    windows = [rng.normal(shift, size=rows) for shift, rows in ((0, 60), (0.2, 300), (0.5, 90))]
    at = np.unique(np.concatenate([before, *windows]))
    counts = [[(one == value).sum() for value in at] for one in (before, *windows)]
    found = anderson_darling_two(counts[0], counts[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns that its p values are kept within .001 and .25
        wanted = [anderson_ksamp([before, one], midrank=True) for one in windows]
    assert found.statistic == pytest.approx([one.statistic for one in wanted], rel=1e-9)
    assert found.p == pytest.approx([np.clip(one.pvalue, 0.001, 0.25) for one in wanted], rel=1e-6)
    tied = [np.round(one, 1) for one in (before, windows[1])]
    told = anderson_darling_two(*counts_of(*tied)[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert told.statistic == pytest.approx(anderson_ksamp(tied, midrank=True).statistic, rel=1e-9)
    for shares in (np.full(2, 0.5), np.full(5, 0.2), np.array([0.8, 0.05, 0.05, 0.1])):
        a, b = rng.multinomial(500, shares, 1_000), rng.multinomial(300, shares, 1_000)
        assert np.mean(anderson_darling_two(a, b).p <= 0.05) <= 0.065, "with ties no more false alarms than said"
    nothing = anderson_darling_two([[3, 0], [0, 0]], [[5, 0], [1, 1]])
    assert nothing.statistic.tolist() == [0, 0]
    assert nothing.p.tolist() == [1, 1]


def test_what_an_empty_cell_is_given_is_said():
    """Others' rules for empty cells, as figures: .0001 (Evidently, deepchecks), the smallest double (frouros)."""
    a, b = [50, 50, 0], [50, 25, 25]
    same = 0.25 * np.log(0.5)
    assert far.psi(a, b, smooth=0, floor=1e-4) == pytest.approx(-same + (0.25 - 1e-4) * np.log(0.25 / 1e-4))
    assert far.psi(a, b, smooth=0, floor=1e-4) == pytest.approx(far.psi(b, a, smooth=0, floor=1e-4))
    assert far.psi(a, b, smooth=0, floor=np.finfo(float).tiny) > 170
    assert np.isinf(far.psi(a, b, smooth=0))
    assert far.kullback_leibler(a, b, floor=1e-4) == pytest.approx(same + 0.25 * np.log(0.25 / 1e-4))
    assert np.isinf(far.kullback_leibler(a, b))
    assert far.kullback_leibler([50, 50, 0, 0], [50, 25, 25, 0], floor=1e-4) == far.kullback_leibler(a, b, floor=1e-4)


def test_cramer_von_mises_keeps_its_word_with_ties():
    """Where nothing is tied it is scipy's; with ties scipy's T is large though nothing moved, and ours is not."""
    from scipy.stats import cramervonmises_2samp

    from workbench.analyses import significance as tests

    rng = np.random.default_rng(8)
    for n, m in ((9, 30), (200, 50)):
        x, y = rng.normal(size=n), rng.normal(0.2, 1, m)
        told, wanted = tests.cramer_von_mises(*counts_of(x, y)[1:]), cramervonmises_2samp(x, y, method="asymptotic")
        assert (told.statistic, told.p) == (pytest.approx(wanted.statistic), pytest.approx(wanted.pvalue))
    for shares in (np.full(2, 0.5), np.full(5, 0.2), np.array([0.8, 0.05, 0.05, 0.1])):
        a, b = rng.multinomial(500, shares, 2_000), rng.multinomial(300, shares, 2_000)
        told = tests.cramer_von_mises(a, b)
        assert [np.mean(told.p <= level) for level in (0.5, 0.05, 0.01)] == pytest.approx(
            [0.5, 0.05, 0.01], rel=0.3, abs=0.007
        )
        assert told.statistic.mean() == pytest.approx(tests.cramer_von_mises_noise(a, b).mean(), rel=0.1)
        ranks = [np.repeat(np.arange(len(shares)), one[0]) for one in (a, b)]
        assert cramervonmises_2samp(*ranks).pvalue < 0.01
    assert tests.cramer_von_mises([5, 0], [7, 0]).statistic == 0


def test_tests_of_scipy_and_of_papers():
    """Scholz and Stephens 1987 (two forms of A^2), Conover 1971 (Cramer-von Mises), scipy's contingency tables."""
    from scipy.stats import chi2_contingency
    from scipy.stats.contingency import association

    from workbench.analyses import significance as tests

    paper = ([38.7, 41.5, 43.8, 44.5, 45.5, 46, 47.7, 58], [39.2, 39.3, 39.7, 41.4, 41.8, 42.9, 43.3, 45.8],
             [34, 35, 39, 40, 43, 43, 44, 45], [34, 34.8, 34.8, 35.4, 37.2, 37.8, 41.2, 42.8])  # fmt: skip
    samples = counts_of(*paper)[1:]
    assert tests.anderson_darling(samples).statistic == pytest.approx(4.480, abs=1e-3)
    assert tests.anderson_darling(samples, midrank=False).statistic == pytest.approx(4.449, abs=1e-3)
    conover = ([7.6, 8.4, 8.6, 8.7, 9.3, 9.9, 10.1, 10.6, 11.2],
               [5.2, 5.7, 5.9, 6.5, 6.8, 8.2, 9.1, 9.8, 10.8, 11.3, 11.5, 12.3, 12.5, 13.4, 14.6])  # fmt: skip
    _, a, b = counts_of(*conover)
    assert tests.cramer_von_mises(a, b).statistic == pytest.approx(0.262, abs=1e-3)
    assert tests.cramer_von_mises_exact(a, b).statistic == pytest.approx(0.262, abs=1e-3)
    assert [one(a, b).p for one in (tests.cramer_von_mises, tests.cramer_von_mises_exact)] == pytest.approx(
        [0.1795, 0.1868], abs=1e-4
    )
    for table in ([[12, 5], [4, 9]], [[3, 4], [3, 4]], [[10, 20, 30], [6, 9, 17]]):
        told = tests.chi_square(*table, yates=True)
        wanted = chi2_contingency(table, correction=True)
        assert (told.statistic, told.p) == (pytest.approx(wanted.statistic), pytest.approx(wanted.pvalue))
        assert tests.cramer_v(*table, corrected=False) == pytest.approx(association(table, "cramer"))
    with pytest.raises(WorkbenchError, match="takes minutes; use cramer_von_mises"):
        tests.cramer_von_mises_exact([300, 1], [1, 300])
    with pytest.raises(WorkbenchError, match="whole counts"):
        tests.ks_exact([0.5, 1.5], [1, 2])


@pytest.mark.parametrize(
    ("sides", "sentence"),
    [
        (([1, 2], [1, 2, 3]), "reference has 2 cells and the current side 3"),
        (([1, -1], [1, 1]), "below 0, NaN or infinity"),
        (([1, 1], [1, np.nan]), "of the current side hold"),
        ((1, 2), "has no cells"),
        ((["a"], [1]), "counts are numbers"),
        ((np.ones((2, 3)), np.ones((3, 3))), "do not go together"),
    ],
)
def test_counts_that_are_none(sides, sentence):
    from workbench.analyses import significance as tests

    for distance in (far.ks, far.psi, far.hellinger, far.chi_square_p, tests.chi_square, tests.cramer_von_mises):
        with pytest.raises(WorkbenchError, match=sentence):
            distance(*sides)


def test_cells_in_disorder_are_refused():
    for distance in (far.wasserstein, far.wasserstein_noise, far.energy):
        for at in ([2.0, 1.0], [1.0], [np.nan, 1.0]):
            with pytest.raises(WorkbenchError, match="in ascending order"):
                distance([1, 1], [1, 1], at)


def test_each_distance_tells_what_a_reader_needs():
    """Formula, range, what zero means, cells, the rule of empty cells, and the source with its year."""
    from workbench.analyses import significance as tests

    for one in (far.ks, far.wasserstein, far.jensen_shannon, far.jensen_shannon_divergence, far.psi, far.hellinger, far.energy,
                far.total_variation, far.l_infinity, far.kullback_leibler, tests.cramer_von_mises, tests.anderson_darling,
                tests.chi_square, tests.cramer_v):  # fmt: skip
        words = " ".join(one.__doc__.split())
        for wanted in (r"Range ", r"\b0\b", r"[Cc]ells", r"[Ee]mpty|left out", r"(18|19|20)\d\d\b"):
            assert re.search(wanted, words), (one.__name__, wanted)


def test_an_empty_side_is_at_no_distance():
    """NaN, whatever the distance and however few the cells."""
    for cells in (1, 3):
        some, none = np.ones(cells), np.zeros(cells)
        for a, b in ((some, none), (none, some)):
            told = [one(a, b) for one in (far.ks, far.psi_noise, far.hellinger, far.total_variation, far.l_infinity)]
            assert np.isnan([*told, far.wasserstein(a, b, np.arange(cells)), far.jensen_shannon(a, b)]).all()
