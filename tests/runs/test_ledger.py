"""A ledger of another version, of something else, or that is none: told in a sentence when it is opened."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from workbench.errors import WorkbenchError
from workbench.runs.ledger_tables import about, open_ledger, reading, windows


def test_a_ledger_is_made_once_and_opened_again(ledger):
    first = open_ledger(ledger)
    with reading(first) as c:
        assert c.scalar(sa.select(sa.func.count()).select_from(windows)) == 0
    first.dispose()
    open_ledger(ledger).dispose()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (about.update().values(value="0"), r"of version 0, wanted 1"),
        (sa.text("ALTER TABLE attempts DROP COLUMN cell"), r"has no cell in its table attempts: .* older workbench"),
        (sa.text("DROP TABLE deliveries"), r"has no channel, error, event, .* in its table deliveries"),
    ],
)
def test_a_ledger_of_another_workbench(ledger, change, told):
    engine = open_ledger(ledger)
    with engine.begin() as c:
        c.execute(change)
    engine.dispose()
    with pytest.raises(WorkbenchError, match=told) as error:
        open_ledger(ledger)
    assert "start a new one" in str(error.value)


def test_what_is_no_ledger(tmp_path):
    (tmp_path / "a.db").write_text("no database " * 100)
    with pytest.raises(WorkbenchError, match=r"a\.db cannot be opened: file is not a database"):
        open_ledger(str(tmp_path / "a.db"))
    with pytest.raises(WorkbenchError, match="cannot be opened: .*unable to open"):
        open_ledger(str(tmp_path))
    with pytest.raises(WorkbenchError, match="not in 'mysql'"):
        open_ledger("mysql://me:hunter2@host/name")
    with pytest.raises(WorkbenchError) as error:
        open_ledger("postgresql://me:hunter2@127.0.0.1:1/name?connect_timeout=2")
    assert "hunter2" not in str(error.value)
    with pytest.raises(WorkbenchError, match="has an @ in its password; write that as %40") as error:
        open_ledger("postgresql://me:hun@ter2@127.0.0.1:1/name")
    assert "ter2" not in str(error.value)
