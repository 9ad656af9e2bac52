"""Incidents: one alert for what has one cause, and states that follow people and runs."""

import pandas as pd
import pytest

from workbench.analyses import incidents
from workbench.errors import WorkbenchError

DAYS = [f"2026-03-{day:02}T00:00:00Z" for day in range(1, 11)]


def judged(drifted, days=DAYS, **more):
    """A verdict for every day, column and segment; drifted: {column: days} of all rows."""
    rows = []
    for day in days:
        for column in ("x", "y", "z"):
            hit = day in drifted.get(column, ())
            rows.append({"window": day, "segment": "", "column": column, "drifted": hit, "by": "values" if hit else "",
                         "size": {"x": 3.0, "y": 2.0, "z": 1.5}[column] * hit,
                         "verdict": "drifted" if hit else "no drift"})  # fmt: skip
    return pd.DataFrame(rows).assign(**more)


def test_neighbouring_windows_and_columns_are_one_incident():
    told = incidents.found(judged({"x": DAYS[3:6], "y": DAYS[4:7]}))
    assert len(told) == 1
    one = told.iloc[0]
    assert (one["since"], one["until"], one["windows"], one["columns"]) == (DAYS[3], DAYS[6], 4, "x, y")
    assert one["words"] == "x moved from 2026-03-04 to 2026-03-07, and 1 more column"
    assert not one["going_on"]


def test_a_day_of_quiet_does_not_end_an_incident_and_a_week_does():
    assert len(incidents.found(judged({"x": [DAYS[1], DAYS[3]]}))) == 1
    assert len(incidents.found(judged({"x": [DAYS[1], DAYS[8]]}))) == 2
    assert len(incidents.found(judged({"x": [DAYS[1], DAYS[3]]}), quiet=0)) == 2
    assert len(incidents.found(judged({"x": [DAYS[1]], "y": [DAYS[3]]}))) == 2, "another column is another cause"


def test_what_begins_later_is_another_incident_also_while_the_first_lasts():
    told = incidents.found(judged({"x": DAYS, "y": DAYS[5:8], "z": DAYS[6:8]}))
    assert told[["columns", "since", "until"]].to_numpy().tolist() == [
        ["y, z", DAYS[5], DAYS[7]],
        ["x", DAYS[0], DAYS[9]],
    ]
    assert told["going_on"].tolist() == [False, True]
    wave = incidents.found(judged({"x": DAYS[:1], "y": DAYS[1:2], "z": DAYS[2:3]}))
    assert wave["columns"].tolist() == ["x, y, z"], "neighbours are one"


def test_an_acknowledged_drift_hides_no_new_one_and_keeps_its_state_with_late_data():
    first = run(incidents.blank(), {"x": DAYS[1:6]}, "2026-03-06T06:00:00Z", DAYS[:6])
    mine = incidents.act(first, first["id"].iloc[0], "acknowledged", "2026-03-06T07:00:00Z", by="ana")
    second = run(mine, {"x": DAYS[1:8], "y": DAYS[7:8]}, "2026-03-08T06:00:00Z", DAYS[:8])
    assert second[["columns", "state"]].to_numpy().tolist() == [["y", "open"], ["x", "acknowledged"]]
    assert incidents.alerts(mine, second)["columns"].tolist() == ["y"]
    late = {"x": DAYS[0:9], "y": DAYS[6:9]}
    third = run(second, late, "2026-03-09T06:00:00Z", DAYS[:9])
    assert third[["id", "state", "since"]].to_numpy().tolist() == [
        [second["id"].iloc[0], "open", DAYS[6]],
        [second["id"].iloc[1], "acknowledged", DAYS[0]],
    ]
    assert incidents.alerts(second, third).empty


def test_a_column_of_an_old_incident_that_drifts_again_does_not_take_its_state():
    first = run(incidents.blank(), {"x": DAYS[:4], "y": DAYS[:1]}, "2026-03-04T06:00:00Z", DAYS[:4])
    mine = incidents.act(first, first["id"].iloc[0], "acknowledged", "2026-03-04T07:00:00Z", by="ana")
    again = run(mine, {"x": DAYS[:8], "y": [DAYS[0], DAYS[7]]}, "2026-03-08T06:00:00Z", DAYS[:8])
    assert again[["columns", "state"]].to_numpy().tolist() == [["y", "open"], ["x, y", "acknowledged"]]
    assert again["id"].nunique() == 2


def test_incidents_that_begin_in_one_window_have_names_of_their_own():
    first = run(incidents.blank(), {"x": DAYS[4:5]}, "2026-03-05T06:00:00Z", DAYS[:5])
    other = run(first, {"y": DAYS[4:6]}, "2026-03-06T06:00:00Z", DAYS[:6])
    assert other[["columns", "state"]].to_numpy().tolist() == [["y", "open"], ["x", "resolved"]]


def test_an_incident_of_one_segment_names_it():
    frame = judged({})
    frame = pd.concat([frame, judged({"x": DAYS[9:]}, segment="model=a")])
    one = incidents.found(frame).iloc[0]
    assert one["segments"] == "model=a"
    assert one["words"] == "x moved in model=a since 2026-03-10"
    assert one["going_on"]


def test_nothing_found_without_windows_or_without_drift():
    assert incidents.found(judged({})).empty
    told = incidents.found(judged({"x": [""]}, days=[""]))
    assert told["words"].tolist() == ["x moved in all windows"]
    assert incidents.say(incidents.blank()) == "No incident."


def run(states, drifted, at, days=DAYS):
    return incidents.advance(states, incidents.found(judged(drifted, days)), at, about="drift t", seen=days)


def test_the_life_of_an_incident():
    first = run(incidents.blank(), {"x": DAYS[4:5]}, "2026-03-05T06:00:00Z", DAYS[:5])
    assert first["state"].tolist() == ["open"]
    assert len(incidents.alerts(incidents.blank(), first)) == 1
    name = first["id"].iloc[0]

    second = run(first, {"x": DAYS[4:6]}, "2026-03-06T06:00:00Z", DAYS[:6])
    assert second["id"].tolist() == [name], "another day of the same is the same incident"
    assert incidents.alerts(first, second).empty, "and no second message"

    mine = incidents.act(second, name, "acknowledged", "2026-03-06T07:00:00Z", by="ana")
    third = run(mine, {"x": DAYS[4:7], "y": DAYS[6:7]}, "2026-03-07T06:00:00Z", DAYS[:7])
    assert third["state"].tolist() == ["acknowledged"]
    assert third["columns"].tolist() == ["x, y"]
    assert incidents.alerts(mine, third).empty
    assert incidents.say(third).startswith(
        "Incidents: 1 acknowledged. **acknowledged** by ana: x moved since 2026-03-05"
    )

    over = run(third, {"x": DAYS[4:7], "y": DAYS[6:7]}, "2026-03-09T06:00:00Z", DAYS[:9])
    assert over["state"].tolist() == ["resolved"]
    assert len(incidents.alerts(third, over)) == 1

    again = run(over, {"x": [*DAYS[4:7], *DAYS[7:10]]}, "2026-03-10T06:00:00Z")
    assert again[["id", "state"]].to_numpy().tolist() == [[name, "open"]]
    assert len(incidents.alerts(over, again)) == 1


def test_a_mute_ends_by_itself():
    states = run(incidents.blank(), {"x": DAYS[4:5]}, "2026-03-05T06:00:00Z", DAYS[:5])
    name = states["id"].iloc[0]
    muted = incidents.act(states, name, "muted", "2026-03-05T07:00:00Z", until="2026-03-07T00:00:00Z", note="deploy")
    assert run(muted, {"x": DAYS[4:6]}, "2026-03-06T06:00:00Z", DAYS[:6])["state"].tolist() == ["muted"]
    assert "**muted** until 2026-03-07: x moved" in incidents.say(muted)
    late = run(muted, {"x": DAYS[4:8]}, "2026-03-08T06:00:00Z", DAYS[:8])
    assert late["state"].tolist() == ["open"]
    assert len(incidents.alerts(muted, late)) == 1


def test_what_a_run_did_not_look_at_is_not_resolved():
    states = run(incidents.blank(), {"x": DAYS[4:5]}, "2026-03-05T06:00:00Z", DAYS[:5])
    elsewhere = run(states, {}, "2026-03-09T06:00:00Z", DAYS[6:9])
    assert elsewhere["state"].tolist() == ["open"]
    assert run(states, {}, "2026-03-09T06:00:00Z", DAYS[:9])["state"].tolist() == ["resolved"]


def test_two_incidents_keep_apart():
    states = run(incidents.blank(), {"x": [DAYS[1]], "y": [DAYS[9]]}, "2026-03-10T06:00:00Z")
    assert states["state"].tolist() == ["open", "resolved"]
    assert states["id"].nunique() == 2


def test_states_are_kept_in_a_file(tmp_path):
    states = run(incidents.blank(), {"x": DAYS[4:5]}, "2026-03-05T06:00:00Z", DAYS[:5])
    path = incidents.save(states, tmp_path / "runs" / "incidents.json")
    pd.testing.assert_frame_equal(incidents.load(path), states)
    assert incidents.load(tmp_path / "none.json").empty
    incidents.save(incidents.blank(), path)
    assert incidents.load(path).empty
    path.write_text("[1]")
    with pytest.raises(WorkbenchError, match="holds no states of incidents"):
        incidents.load(path)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"state": "closed"}, "no state of an incident"),
        ({"state": "muted"}, "muting needs its end"),
        ({"state": "muted", "until": "2026-03-01T00:00:00Z"}, "not after"),
        ({"state": "open", "incident": "abc"}, "no incident 'abc'"),
    ],
)
def test_acts_that_cannot_be_done(asked, words):
    states = run(incidents.blank(), {"x": DAYS[4:5]}, "2026-03-05T06:00:00Z", DAYS[:5])
    with pytest.raises(WorkbenchError, match=words):
        incidents.act(states, at="2026-03-05T07:00:00Z", **{"incident": states["id"].iloc[0], **asked})


def test_a_run_keeps_the_states_beside_its_folder_and_a_page_reads_them(tmp_path):
    folder = tmp_path / "drift" / "20260305T060000Z"
    folder.mkdir(parents=True)
    frame = judged({"x": DAYS[4:5]}, DAYS[:5])
    states = incidents.after_run(frame, "2026-03-05T06:00:00Z", about="t", folder=folder)
    path = incidents.beside(folder.parent, "t")
    incidents.save(incidents.act(states, states["id"].iloc[0], "acknowledged", "2026-03-05T07:00:00Z", by="ana"), path)
    assert incidents.after_run(frame, "", about="t", stored=folder)["state"].tolist() == ["acknowledged"]
    again = incidents.after_run(judged({"x": DAYS[4:6]}, DAYS[:6]), "2026-03-06T06:00:00Z", about="t", folder=folder)
    assert again["state"].tolist() == ["acknowledged"]
    assert incidents.after_run(frame, "2026-03-06T06:00:00Z", about="t")["state"].tolist() == ["open"], "kept nowhere"
