"""A messy folder becomes a table with versions; what was planted in it is what is told."""

import pyarrow as pa
import pytest

from workbench.errors import WorkbenchError
from workbench.tables import flow, flow_example, open_table, quarantine, redact, versions


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow")
    truth = flow_example.messy(folder / "messy")
    recipe = flow.load_recipe(folder / "messy" / "prepare.yml")
    numbers = flow.prepare(flow.days_of(folder / "messy"), folder / "into", recipe, settle=0)
    return folder, truth, recipe, numbers


def rows_of(path):
    table = open_table(path)
    parts = [{n: rows.column(n) for n in table.schema.names} for p in table.pieces() for rows in table.batches(p)]
    return pa.concat_tables([pa.table(one) for one in parts], promote_options="permissive")


def test_the_truth_is_told(made):
    folder, truth, recipe, numbers = made
    assert len(numbers) == flow_example.DAYS
    told = flow.told(folder / "into", recipe)
    refused = dict(zip(told["refused"]["step"], told["refused"]["rows"], strict=True))
    assert refused == {"collect": 1, "types": truth["no_number"], "units": truth["unit"], "contract": truth["model"]}
    steps = told["steps"].set_index("step")
    assert steps.loc["types", "rows_in"] == truth["rows"] == told["taken"]["added_rows"].sum()
    assert steps.loc["unique", "dropped"] == truth["repeated"]
    assert dict(zip(told["personal"]["kind"], told["personal"]["findings"], strict=True)) == truth["personal"]
    left = truth["rows"] - truth["repeated"] - truth["no_number"] - truth["unit"] - truth["model"]
    versions = told["versions"]
    assert versions["rows"].iloc[-1] == steps["rows_out"].iloc[-1] == left
    assert list(versions["added"].cumsum()) == list(versions["rows"])
    assert list(versions["changed"]) == [0, 12, 12], "repeated requests with a higher revision, twelve a day"
    assert set(told["changes"]["column"]) >= {"revision", "tokens"}
    gone = truth["no_number"] + truth["unit"] + truth["model"]
    said = f"Of {truth['rows']:,} collected rows **{left:,}** were kept, {gone} refused, and {truth['repeated']} repeat"
    assert flow.words(told, str(folder / "into"))[0].startswith(said)


def test_what_was_refused_can_be_looked_at(made):
    folder, truth, _, _ = made
    entries = quarantine.entries(flow.places(folder / "into")[1])
    by = entries.groupby("reason")["count"].sum()
    assert by["units: unit is no unit like s"] == truth["unit"]
    rows = quarantine.rows(
        flow.places(folder / "into")[1], entries[entries["reason"].str.startswith("units")]["id"].iloc[0]
    )
    assert set(rows["unit"].to_pylist()) == {"kg"}


def test_no_personal_data_is_left_and_the_key_is_one(made):
    folder, *_ = made
    table = rows_of(flow.places(folder / "into")[1])
    assert redact.scan(table).num_rows == 0
    assert len(set(table["request_id"].to_pylist())) == table.num_rows
    assert "_arrived" not in table.schema.names


def test_processes_prepare_what_threads_do(made):
    folder, _, recipe, _ = made
    flow.prepare(flow.days_of(folder / "messy"), folder / "there", recipe, settle=0, cluster="processes")
    assert rows_of(flow.places(folder / "there")[1]).equals(rows_of(flow.places(folder / "into")[1]))
    here, there = (flow.told(folder / one, recipe) for one in ("into", "there"))
    for name in ("steps", "personal", "refused"):
        assert (
            here[name].drop(columns="where", errors="ignore").equals(there[name].drop(columns="where", errors="ignore"))
        )
    assert set(here["steps"]["where"]) == {"threads", "this process: it compares rows"}
    assert set(there["steps"]["where"]) == {"processes", "this process: it compares rows"}


def test_a_second_run_takes_nothing(made):
    folder, _, recipe, numbers = made
    assert flow.prepare(flow.days_of(folder / "messy"), folder / "into", recipe, settle=0) == []
    assert list(flow.told(folder / "into", recipe)["versions"]["version"]) == numbers


def test_a_folder_without_a_recipe_is_taken_as_it_is_and_masked(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.csv").write_text("n,t,card\n1,ana@example.org,4111111111111111\n2,x,\n")
    assert flow.prepare([str(tmp_path / "logs")], tmp_path / "into", flow.load_recipe(""), settle=0) == [1]
    assert rows_of(tmp_path / "into" / "prepared").to_pylist() == [
        {"n": 1, "t": "[email]", "card": "[card]"},
        {"n": 2, "t": "x", "card": None},
    ]


def test_a_raw_table_that_was_joined_rolled_back_or_got_a_column_is_prepared(tmp_path):
    logs, into = tmp_path / "logs", tmp_path / "into"
    logs.mkdir()
    (tmp_path / "c.yml").write_text("columns: {n: {range: [0, 9]}}\nextra: refuse\non_breach: quarantine\n")
    (tmp_path / "r.yml").write_text("contract: c.yml\nkey: n\n")
    recipe = flow.load_recipe(tmp_path / "r.yml")
    for name, text in (("a", "n\n1\n99\n"), ("b", "n\n2\n"), ("c", "n,more\n3,x\n")):
        (logs / f"{name}.csv").write_text(text)
        assert flow.prepare([str(logs)], into, recipe, settle=0)
    raw, done = flow.places(into)
    rows = rows_of(done).sort_by("n").to_pylist()
    assert rows == [{"n": 1, "more": None}, {"n": 2, "more": None}, {"n": 3, "more": "x"}]
    assert quarantine.entries(done)["count"].tolist() == [1], "set aside once, and counted in every version"
    assert [one["rows"] for one in versions.history(done)["told"].iloc[0]["refused"]] == [1]
    versions.compact(raw)
    versions.rollback(raw, 1)
    assert flow.commit(raw, done, recipe) is not None
    assert rows_of(done)["n"].to_pylist() == [1]
    assert list(flow.told(into, recipe)["versions"]["removed"]) == [0, 0, 0, 2]
    assert list(flow.told(into, recipe)["versions"]["added"]) == [1, 1, 1, 0]


def test_a_recipe_joins_dimensions_and_keeps_late_ones(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.csv").write_text(
        "who,at,n\na,2026-01-05T00:00:00Z,1\na,2026-01-01T00:00:00Z,2\nb,2026-01-05T00:00:00Z,3\n"
    )
    (tmp_path / "teams.csv").write_text("who,team,start\na,x,2026-01-02T00:00:00Z\na,y,2026-01-09T00:00:00Z\n")
    step = "join: {table: teams.csv, key: who, since: start, time: at}"
    (tmp_path / "r.yml").write_text(f"clean:\n  - {step}\n")
    assert flow.prepare([str(logs)], tmp_path / "into", flow.load_recipe(tmp_path / "r.yml"), settle=0) == [1]
    rows = rows_of(flow.places(tmp_path / "into")[1]).sort_by("n")
    assert rows["team"].to_pylist() == ["x", None, None]
    assert rows["who_late"].to_pylist() == [False, True, True]
    for bad, told in (("teams.csv", "none.csv"), ("key: who", "key: whom")):
        (tmp_path / "r.yml").write_text(f"clean:\n  - {step.replace(bad, told)}\n")
        with pytest.raises(WorkbenchError, match=r"r.yml:2: clean.0.join: .*" + told.split(": ")[-1]):
            flow.load_recipe(tmp_path / "r.yml")


def test_what_a_version_brought_is_not_invented_where_the_one_before_is_vacuumed(tmp_path):
    logs, into = tmp_path / "logs", tmp_path / "into"
    logs.mkdir()
    for number in (1, 2, 3):
        (logs / f"{number}.csv").write_text(f"n\n{number}\n")
        flow.prepare([str(logs)], into, flow.load_recipe(""), settle=0)
    done = flow.places(into)[1]
    (tmp_path / "runs").mkdir()
    assert versions.vacuum(done, hours=0, runs=tmp_path / "runs")["kept"] == [3]
    found = flow.told(into, flow.load_recipe(""))
    told = found["versions"]
    assert list(told["added"].isna()) == list(told["removed"].isna()) == [False, True, True]
    assert told["added"][0] == 1
    assert told["compared"][0] == ""
    assert all(one.startswith("cannot be told: version") and "vacuumed" in one for one in told["compared"][1:])
    assert len(found["changes"]) == len(found["schema"]) == 0
    assert "Version **3** holds 3 rows" in flow.words(found, str(into))[0]
    with pytest.raises(WorkbenchError, match="version 2 was vacuumed, or its files deleted"):
        versions.difference(done, 2, 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("clean:\n  - typs: {a: text}\n", "r.yml:2: clean.0.typs: there is no such field: did you mean 'types'"),
        ("clean:\n  - types: {a: tex}\n", "r.yml:2: clean.0.types: there is no kind 'tex'"),
        ("clean:\n  - unique: {}\n", "the step needs 'key'"),
        ("clean:\n  - unique: {key: a, winer: last}\n", "did you mean 'winner'"),
        ("clean: {types: 1}\n", "a list of steps is wanted"),
        ("cleen: []\n", "r.yml:1: cleen: there is no such field: did you mean 'clean'"),
        ("contract: none.yml\n", "cannot be read"),
    ],
)
def test_a_bad_recipe_is_told(tmp_path, text, told):
    (tmp_path / "r.yml").write_text(text)
    with pytest.raises(WorkbenchError) as error:
        flow.load_recipe(tmp_path / "r.yml")
    assert told in str(error.value)
