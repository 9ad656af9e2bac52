"""One alert an incident, with a state a person can act on: from the states before and what was found now to the states after.

An incident is what probably has one cause: columns that began to drift together, in whatever segments, for as long as they
do. A column that begins later is another one, also while the first lasts, so that what somebody has acknowledged hides
nothing new. States: "open", "acknowledged" (somebody has it; silent while it lasts), "muted" (silent until a time), and
"resolved" (the newest windows are as they were). Everything here is a function of frames; `save` and `load` keep them as
JSON beside the results.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.analyses.parts import say_window
from workbench.errors import WorkbenchError, nearest

STATES = ("open", "acknowledged", "muted", "resolved")
COLUMNS = ("id", "state", "since", "until", "windows", "columns", "segments", "worst", "size", "words", "opened", "changed",
           "by", "muted_until", "note")  # fmt: skip
QUIET = 1  # windows without drift between two that drift, up to which it is one incident


def found(judged: pd.DataFrame, *, quiet: int = QUIET) -> pd.DataFrame:
    """The incidents of a judged comparison (`drift.judge`): one row for the columns that began together, the newest first.

    quiet: windows without drift in between that do not end the drift of a column. Columns began together where one begins
    at most quiet + 1 windows after the first, and not after a window without drift of any. Without windows, everything is
    one incident.
    Returns columns since and until (first and last drifted window), windows (how many drifted), columns and segments (what
    drifted, strongest first, comma-separated; segments only where all rows did not drift), worst (the strongest column),
    size (its excess over its limit), going_on (its last window is the newest that was evaluated), words.
    """
    timed = judged[~judged["window"].isin(["", "(missing)"])]
    rows = timed if len(timed) else judged
    looked = rows[rows["verdict"] != "not evaluated"]
    order = {label: place for place, label in enumerate(sorted(looked["window"].unique()))}
    hits = rows[rows["drifted"]].assign(place=lambda one: one["window"].map(order)).dropna(subset=["place"])
    groups: list[list[pd.DataFrame]] = []
    begun, over = 0.0, -1.0
    for part in _stretches(hits, quiet):
        first, last = part["place"].min(), part["place"].max()
        if groups and first - begun <= quiet + 1 and first <= over + 1:
            groups[-1].append(part)
            over = max(over, last)
        else:
            groups.append([part])
            begun, over = first, last
    told = [_incident(pd.concat(parts), len(order)) for parts in groups]
    return pd.DataFrame(told[::-1], columns=["since", "until", "windows", "columns", "segments", "worst", "size",
                                             "going_on", "words"])  # fmt: skip


def _stretches(hits: pd.DataFrame, quiet: int) -> list[pd.DataFrame]:
    """The drifted rows of each column, cut where more than `quiet` windows lie between two; the earliest first."""
    found = []
    for _, rows in hits.sort_values("place", kind="stable").groupby("column", sort=False):
        cut = (rows["place"].diff() > quiet + 1).cumsum()
        found += [part for _, part in rows.groupby(cut)]
    return sorted(found, key=lambda part: part["place"].iloc[0])


def _incident(part: pd.DataFrame, newest: int) -> dict[str, Any]:
    strongest = part.sort_values("size", ascending=False, kind="stable")
    columns = list(strongest["column"].drop_duplicates())
    whole = part[part["segment"] == ""]
    segments = [] if len(whole) else list(strongest["segment"].drop_duplicates())
    top = (strongest[strongest["segment"] == ""] if len(whole) else strongest).iloc[0]
    since, until, count = part["window"].min(), part["window"].max(), part["window"].nunique()
    going = bool(part["place"].max() == newest - 1)
    place = (
        f" in {segments[0]}" + (f" and {len(segments) - 1} more segments" if len(segments) > 1 else "")
        if segments
        else ""
    )
    span = f"since {say_window(since)}" if going and since else (
        f"from {say_window(since)} to {say_window(until)}" if count > 1 else f"in {say_window(since)}")  # fmt: skip
    moved = "moved"
    if top["by"] != "values":
        rose = top.get(f"{top['by']}_change", 1.0) > 0
        word = {"missing": "missing", "nan": "NaN", "infinite": "infinite"}[top["by"]]
        moved = f"has {'more' if rose else 'fewer'} {word} values"
    rest = f", and {len(columns) - 1} more column{'s' if len(columns) > 2 else ''}" if len(columns) > 1 else ""
    return {"since": since, "until": until, "windows": count, "columns": ", ".join(columns), "segments": "; ".join(segments),
            "worst": top["column"], "size": float(top["size"]), "going_on": going,
            "words": f"{top['column']} {moved}{place} {span}{rest}"}  # fmt: skip


def blank() -> pd.DataFrame:
    """No incidents."""
    return pd.DataFrame(
        {name: pd.Series(dtype="float64" if name in ("size", "windows") else "object") for name in COLUMNS}
    )


def advance(
    before: pd.DataFrame, now: pd.DataFrame, at: str, *, about: str = "", seen: Sequence[str] = ()
) -> pd.DataFrame:
    """The states after a run: what goes on keeps its state, what is new opens, what is over resolves.

    before: states (`blank` at first); now: `found` of this run; at: the time of the run, ISO in UTC; about: what was
    watched (notebook and table), part of the incident's name; seen: the windows that this run has looked at, in which
    incidents that were open and are found no more resolve (a run of another stretch of time resolves nothing).
    A found incident is the known one whose windows overlap it and that has a column in common; of several, the one that began
    in the same window, then the one with most columns in common. Muted incidents whose time has come open
    again if they still go on. A resolved incident that is found again opens again, under the same id.
    """
    states = before.copy()
    rows = {one["id"]: one for one in states.to_dict("records")}
    came = now.sort_values("since", kind="stable").to_dict("records")
    matched = _matched(rows, came)
    taken = set(matched.values())
    for place, one in enumerate(came):
        known = rows.get(matched.get(place, ""))
        if known is None:
            name = _name(about, one["since"])
            name = _name(about, f"{one['since']} {one['columns']}") if name in rows else name
            known = dict.fromkeys(COLUMNS, "") | {
                "id": name, "opened": at, "changed": at, "state": "open", "by": "run"}  # fmt: skip
        taken.add(known["id"])
        told = {name: one[name] for name in ("until", "windows", "columns", "segments", "worst", "size", "words")}
        told["since"] = min(one["since"], known["since"] or one["since"])
        rows[known["id"]] = {**known, **told} | _moved(known, one, at)
    for name, known in rows.items():
        over = name not in taken and known["state"] != "resolved" and (not seen or known["until"] in set(seen))
        if over:
            rows[name] = known | {"state": "resolved", "changed": at, "by": "run", "muted_until": ""}
    return _frame(list(rows.values()))


def _matched(rows: dict[str, dict[str, Any]], came: Sequence[dict[str, Any]]) -> dict[int, str]:
    """The known incident of each found one that has one: the best pairs first, each once."""
    pairs = []
    for place, one in enumerate(came):
        columns = set(one["columns"].split(", "))
        for name, known in rows.items():
            both = columns & set(known["columns"].split(", "))
            if both and one["since"] <= known["until"] and known["since"] <= one["until"]:
                score = (one["since"] == known["since"], len(both), known["state"] != "resolved", known["since"])
                pairs.append((score, place, name))
    matched: dict[int, str] = {}
    for _, place, name in sorted(pairs, reverse=True):
        if place not in matched and name not in matched.values():
            matched[place] = name
    return matched


def _moved(known: dict[str, Any], one: dict[str, Any], at: str) -> dict[str, Any]:
    """The state of a known incident that was found again."""
    state, going = known["state"], bool(one["going_on"])
    if not going:
        return {} if state == "resolved" else {"state": "resolved", "changed": at, "by": "run", "muted_until": ""}
    if state == "resolved" or (state == "muted" and known["muted_until"] and known["muted_until"] <= at):
        return {"state": "open", "changed": at, "by": "run", "muted_until": ""}
    return {}


def _name(about: str, since: str) -> str:
    return hashlib.sha256(f"{about}\n{since}".encode()).hexdigest()[:10]


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    if not rows:
        return blank()
    frame = pd.DataFrame(rows)[list(COLUMNS)]
    urgent = {state: place for place, state in enumerate(STATES)}
    frame = frame.assign(urgent=frame["state"].map(urgent))
    return frame.sort_values(["urgent", "since"], ascending=[True, False], kind="stable", ignore_index=True).drop(
        columns="urgent"
    )


def act(
    states: pd.DataFrame, incident: str, state: str, at: str, *, by: str = "", until: str = "", note: str = ""
) -> pd.DataFrame:
    """The states after a person acted on one incident: "acknowledged", "muted" (with `until`, an ISO time), "open" or
    "resolved".

    at: when; by: who; note: why. Raises WorkbenchError for an unknown incident or state, and for a mute without its end.
    """
    if state not in STATES:
        raise WorkbenchError(f"{state!r} is no state of an incident; {nearest(state, STATES)}")
    if incident not in set(states["id"]):
        raise WorkbenchError(f"there is no incident {incident!r}; {nearest(incident, list(states['id']))}")
    if (state == "muted") != bool(until):
        raise WorkbenchError(
            "muting needs its end, and only muting does: pass until=<ISO time>, as in 2026-03-01T08:00:00Z"
        )
    if until and until <= at:
        raise WorkbenchError(f"the mute would end at {until}, which is not after {at}; pass a later until=")
    rows = [
        one | {"state": state, "changed": at, "by": by, "muted_until": until, "note": note or one["note"]}
        if one["id"] == incident
        else one
        for one in states.to_dict("records")
    ]
    return _frame(rows)


def alerts(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """What is worth a message after a run: incidents that opened (or opened again) or that resolved, one row each.

    Nothing is told of what was acknowledged or muted while it lasts, nor a second time of what was already open.
    """
    known = dict(zip(before["id"], before["state"], strict=True))
    fresh = [
        (one["state"] == "open" and known.get(one["id"]) != "open")
        or (one["state"] == "resolved" and known.get(one["id"], "resolved") not in ("resolved", "muted"))
        for one in after.to_dict("records")
    ]
    return after[pd.Series(fresh, index=after.index, dtype=bool)]


def say(states: pd.DataFrame) -> str:
    """The states in words, the urgent ones first."""
    if states.empty:
        return "No incident."
    counts = states["state"].value_counts()
    head = ", ".join(f"{counts[state]} {state}" for state in STATES if state in counts)
    lines = [f"**{one.state}**{_tail(one)}: {one.words}" for one in states[states["state"] != "resolved"].itertuples()]
    return f"Incidents: {head}. " + ". ".join(lines) + ("." if lines else "")


def _tail(one: Any) -> str:
    if one.state == "muted":
        return f" until {say_window(one.muted_until)}"
    return f" by {one.by}" if one.state == "acknowledged" and one.by else ""


def after_run(
    judged: pd.DataFrame, at: str, *, about: str, folder: Path | None = None, stored: Path | None = None
) -> pd.DataFrame:
    """The states after a run, kept in the folder of the notebook's runs; in a page (`stored`) the states as they are now.

    folder, stored: the run's own folder, of which the parent keeps the states; neither: they are kept nowhere.
    """
    home = stored or folder
    if stored is not None:
        return load(beside(stored.parent, about))
    before = load(beside(home.parent, about)) if home is not None else blank()
    states = advance(before, found(judged), at, about=about, seen=list(judged["window"].unique()))
    if home is not None:
        save(states, beside(home.parent, about))
    return states


def beside(folder: Path, about: str, what: str = "incidents") -> Path:
    """The file of the states of what is watched (or of `what` else is known of it), in the folder of a notebook's runs."""
    return folder / f"{what}-{_name(about, '')}.json"


def save(states: pd.DataFrame, path: str | Path) -> Path:
    """Writes the states as JSON, whole or not at all; gives the path back."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"format": 1, "incidents": states.to_dict("records")}, file, indent=1, ensure_ascii=False)
    os.chmod(aside, 0o644)
    os.replace(aside, path)
    return path


def load(path: str | Path) -> pd.DataFrame:
    """The states of a file; none where there is no file. Raises WorkbenchError for a file that holds no states."""
    path = Path(path)
    if not path.is_file():
        return blank()
    try:
        told = json.loads(path.read_text(encoding="utf-8"))["incidents"]
        return _frame([{name: one[name] for name in COLUMNS} for one in told])
    except (ValueError, KeyError, TypeError) as error:
        raise WorkbenchError(
            f"{path} holds no states of incidents ({type(error).__name__}); move it away to start from none"
        ) from None
