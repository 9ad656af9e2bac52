"""A file of rules is tried before it is used, and what is wrong in it is told; names come from outside."""

import re
import sys
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from workbench.errors import WorkbenchError
from workbench.tables import redact_cuda
from workbench.tables.redact import job, load_rules, redact, scan
from workbench.tables.redact_checks import CHECKS, luhn

GOOD = {"name": "staff", "kind": "staff", "pattern": "S-[0-9]{6}"}


def toml(value):
    return str(value) if isinstance(value, list) else f"'{value}'"


def written(folder, *rules):
    lines = ["[[rule]]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in rule.items()) for rule in rules]
    (folder / "rules.toml").write_text("\n".join(lines))
    return folder / "rules.toml"


def test_own_rules_are_used(tmp_path):
    rules = load_rules(written(tmp_path, GOOD | {"context": ["badge"]}))
    done = redact(pa.table({"t": ["Badge: S-123456", "S-123456", "badge: xS-123456"]}), job(rules))
    assert done.table["t"].to_pylist() == ["Badge: [staff]", "S-123456", "badge: xS-123456"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pattern": "(?<!x)[0-9]{6}"}, r"rule 1 \(staff\): RE2 does not read its pattern"),
        ({"pattern": r"([a-z])\1"}, "RE2 does not read its pattern"),
        ({"prefilter": r"\p{L}+"}, r"prefilter holds '\\\\p', which libcudf does not read"),
        ({"prefilter": "(?i)s-"}, "which libcudf does not read"),
        ({"pattern": "[0-9]*"}, "matches the empty text"),
        ({"check": "lunh"}, "did you mean 'luhn'"),
        ({"normal": "upper"}, "there is no normal 'upper'"),
        ({"patern": "x"}, "there is no field 'patern': did you mean 'pattern'"),
        ({"kind": ""}, "kind must be a text"),
    ],
)
def test_a_bad_rule_is_told(tmp_path, change, told):
    with pytest.raises(WorkbenchError, match=told):
        load_rules(written(tmp_path, GOOD | change))


def test_a_bad_file_is_told(tmp_path):
    with pytest.raises(WorkbenchError, match="two rules are named 'staff'"):
        load_rules(written(tmp_path, GOOD, GOOD))
    (tmp_path / "rules.toml").write_text("[[rule]\n")
    with pytest.raises(WorkbenchError, match="this is not TOML"):
        load_rules(tmp_path / "rules.toml")
    with pytest.raises(WorkbenchError, match="cannot be read: No such file"):
        load_rules(tmp_path / "none.toml")


def test_rules_are_chosen_by_name_kind_and_country():
    assert {rule.country for rule in load_rules(only=["national_id"], countries=["fr"])} == {"", "FR"}
    with pytest.raises(WorkbenchError, match="did you mean 'email'"):
        load_rules(only=["emial"])
    with pytest.raises(WorkbenchError, match="no rule of country 'XX'"):
        load_rules(countries=["XX"])


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        ("cn_id", "11010519491231002X", "110105194912310021"),
        ("eleven_digits", "01010750160", "01010750161"),
        ("id_announced", "86095742719", "86095742710"),  # Germany
        ("id_announced", "10000000146", "10000000145"),  # Turkey
        ("id_announced", "1237010180", "1236010180"),  # Austria
        ("id_announced", "123456782", "123456787"),  # Australia
        ("fr_nir", "255081416802538", "255081416802539"),
        ("in_aadhaar", "234123412346", "234123412347"),
        ("br_cnpj", "16.727.230/0001-97", "16.727.230/0001-96"),
        ("mx_curp", "BOXW310820HNERXN09", "BOXW310820HNERXN08"),
        ("cl_rut", "12.531.909-2", "12.531.909-3"),
        ("ar_cuit", "20-05536168-2", "20-05536168-3"),
        ("ru_snils", "112-233-445 95", "112-233-445 96"),
        ("lv_code", "161175-19997", "161175-19998"),
        ("hk_id", "A123456(3)", "A123456(4)"),
        ("tw_id", "A123456789", "A123456788"),
        ("id_announced", "9434765870", "9434765871"),  # Great Britain
        ("id_announced", "33392005961", "33392005962"),  # Croatia
        ("id_announced", "36805280109", "36805280108"),  # Estonia
        ("id_announced", "01013099997", "01013099999"),  # Greece
        ("id_announced", "123456789047", "123456789037"),  # Russia
        ("id_announced", "1630615123457", "1630615123458"),  # Romania
    ],
)
def test_checksums_by_published_examples(check, good, bad):
    assert (CHECKS[check](good), CHECKS[check](bad)) == (len(good), 0)


def test_luhn_finds_every_wrong_digit():
    number = "4539578763621486"
    assert luhn(number) == 16
    for place in range(16):
        for digit in set("0123456789") - {number[place]}:
            assert luhn(number[:place] + digit + number[place + 1 :]) == 0


def test_names_are_found_by_presidio_where_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(WorkbenchError, match="Presidio, which is not installed: pip install"):
        job(names=["t"])

    class Engine:  # as a model may do, it finds another name once the first is gone
        def analyze(self, text, **_):
            word = "Zoë" if "Zoë" in text else "person] and Ann"
            at = text.find(word)
            return [SimpleNamespace(start=at, end=at + len(word), entity_type="PERSON")] if at >= 0 else []

    table = pa.table({"t": ["é Zoë and Ann at zoe@example.org", None], "other": ["Zoë", "Zoë"]})
    how = job(names=["t"], engine=Engine())
    done = redact(table, how)
    assert done.table.to_pylist()[0] == {"t": "é [person][person] at [email]", "other": "Zoë"}
    assert scan(done.table, how).num_rows == 0
    assert done.findings.select(["start", "end", "rule"]).to_pylist()[0] == {"start": 2, "end": 5, "rule": "person"}


def test_a_real_model_finds_names_and_none_twice():
    pytest.importorskip("presidio_analyzer", reason="workbench[names] is not installed")
    spacy = pytest.importorskip("spacy")
    if not any(one.startswith("en_") for one in spacy.util.get_installed_models()):
        pytest.skip("no English model of spaCy is installed")
    how = job(names=["t"])
    done = redact(pa.table({"t": ["My name is John Smith and my mail is john@example.org", "nothing here", None]}), how)
    assert done.table["t"].to_pylist() == ["My name is [person] and my mail is [email]", "nothing here", None]
    assert scan(done.table, how).num_rows == 0


@pytest.mark.parametrize(
    "line",
    ["node-475-771-0465 up", "gpu-002-109-9159 down", "id 00560580188966", "counter 44051401359", "kv 44851401353 set"],
)
def test_a_name_or_counter_of_a_log_is_no_person(line):
    assert scan(pa.table({"line": [line]})).num_rows == 0


@pytest.mark.parametrize("line", ["44051401359 came", "0049 171 1234567", "+491711234567", "tel 0049 1711234567"])
def test_what_a_person_writes_still_is_found(line):
    assert scan(pa.table({"line": [line]})).num_rows == 1


def test_prefilters_spelt_for_a_gpu_hold_for_the_same_texts():
    lines = pa.array(
        ["a-b", "1 2-3", "x\ty", "a@b.org", "tel\u00e9 030-1234567", "[x]", "sk-abcdefgh1", "4111-1111-1111", "^-]"]
    )
    some = [
        r"[a-]b",
        r"[-1 ]2",
        r"\S[\s]\S",
        r"[^\s-]-",
        r"[[x]+[]]",
        r"[^]x-]x",
        *(one.prefilter for one in load_rules()),
    ]
    for one in some:
        other = redact_cuda.spelt(one)
        assert pc.match_substring_regex(lines, other) == pc.match_substring_regex(lines, one), one
        assert not re.search(r"(?<!\\)-\]|(?<!\\)\[\^?-|\\[sS]", other), other
