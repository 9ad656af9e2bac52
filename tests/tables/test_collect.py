"""Collecting: each row once, whatever happens to the files between two collections."""

from __future__ import annotations

import gzip
import json
import os
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import workbench as wb
from workbench.errors import WorkbenchError
from workbench.tables import quarantine
from workbench.tables.collect import collect
from workbench.tables.delta import load, snapshot, write

HEAD = "time,model,ms\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def table(tmp_path):
    return str(tmp_path / "table")


def lines(start, stop):
    return "".join(f"2026-11-{1 + i // 86400:02d}T00:00:00Z,m{i % 3},{i}\n" for i in range(start, stop))


def rows(table, column="ms"):
    """The values of a column over the whole table, in order."""
    found = wb.open_table(table, columns=[column])
    values = [
        one for piece in found.pieces() for part in found.batches(piece) for one in part.column(column).to_pylist()
    ]
    return sorted(values, key=lambda one: (one is None, one))


def outcome(done):
    return {one["source"].rsplit("/", 1)[1]: one["outcome"] for one in done.told}


def test_files_of_every_format_become_one_table_and_a_second_time_nothing_happens(folder, table):
    (folder / "a.csv").write_text(HEAD + lines(0, 10))
    (folder / "b.csv.gz").write_bytes(gzip.compress((HEAD + lines(10, 20)).encode()))
    with pa.CompressedOutputStream(str(folder / "c.jsonl.zst"), "zstd") as file:
        file.write("".join(json.dumps({"ms": i, "model": "z"}) + "\n" for i in range(20, 30)).encode())
    (folder / "d.ndjson").write_text(
        "".join(json.dumps({"ms": i, "time": "2026-11-02T00:00:00Z"}) + "\n" for i in range(30, 40))
    )
    pq.write_table(pa.table({"ms": range(40, 50), "model": ["p"] * 10, "time": pa.array(range(10), pa.timestamp("ms"))}),
                   folder / "e.parquet", row_group_size=3)  # fmt: skip
    done = collect(folder, table, settle=0, time="time")
    assert (done.rows, done.files, done.aside, done.versions) == (50, 5, 0, (1,))
    assert rows(table) == list(range(50))
    again = collect(folder, table, settle=0)
    assert (again.rows, again.versions) == (0, ())
    assert set(outcome(again).values()) == {"known"}
    assert snapshot(table).version == 1


def test_a_log_that_grows_is_taken_from_its_position_and_half_a_line_waits(folder, table):
    log = folder / "app.jsonl"
    text = "".join(json.dumps({"ms": i}) + "\n" for i in range(100)).encode()
    log.write_bytes(text[:501])
    assert collect(log, table, settle=60).rows == text[:501].count(b"\n")
    assert outcome(collect(log, table, settle=60)) == {"app.jsonl": "waiting"}
    log.write_bytes(text)
    collect(log, table, settle=60)
    assert rows(table) == list(range(100))


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_any_growth_and_any_rotation_lose_and_double_nothing(folder, table, block, monkeypatch):
    monkeypatch.setattr("workbench.tables.intake.BLOCK", block)
    monkeypatch.setattr("workbench.tables.intake_read.CHUNK", 300)
    chance = random.Random(block)
    number = turn = 0
    log = folder / "app.csv"
    log.write_text(HEAD)
    for _ in range(12):
        step = chance.choice(["grow", "grow", "rotate", "copy", "pack", "touch"])
        if step == "grow":
            more = chance.randrange(40)
            with log.open("a") as file:
                file.write(lines(number, number + more))
            number += more
        elif step == "rotate":
            turn += 1
            log.rename(folder / f"app.csv.{turn}")
            log.write_text(HEAD + lines(number, number + 5))
            number += 5
        elif step == "copy":  # copy and truncate
            turn += 1
            (folder / f"app.csv.{turn}").write_bytes(log.read_bytes())
            log.write_text(HEAD + lines(number, number + 7))
            number += 7
        elif step == "pack":
            for old in folder.glob("app.csv.?"):
                old.with_name(old.name + ".gz").write_bytes(gzip.compress(old.read_bytes()))
                old.unlink()
        os.utime(log, (chance.randrange(10**9), chance.randrange(10**9)))
        done = collect(folder, table, settle=0)
        assert done.aside == 0, done.told
    assert rows(table) == list(range(number))


def test_a_packed_file_that_is_still_being_written_waits_and_a_damaged_one_is_set_aside(folder, table):
    whole = gzip.compress((HEAD + lines(0, 1000)).encode())
    path = folder / "a.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    assert collect(folder, table, settle=60).waiting == 1
    write(
        table,
        pa.table(
            {
                "time": pa.array([], pa.timestamp("us")),
                "model": pa.array([], pa.string()),
                "ms": pa.array([], pa.int64()),
            }
        ),
    )
    os.utime(path, (1e9, 1e9))
    done = collect(folder, table, settle=60)
    assert done.aside == 1
    assert "breaks off" in done.told[0]["reason"]
    path.write_bytes(whole)
    collect(folder, table, settle=60)
    assert rows(table) == list(range(1000))


def test_truncated_parquet_is_set_aside_until_it_is_whole(folder, table):
    pq.write_table(pa.table({"ms": range(5)}), folder / "a.parquet")
    whole = (folder / "a.parquet").read_bytes()
    pq.write_table(pa.table({"ms": range(5, 9)}), folder / "b.parquet")
    (folder / "a.parquet").write_bytes(whole[:-20])
    young = collect(folder, table, settle=60)
    assert (young.rows, young.aside) == (4, 0)
    assert outcome(young)["a.parquet"] == "waiting"
    os.utime(folder / "a.parquet", (1e9, 1e9))
    assert collect(folder, table, settle=60).aside == 1
    (folder / "a.parquet").write_bytes(whole)
    collect(folder, table, settle=60)
    assert rows(table) == list(range(9))


def test_truncated_and_rewritten_texts_are_set_aside_and_can_be_taken_when_asked(folder, table):
    (folder / "a.csv").write_text(HEAD + lines(0, 100))
    collect(folder, table, settle=0)
    (folder / "a.csv").write_text(HEAD + lines(0, 60))
    assert "truncated" in collect(folder, table, settle=0).told[0]["reason"]
    (folder / "a.csv").write_text(HEAD + lines(0, 110))
    assert collect(folder, table, settle=0).rows == 10
    (folder / "a.csv").write_text(HEAD + lines(500, 600))
    done = collect(folder, table, settle=0)
    assert done.rows == 0
    assert "rewritten" in done.told[0]["reason"]
    assert collect(folder, table, settle=0).told[0]["outcome"] == "refused"
    (folder / "a.csv").write_text(HEAD + lines(500, 601))
    assert collect(folder, table, settle=0, rewritten="take").rows == 101
    assert rows(table) == [*range(110), *range(500, 601)]


def test_marks_and_encodings(folder, table):
    for number, (name, encoding) in enumerate([("a", "utf-8-sig"), ("b", "utf-16"), ("c", "utf-8")]):
        (folder / f"{name}.csv").write_bytes(f"name,ms\nGrüße {name},{number}\n".encode(encoding))
    assert collect(folder, table, settle=0).aside == 0
    assert rows(table, "name") == ["Grüße a", "Grüße b", "Grüße c"]
    (folder / "d.csv").write_bytes("name,ms\nplain,3\nGrüße d,4\nplain,5\n".encode("cp1252"))
    done = collect(folder, table, settle=0)
    assert (done.rows, done.aside) == (2, 1)
    (folder / "e.csv").write_bytes("name,ms\nGrüße e,6\n".encode("cp1252"))
    assert collect(folder / "e.csv", table, settle=0, encoding="cp1252").rows == 1
    assert "Grüße e" in rows(table, "name")


def test_a_header_that_changes_is_set_aside_or_declared(folder, table):
    (folder / "monday.csv").write_text(HEAD + lines(0, 3))
    collect(folder, table, settle=0)
    (folder / "tuesday.csv").write_text("model,time,ms,region\nm1,2026-11-03,3,eu\n")
    (folder / "wednesday.csv").write_text("time,model\n2026-11-03,m\n")
    (folder / "thursday.csv").write_text("ms,time,model\n4,2026-11-03,m\n")
    done = collect(folder, table, settle=0)
    reasons = {one["source"].rsplit("/", 1)[1]: one["reason"] for one in done.told}
    assert "new column 'region'" in reasons["tuesday.csv"]
    assert "lacks the column 'ms'" in reasons["wednesday.csv"]
    assert rows(table) == [0, 1, 2, 4]
    (folder / "friday.csv").write_text("model,time,ms,region\nm1,2026-11-03,5,us\n")
    assert collect(folder / "friday.csv", table, settle=0, evolve=["region"]).rows == 1
    assert rows(table, "region") == ["us", None, None, None, None]


def test_broken_lines_are_set_aside_with_their_place_and_the_others_stay(folder, table):
    (folder / "a.csv").write_text(HEAD + lines(0, 5) + "2026-11-01,m,many\nshort,line\n" + HEAD + lines(5, 9))
    (folder / "a.jsonl").write_text('{"ms": 10}\n{"ms": oops}\n[1]\n{"ms": "x"}\n{"ms": 11, "model": {"deep": [1]}}\n')
    done = collect(folder, table, settle=0, types={"ms": "integer", "model": "text"})
    assert (done.rows, done.aside) == (11, 6)
    assert rows(table) == [*range(9), 10, 11]
    assert '{"deep": [1]}' in rows(table, "model")


def test_new_keys_of_json_come_in_the_middle_of_a_file_when_declared(folder, table):
    (folder / "a.jsonl").write_text('{"ms": 1}\n{"ms": 2, "zone": "b", "n": 3}\n')
    (folder / "b.jsonl").write_text('{"ms": 3}\n' * 3)
    write(table, pa.table({"ms": pa.array([], pa.int64())}))
    done = collect(folder, table, settle=0, evolve="*")
    assert (done.rows, done.aside) == (5, 0)
    assert rows(table, "n") == [3, None, None, None, None]


def test_otlp_spans_become_rows(folder, table):
    span = {"traceId": "t", "spanId": "s", "name": "chat", "startTimeUnixNano": "1764547200000000000",
            "endTimeUnixNano": "1764547201500000000", "kind": 3, "status": {"code": 2},
            "attributes": [{"key": "gen_ai.request.model", "value": {"stringValue": "m"}}]}  # fmt: skip
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "gateway"}}]}
    line = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span, span]}]}]})
    (folder / "spans.jsonl").write_text(f"{line}\n{line[:-4]}\n")
    done = collect(folder, table, settle=0)
    assert (done.rows, done.aside) == (2, 1)
    assert rows(table, "duration_s") == [1.5, 1.5]
    assert rows(table, "service") == ["gateway"] * 2


def test_two_copies_are_one_and_two_files_that_begin_alike_are_two(folder, table):
    same = HEAD + lines(0, 10)
    (folder / "a.csv").write_text(same)
    (folder / "b.csv").write_text(same)
    (folder / "c.csv").write_text(HEAD + lines(0, 1) + lines(50, 55))
    collect(folder, table, settle=0)
    assert rows(table) == [0, *range(10), *range(50, 55)]


def test_memory_and_batches_are_bounded_and_positions_continue_within_a_file(folder, table, monkeypatch):
    monkeypatch.setattr("workbench.tables.intake_read.CHUNK", 10_000)
    monkeypatch.setattr("workbench.tables.intake.BLOCK", 4096)
    (folder / "a.csv").write_text(HEAD + lines(0, 5000))
    pq.write_table(pa.table({"ms": range(5000, 9000), "model": ["p"] * 4000, "time": pa.array([0] * 4000, pa.timestamp("ms"))}),
                   folder / "b.parquet", row_group_size=1000)  # fmt: skip
    done = collect(folder, table, settle=0, batch_bytes=40_000)
    assert len(done.versions) > 4
    assert rows(table) == list(range(9000))


def test_another_address_than_a_folder(table):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/collected/a.csv", (HEAD + lines(0, 4)).encode())
    memory.pipe("/collected/b.csv", (HEAD + lines(4, 8)).encode())
    assert collect("memory://collected", table, settle=0).rows == 8
    assert collect("memory://collected/*.csv", table, settle=0).rows == 0
    assert rows(table) == list(range(8))


def test_folders_named_key_and_value_become_columns(folder, table):
    for day in (1, 2):
        (folder / f"day={day}").mkdir()
        (folder / f"day={day}" / "a.csv").write_text(HEAD + lines(day, day + 1))
    collect(folder, table, settle=0)
    assert rows(table, "day") == [1, 2]


def test_what_was_taken_is_found_without_the_log(folder, table):
    for number in range(30):
        (folder / f"{number}.csv").write_text(HEAD + lines(number, number + 1))
        collect(folder, table, settle=0)
    log = load(table_home(table))
    log.create_checkpoint()
    for path in (folder.parent / "table" / "_delta_log").glob("*.json"):
        if int(path.stem) < log.version():
            path.unlink()
    assert collect(folder, table, settle=0).rows == 0
    from workbench.tables import delta_record

    record = delta_record.read(
        table_home(table).place, table_home(table).folder, log.transaction_version(delta_record.APP)
    )
    assert len(record.of("file")) == 30
    assert len(record.files) <= 6


def table_home(table):
    from workbench.tables.delta import home

    return home(table)


def test_what_cannot_be_asked(folder, table):
    for options, words in [
        ({"lacking": "x"}, "lacking"),
        ({"encoding": "klingon"}, "klingon"),
        ({"rewritten": ""}, "take"),
    ]:
        with pytest.raises(WorkbenchError, match=words):
            collect(folder, table, **options)
    with pytest.raises(WorkbenchError, match="does not exist"):
        collect(folder / "nowhere", table)
    with pytest.raises(WorkbenchError, match="no table with versions"):
        snapshot(table)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_times_in_every_spelling_are_the_same_moment(folder, table, form):
    spelled = [
        "2026-11-24T01:00:00Z",
        "2026-11-24 02:00:00+01:00",
        "2026-11-24 01:00:00",
        "2026-11-24T01:00:00.000000000Z",
    ]
    for number, one in enumerate(spelled):
        text = f"time,ms\n{one},{number}\n" if form == "csv" else json.dumps({"time": one, "ms": number}) + "\n"
        (folder / f"{number}.{form}").write_text(text)
    both = "time,ms\n" + f"{spelled[0]},8\n{spelled[2]},9\n"
    (folder / "both.csv").write_text(both)
    done = collect(folder, table, settle=0, types={"time": "time"})
    assert done.aside == 0
    assert {str(one) for one in rows(table, "time")} == {"2026-11-24 01:00:00+00:00"}


def test_a_quote_that_nothing_ends_costs_one_line(folder, table):
    text = lines(0, 5) + '2026-11-01,"m,5\n' + lines(6, 20)
    (folder / "a.csv").write_text(HEAD + text)
    done = collect(folder, table, settle=0, types={"ms": "integer", "time": "time"})
    assert (done.rows, done.aside) == (19, 1)
    assert rows(table) == [*range(5), *range(6, 20)]


def test_json_that_is_no_utf8_never_enters_a_table(folder, table):
    (folder / "a.jsonl").write_bytes(b'{"name": "\xff", "ms": 1}\n{"name": "\xc3\xbc", "ms": 2}\n')
    done = collect(folder, table, settle=0)
    assert (done.rows, done.aside, rows(table, "name")) == (1, 1, ["ü"])


def test_a_file_that_was_only_touched_is_known_and_commits_nothing(folder, table):
    (folder / "a.csv").write_text(HEAD + lines(0, 5))
    (folder / "b.csv.gz").write_bytes(gzip.compress((HEAD + lines(5, 9)).encode()))
    collect(folder, table, settle=0)
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))
    done = collect(folder, table, settle=0)
    assert (done.versions, set(outcome(done).values())) == ((), {"known"})


@pytest.mark.parametrize(
    ("name", "body", "told"),
    [
        ("n.csv", b"\n\n\n", "no header line"),
        ("n.csv.gz", gzip.compress(b"a,b\n" + b"1,x\n" * 5000, mtime=0)[:60], "n.csv.gz.*breaks off"),
        ("n.jsonl", b'1\n"x"\nnull\n', "is a JSON object"),
        ("n.json", b'{\n "a": 1\n}\n', "is a JSON object"),
        ("n.json", b'[{"a": 1}]', "a JSON array"),
    ],
)
def test_a_table_is_not_made_of_what_holds_no_row_and_why_is_told(folder, table, name, body, told):
    (folder / name).write_bytes(body)
    with pytest.raises(WorkbenchError, match=told):
        collect(folder, table, settle=0)


def test_a_header_without_rows_waits_for_them(folder, table):
    (folder / "n.csv").write_text("a,b\n")
    done = collect(folder, table, settle=0)
    assert [(one["outcome"], one["reason"]) for one in done.told] == [("waiting", "it holds no row yet")]
    (folder / "n.csv").write_text("a,b\n1,2\n")
    assert collect(folder, table, settle=0).rows == 1


def test_digits_that_a_number_would_not_keep_are_text(tmp_path):
    (tmp_path / "in").mkdir()
    rows = [
        "zip,call,id,ns,n,x",
        "01234,+4930123456,18446744073709551615,1764187265123456789,0,0.5",
        "10115,+4930123457,7,5,-3,1",
    ]
    (tmp_path / "in" / "a.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "in" / "b.jsonl").write_text(
        '{"zip": "02", "id": 18446744073709551615, "ns": 1764187265123456789, "n": 1}\n'
    )
    collect([str(tmp_path / "in")], tmp_path / "t", settle=0, lacking="null")
    table = wb.open_table(tmp_path / "t")
    assert {name: table.kinds[name] for name in ("zip", "call", "id", "ns", "n", "x")} == {
        "zip": "text", "call": "text", "id": "text", "ns": "integer", "n": "integer", "x": "number"
    }  # fmt: skip
    found = {
        n: [v for p in table.pieces() for r in table.batches(p) for v in r.column(n).to_pylist()]
        for n in ("zip", "id", "ns")
    }
    assert sorted(found["zip"]) == ["01234", "02", "10115"]
    assert sorted(found["id"]) == ["18446744073709551615", "18446744073709551615", "7"]
    assert max(found["ns"]) == 1764187265123456789


@pytest.mark.parametrize(
    ("name", "data", "rows", "reason"),
    [
        ("a.csv", "model,ms\na,1\n".encode("utf-16-le"), 0, "its first line holds zero bytes"),
        ("a.csv", "model,ms\na,1\n".encode("utf-32"), 1, ""),
        ("a.csv", b"Model,ms\na,1\n", 0, "the column 'Model' beside 'model'"),
        ("a.csv", b"ms,MS,model\n1,2,a\n", 0, "the columns 'ms' and 'MS', and capitals tell none apart"),
        ("a.csv", b'ms,model\n1,"open\n2,b\n3,c\n', 2, "a quote that nothing ends"),
        ("a.csv", b'model,ms\n5" disk,1\nb,2\n', 2, ""),
        ("a.jsonl", b'{"model": "a", "MODEL": "b"}\n{"model": "c"}\n{"model": "d"}\n', 2, "new column 'MODEL'"),
        ("a.jsonl", b'{"model": "\\ud83d"}\n{"model": "\\ud83d\\ude00"}\n', 1, "half a character"),
        ("a.jsonl", b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 1}]}]}]}\n' * 2, 0, "no OTLP spans"),
    ],
)
def test_a_hostile_file_is_taken_or_set_aside_with_a_reason(folder, table, name, data, rows, reason):
    (folder / "0.csv").write_text("model,ms\nfirst,0\n")
    assert collect(folder, table, settle=0).rows == 1
    (folder / name).write_bytes(data)
    done = collect(folder, table, settle=0, evolve="*")
    assert done.rows == rows
    found = quarantine.entries(table)
    assert (reason in found["reason"].iloc[0]) if reason else found.empty
    assert collect(folder, table, settle=0, evolve="*").rows == 0


def test_parquet_with_two_columns_of_one_name_or_times_of_day(folder, table):
    pq.write_table(pa.table({"at": pa.array([3_723_000_000], pa.time64("us")), "n": [1]}), folder / "a.parquet")
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["n", "n"]), folder / "b.parquet")
    done = collect(folder, table, settle=0)
    assert (done.rows, done.aside) == (1, 1)
    assert "the columns 'n' and 'n'" in quarantine.entries(table)["reason"].iloc[0]
    taken = wb.open_table(table)
    assert [rows.column("at").to_pylist() for one in taken.pieces() for rows in taken.batches(one)] == [
        ["01:02:03.000000"]
    ]
