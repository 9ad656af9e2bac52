"""Published values of drift statistics, each computed by ours from its `statistic`, `definition` and inputs.

A vector is matched by its words, not by its name, so that another file with the same statistics is checked too. Where a
vector's note says that the peer is wrong, ours is held to the right form. A statistic we do not offer is skipped, by name.
"""

import json
import re
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.analyses import compat, edges
from workbench.analyses import distances as far
from workbench.analyses import significance as tests

FILE = Path(__file__).parents[3] / "shared" / "data" / "drift" / "vectors.json"
VECTORS = json.loads(FILE.read_text())["vectors"] if FILE.is_file() else []
NOT_OURS = {
    r"mmd": "needs rows: a kernel of every pair of them is in no histogram",
    r"standard error of": "an error of a model's accuracy, not of a distance",
    r"streaming": "a detector over single rows in their order; ours looks at windows",
}
SAMPLES = ("ks", "kolmogorov", "cdf difference", "wasserstein", "emd", "energy", "mann", "t-test", "cramer-von",
           "anderson", "equal-width", "hellinger")  # fmt: skip
NAMES = (("ref_counts", "cur_counts"), ("expected_counts", "actual_counts"), ("ref", "cur"), ("s1", "s2"), ("n", "m"),
         ("p", "q"), ("x", "y"), ("u", "v"))  # fmt: skip


def expression(text, known):
    """The value of a vector's own shorthand: a list, a range, repeat(1..6,[...]) or sums of them."""
    text = re.sub(r"(\d+)\.\.(\d+)", lambda found: f"arange({found[1]},{int(found[2]) + 1})", text)
    return eval(text, {"__builtins__": {}, "range": np.arange, "repeat": np.repeat, "arange": np.arange}, known)


def recipe(text, before):
    """ref and cur of a recipe such as "seed(1); ref=normal(0,1,10); cur=normal(1,1,10)"."""
    if text.strip() == "same":
        text = before
    rng = np.random
    text = text.replace("cur=...", "cur=" + (re.findall(r"ref=(\w+(?:\.\w+)*\(size=\d+,)", text) or [""])[0])
    text = re.sub(r"choice\(([a-z](?:,[a-z])+);(\d+)\)", lambda f: f"choice({f[1].split(',')},{f[2]})", text)
    import scipy.stats

    names = {"np": np, "scipy": scipy, "seed": rng.seed, "choice": rng.choice, "normal": rng.normal, "random": rng.random,
             "linspace": np.linspace, "uniform": rng.uniform, "binomial": rng.binomial, "range": range}  # fmt: skip
    found = {}
    for step in text.split(";"):
        step = step + ")" * (step.count("(") - step.count(")"))
        exec(step.strip(), {"__builtins__": {}, **names}, found)
    return np.asarray(found["ref"]), np.asarray(found["cur"])


def sides(vector, before):
    """Both sides as given: samples, counts, or counts by name."""
    given = vector["inputs"]
    if "recipe" in given:
        return recipe(given["recipe"], before)
    if "samples" in given:
        return tuple(np.asarray(one) for one in given["samples"])
    for pair in NAMES:
        if set(pair) <= set(given):
            known, told = {}, []
            for name in pair:
                one = given[name]
                known[name] = expression(one, known) if isinstance(one, str) else one
                known[name] = known[name] if isinstance(known[name], dict) else np.asarray(known[name])
                told.append(known[name])
            return tuple(told)
    raise KeyError(f"inputs of {vector['id']}: {list(given)}")


def over_values(*samples, weights=(None, None)):
    """Every different value in order, and each sample's counts of it."""
    at = np.unique(np.concatenate(samples))
    return at, *(
        np.bincount(np.searchsorted(at, one), None if w is None else np.asarray(w, float), minlength=len(at))
        for one, w in zip(samples, (*weights, *[None] * len(samples)), strict=False)
    )


def counted(vector, words, before):
    """`at` (None where there are only counts) and the counts of the two sides."""
    given = vector["inputs"]
    told = sides(vector, before)
    if isinstance(told[0], dict):
        names = list(dict.fromkeys([*told[0], *told[1]]))
        return None, *(np.array([one.get(name, 0) for name in names], dtype=float) for one in told)
    named = bool({"ref_counts", "expected_counts", "p", "n"} & set(given))
    plain = told[0].dtype.kind in "if" and not any(word in words for word in SAMPLES) and "recipe" not in given
    if named or (plain and not isinstance(given.get("ref"), str)):
        return None, *(one.astype(float) for one in told)
    weights = next(
        ((given[a], given[b]) for a, b in (("uw", "vw"), ("ref_weights", "cur_weights")) if a in given), (None, None)
    )
    return over_values(*told, weights=weights)


def bins_of(vector, words, before):
    """Counts in the number of equal-width bins on the combined range that the vector's words name."""
    number = re.search(r"(\d+) (?:equal-width )?bins", words)
    a, b = sides(vector, before)
    cut = np.histogram_bin_edges(np.concatenate([a, b]), int(number[1]) if number else 10)
    return tuple(np.histogram(one, cut)[0].astype(float) for one in (a, b))


def nannyml_fixture(vector):
    """Column f1 of NannyML's fixture: its reference and its windows, as the vector's recipe says."""
    if vector["inputs"]["column"] != "f1":
        pytest.skip("only f1 of this fixture is told in full")
    rng = np.random.RandomState(167)
    at = pd.date_range("1/6/2020", freq="10min", periods=20160)
    week = at.isocalendar().week.to_numpy() - 1
    f1 = rng.randn(len(at))
    f1 = np.where(week >= 16, f1 + 0.6, f1)
    if "chunk_size" in vector["inputs"]:
        size = vector["inputs"]["chunk_size"]
        windows = [f1[start : start + size] for start in range(0, len(f1), size)]
    else:
        windows = [f1[at.month == month] for month in np.unique(at.month)]
    return f1[week < 11], windows


def ks_chunks(vector):
    """On the peer's own 10,000 equal-width cells the peer's values; on exact cells those that its note tells."""
    old, windows = nannyml_fixture(vector)
    cut = np.linspace(old.min(), old.max(), 10_001)

    def cells(one):
        inside = np.histogram(one, cut)[0]
        return np.concatenate([[(one < cut[0]).sum()], inside, [(one > cut[-1]).sum()]])

    exact = re.search(r"exact ks_2samp gives (\[.*\])", vector["note"])
    if exact:
        right = [far.ks(*over_values(old, one)[1:]) for one in windows]
        assert np.allclose(right, json.loads(exact[1]), atol=1e-6)
    return [far.ks(cells(old), cells(one)) for one in windows]


def groups_of_file(vector, shared):
    """Between and within sums of squares of a NIST file, through a cube."""
    import workbench as wb

    lines = (shared / "drift" / vector["inputs"]["file"].removeprefix("data/")).read_text().splitlines()
    first = int(re.search(r"Data\s*\(lines\s+(\d+)", "\n".join(lines))[1]) - 1
    table = pd.DataFrame([line.split() for line in lines[first:] if line.strip()], columns=["group", "value"])
    assert len(table) == vector["inputs"]["n"]
    cube = wb.cube(table.astype({"value": float}), by="group", of=["value"]).sel(column="value")
    told = tests.squares(cube["values"], cube["mean"], cube["m2"])[:2]
    exact = squares_of([[Fraction(text) for text in one] for _, one in table.groupby("group")["value"]])
    held = squares_of([[Fraction(float(text)) for text in one] for _, one in table.groupby("group")["value"]])
    assert exact == pytest.approx(vector["expected"], abs=vector["abs_tol"])
    if held != pytest.approx(exact, abs=vector["abs_tol"]):
        # 13 leading digits leave float64 no room for the rest: ours is right for the values, and the means, that fit one
        assert told[1] == pytest.approx(held[1], rel=1e-9)
        assert told[0] == pytest.approx(held[0], rel=1e-3)
        return exact
    return told


def squares_of(groups):
    """Sums of squares between and within groups, in fractions."""
    means = [sum(one) / len(one) for one in groups]
    whole = sum(sum(one) for one in groups) / sum(len(one) for one in groups)
    within = sum(sum((x - mean) ** 2 for x in one) for one, mean in zip(groups, means, strict=True))
    between = sum(len(one) * (mean - whole) ** 2 for one, mean in zip(groups, means, strict=True))
    return float(between), float(within)


def numacc(vector):
    import workbench as wb

    del vector
    values = np.array([1000000.2, *np.tile([1000000.1, 1000000.3], 500)])
    cube = wb.cube(pd.DataFrame({"x": values, "g": np.where(np.arange(1001) % 7 < 3, "a", "b")}), by="g", of=["x"])
    whole = wb.collapse(cube)
    one = whole.sel(column="x")
    return float(one["mean"]), float(
        np.sqrt(one["m2"] / (one["values"] - 1))
    )  # of the sample; wb.std is the population's


def floor_of(words):
    """What an empty cell's share is replaced by, where a vector's words say so."""
    given = r"(?:replaced by|floor\w*|eps\w*|=)\s*(\d*\.?\d+(?:e-\d+)?)"
    found = re.search(r"(?:empty|zero)\w* (?:bins?|cells?|shares?)?\D*?" + given, words)
    return float(found[1]) if found else 0.0


def measured(vector, before, shared):
    """Our value of a vector, from its words alone; skips what we do not offer."""
    what = vector["statistic"].lower()
    if what.startswith("same as "):
        known = {one["id"]: one["statistic"].lower() for one in VECTORS}
        what = known.get(what.removeprefix("same as "), what.replace("_", " "))
    words = f"{what} {vector['definition'].lower()}"
    for pattern, why in NOT_OURS.items():
        if re.search(pattern, what):
            pytest.skip(why)
    given = vector["inputs"]
    if "anova" in what:
        return groups_of_file(vector, shared)
    if "univariate summary" in what:
        return numacc(vector)
    if "std threshold" in what:
        middle = {"min": np.min, "max": np.max, "mean": np.mean, "median": np.median}[given.get("offset_from", "mean")]
        return [compat.limits(given["data"], k, middle=float(middle(given["data"])))[0] for k in given["k_lower"]]
    if "kolmogorov survival" in what:
        assert 0 <= far.ks_p(7.5, [2], [2]) < 1e-40, "the peer says NaN here"
        return far.ks_p(given["z"], [2], [2])
    if "chunk" in what or "by calendar month" in what:
        return ks_chunks(vector)
    if "hist1" in given:
        value = far.jensen_shannon_divergence(*edges.split(given["hist1"], given["hist2"])[:2])
        return np.sqrt(value) if "distance" in what else value
    if "nan1" in given:  # two cells by the vector's definition; in ours NaN is one cell, told as a share
        return far.jensen_shannon_divergence([given["nan1"], 0], [0, given["nan2"]])
    if "anderson" in what:
        plain = re.search("midrank *= *false|not midrank|discrete|right", words)
        found = tests.anderson_darling(over_values(*sides(vector, before))[1:], midrank=not plain)
        return found.p if re.search(r"\bp\b|p-value", what) else found.statistic
    if "sys.float_info.min" in what or ("bins" in words and re.search("hellinger|psi", what)):
        a, b = bins_of(vector, words, before)
        if "hellinger" in what:
            return far.hellinger(a, b)
        return far.psi(a, b, smooth=0, floor=sys.float_info.min if "float_info.min" in what else floor_of(words))
    at, a, b = counted(vector, words, before)
    return of_counts(vector, what, words, at, a, b)


def of_counts(vector, what, words, at, a, b):
    expects_p = bool(re.search(r"\bp\b|p-value|p_value", what)) and not isinstance(vector["expected"], list)
    place = np.arange(len(a)) if at is None else at
    if re.search(r"chi-?(square|2)|chi2", what):
        if "gof" in what or "fixed" in what:
            right = tests.chi_square(a, b)
            assert right.p != pytest.approx(vector["expected"], abs=1e-6), "a two-sample test is another number"
            return compat.fixed_reference_p(a, b)
        found = tests.chi_square(a, b, yates=bool(re.search("yates|continuity", words)))
        free = max(((a + b) > 0).sum() - 1, 1)
        return (found.statistic, found.statistic / free, found.p) if isinstance(vector["expected"], list) else (
            found.p if expects_p else found.statistic)  # fmt: skip
    if "cramer's v" in what or "cramér" in what:
        return tests.cramer_v(a, b, corrected="uncorrected" not in words)
    if "cramer-von" in what:
        found = (tests.cramer_von_mises_exact if "exact" in words else tests.cramer_von_mises)(a, b)
        return found.p if expects_p else found.statistic
    if "mann" in what:
        found = tests.mann_whitney(a, b, alternative="less" if "'less'" in words else "two-sided")
        return found.p if expects_p else found.statistic
    if "fisher" in what:
        return tests.fisher(a, b).p
    if "t-test" in what:
        found = tests.t_test(a, b, place, equal_variance="equal_var=true" in words or "student" in what)
        return found.p if expects_p else found.statistic
    if "z-test" in what or "z test" in what:
        return compat.share_z_p(a, b)
    if "g-test" in what or "g test" in what:
        return tests.g_test(a, b).p
    if "energy" in what:
        return far.energy(a, b, place)
    if "wasserstein" in what or "emd" in what or "earth" in what:
        value = far.wasserstein(a, b, place)
        if "scaled" in what:
            return value / (place.max() - place.min())
        return value / far.deviation(a, place) if re.search(r"normed|normalised by|norm\.", what) else value
    if "jensen" in what or re.search(r"\bjsd?\b", what):
        if "nml_" in vector["id"] or "nannyml" in vector["source"].lower():
            text = vector["inputs"].get("recipe", "").find("choice(a") >= 0 or (at is not None and at.dtype.kind == "U")
            return compat.jensen_shannon_nannyml(a, b, None if text else at)[0]
        base = np.e if re.search(r"natural|base e|base=none|\bnats\b", words) else 2.0
        value = far.jensen_shannon_divergence(a, b, base=base)
        return value if "divergence" in words or "jsd" in what else np.sqrt(value)
    if re.search("l-?infinity|linf", what):
        value = far.l_infinity(a, b)
        alpha = vector["inputs"].get("alpha")
        return value if alpha is None else max(0.0, value - far.l_infinity_noise(a, b, alpha=alpha))
    if re.search(r"\bks\b|kolmogorov|cdf difference", what):
        if isinstance(vector["expected"], list):
            return tuple(tests.ks_exact(a, b))
        return tests.ks_exact(a, b).p if expects_p else far.ks(a, b)
    if "psi" in what or "population stability" in what:
        return far.psi(a, b, smooth=0, floor=floor_of(words))
    if "kl(" in what or "kullback" in what:
        return far.kullback_leibler(b, a)  # of p from q, which is what the published value is, whatever it is called
    if "hellinger" in what:
        return far.hellinger(a, b)
    if "total variation" in what or "tvd" in what:
        return far.total_variation(a, b)
    return pytest.skip(f"not a statistic we offer: {vector['statistic']}")


@pytest.mark.parametrize("place", range(max(len(VECTORS), 1)), ids=[one["id"] for one in VECTORS] or ["none"])
def test_published_value(place, shared):
    vector = VECTORS[place]
    recipes = [one["inputs"].get("recipe", "") for one in VECTORS[:place]]
    before = next((text for text in reversed(recipes) if text and text != "same"), "")
    if vector["inputs"].get("recipe") == "same" and "null" in vector["id"]:
        pytest.skip('its recipe says only "same", of which its own file does not say as what')
    told = measured(vector, before, shared)
    assert np.atleast_1d(told) == pytest.approx(np.atleast_1d(vector["expected"]), abs=vector["abs_tol"])


def test_the_published_values_are_all_there(shared):
    assert len(VECTORS) == len(json.loads((shared / "drift" / "vectors.json").read_text())["vectors"]) > 0
