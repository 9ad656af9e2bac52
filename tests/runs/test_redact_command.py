"""`workbench redact`: findings are told and never printed; the copy holds everything else as it was."""

import gzip
import json

import pyarrow.parquet as pq
import pytest

from workbench.cli import main

LOG = b"a ana@example.org\r\n-----BEGIN RSA PRIVATE KEY-----\nMIIabc\nxyz==\n-----END RSA PRIVATE KEY-----\n\nlast 10.1.2.3"
CSV = "id,zip,card,note\n1,01234,4111111111111111,x\n2,10115,5555555555554444,\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.log").write_bytes(LOG)
    (tmp_path / "a.csv").write_text(CSV)
    return tmp_path


def test_a_text_is_scanned_and_copied_line_by_line(here, capsys):
    (here / "a.log.gz").write_bytes(gzip.compress(LOG))
    for name in ("a.log", "a.log.gz"):
        assert main(["redact", name]) == 1
        told = capsys.readouterr().out
        assert "ana@" not in told
        assert told.splitlines()[-1] == "4 rows, 3 findings"
    assert main(["redact", "a.log", "--out", "b.log"]) == 0
    assert (here / "b.log").read_bytes() == b"a [email]\r\n[secret]\n\nlast [ip]"
    assert main(["redact", "b.log"]) == 0
    assert sorted(one.name for one in here.iterdir()) == ["a.csv", "a.log", "a.log.gz", "b.log"]


def test_a_table_keeps_what_is_not_personal_as_it_is_written(here, capsys):
    assert main(["redact", "a.csv", "--out", "b.csv", "--only", "card,email"]) == 0
    assert (here / "b.csv").read_text().splitlines()[1:] == ['"1","01234","[card]","x"', '"2","10115","[card]",']
    assert main(["redact", "a.csv", "--out", "b.parquet"]) == 0
    assert pq.read_table(here / "b.parquet")["zip"].to_pylist() == ["01234", "10115"]
    (here / "c.jsonl").write_text('{"phone": 4155552671, "n": 1, "who": {"mail": "a@b.org"}}\n')
    assert main(["redact", "c.jsonl", "--out", "d.jsonl"]) == 0
    assert json.loads((here / "d.jsonl").read_text()) == {"phone": "[phone]", "n": 1, "who": {"mail": "[email]"}}
    assert "not searched: n (int64 is no text)" in capsys.readouterr().out


def test_a_pseudonym_needs_a_key_from_outside(here, capsys, monkeypatch):
    monkeypatch.delenv("WORKBENCH_REDACT_KEY", raising=False)
    assert main(["redact", "a.log", "--mode", "pseudonym"]) == 2
    monkeypatch.setenv("OWN", "0123456789abcdef")
    assert main(["redact", "a.log", "--mode", "pseudonym", "--key", "secret:env:OWN", "--out", "b.log"]) == 0
    assert (here / "b.log").read_text().startswith("a [email-")
    capsys.readouterr()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["a.log", "--out", "a.csv"], "'a.csv' is there already"),
        (["a.csv", "--out", "b.xlsx"], "written as .parquet, .csv or .jsonl"),
        (["a.log", "--out", "none/b.log"], "there is no folder"),
        (["none.log"], "'none.log' cannot be read"),
        (["l1.txt"], "'l1.txt' is no utf-8 text (byte 0xe9): give --encoding"),
        (["l1.txt", "--encoding", "latn"], "there is no encoding 'latn'"),
        (["a.log", "--only", "emial"], "did you mean 'email'"),
    ],
)
def test_what_cannot_be_is_told_and_leaves_nothing(here, capsys, given, told):
    (here / "l1.txt").write_bytes(b"caf\xe9 a@b.org\n")
    before = sorted(here.iterdir())
    assert main(["redact", *given]) == 2
    assert told in capsys.readouterr().err
    assert sorted(here.iterdir()) == before
    assert main(["redact", "l1.txt", "--encoding", "cp1252"]) == 1


def test_collect_and_prepare_take_an_address_that_is_a_secret(here, capsys, monkeypatch):
    (here / "hidden-folder").mkdir()
    (here / "hidden-folder" / "a.csv").write_text(CSV)
    monkeypatch.setenv("WHERE", str(here / "hidden-folder"))
    assert main(["collect", "secret:env:WHERE", "t", "--settle", "0", "--runs", "runs"]) == 0
    assert "2 rows from 1 files" in capsys.readouterr().out
    assert "hidden-folder" not in "".join(one.read_text() for one in here.glob("runs/**/*.jsonl"))
