"""A small messy folder of logs, seeded, whose defects are counted: what the notebook `prepare` reads by default."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

START = datetime(2026, 3, 2)
DAYS = 3
ROWS = 400  # of a day
MODELS = ("atlas-8b", "atlas-70b", "birch-mini")
PERSONAL = (
    ("email", "mail sent to {name}@example.org"),
    ("phone", "call back +49 30 5550{n:04d}"),
    ("ip", "client 192.0.2.{n8}"),
    ("card", "paid with 4111 1111 1111 1111"),
    ("secret", "Authorization: Bearer eyJtoken{n:04d}abcDEF12"),
)
RECIPE = """\
# How this folder is prepared: what is read as text, which steps clean it, what is personal, what the table promises.
collect:
  types: {time: text, latency: text, tokens: text, revision: text}
clean:
  - types: {time: time, latency: number, tokens: integer, revision: integer}
  - text: {columns: [model, user, message]}
  - units: {column: latency, unit: s, to: s, column_of_unit: unit}
  - unique: {key: request_id, winner: largest revision}
  - sessions: {by: user, time: time, gap_s: 1800}
  - outliers: {columns: [latency], by: model, k: 10}
redact:
  columns: [message]
key: [request_id]
time: time
contract: contract.yml
"""
CONTRACT = """\
# What every version promises; rows that break it are set aside.
table: requests
columns:
  request_id: {type: text, nullable: false, unique: true, regex: "r-[0-9]{5}"}
  time: {type: time, nullable: false}
  model: {type: text, allowed: [atlas-8b, atlas-70b, birch-mini]}
  latency: {type: number, range: [0, 3600], max_null_share: 0.05}
  tokens: {type: integer, range: [0, null]}
on_breach: quarantine
"""


def address(write: bool = True) -> str:
    """The folder of the example in the user's cache, written once, and again after this file has changed."""
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if not os.access(cache, os.W_OK):
        cache = Path(tempfile.gettempdir())
    path = cache / "workbench" / f"messy-{code}"
    if write and not path.exists():
        messy(path)
    return str(path)


def messy(folder: str | Path, *, seed: int = 7) -> dict[str, Any]:
    """The truth about a folder of three days of request logs that this writes, whole or not at all.

    Each day is a folder `day-N` of a CSV and a JSON lines file. The truth, also in `truth.json`: rows written, rows that
    repeat an earlier request (with a higher revision), values that are no number, unknown units and models, lines that
    break off, and texts with personal data by kind.
    """
    folder = Path(folder)
    aside = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}")
    draw = random.Random(seed)
    truth: dict[str, Any] = {
        "rows": 0,
        "repeated": 0,
        "no_number": 0,
        "unit": 0,
        "model": 0,
        "broken": 0,
        "personal": {},
    }
    sent: list[dict[str, str]] = []
    for day in range(DAYS):
        place = aside / f"day-{day + 1}"
        place.mkdir(parents=True)
        rows = [_row(draw, day * ROWS + k, truth, sent) for k in range(ROWS)]
        if day:
            for old in draw.sample(sent[: day * ROWS - 50], 12):
                rows.append({**old, "revision": str(day + 1), "tokens": "777"})
                truth["repeated"] += 1
        sent += [one for one in rows if one["tokens"].isdigit() and one["model"] in MODELS and one["unit"] != "kg"]
        half = len(rows) // 2
        head = list(rows[0])
        text = io.StringIO()
        table = csv.DictWriter(text, head, lineterminator="\n")
        table.writeheader()
        table.writerows(rows[:half])
        mark = "\ufeff" if day == 1 else ""
        (place / "requests.csv").write_text(mark + text.getvalue(), encoding="utf-8")
        lines = [json.dumps(one) for one in rows[half:]]
        if day == 2:
            lines.insert(5, lines[5][:40])
            truth["broken"] += 1
        (place / "requests.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        truth["rows"] += len(rows)
    (aside / "prepare.yml").write_text(RECIPE, encoding="utf-8")
    (aside / "contract.yml").write_text(CONTRACT, encoding="utf-8")
    (aside / "truth.json").write_text(json.dumps(truth, indent=2), encoding="utf-8")
    for path in aside.glob("day-*/*"):
        os.utime(path, (START.timestamp(), START.timestamp()))  # nobody is still writing them
    try:
        aside.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process was first
            raise
    return truth


def _row(draw: random.Random, number: int, truth: dict[str, Any], sent: list[dict[str, str]]) -> dict[str, str]:
    model = draw.randrange(3)
    latency = draw.lognormvariate(0.2 * model, 0.4)
    milli = draw.random() < 0.3
    row = {
        "request_id": f"r-{number:05d}",
        "time": (START + timedelta(seconds=number * 86_400 / ROWS)).isoformat(timespec="seconds"),
        "user": f"user-{draw.randrange(20):02d}",
        "model": draw.choice([" {} ", "{}", "{}", "{}"]).format(MODELS[model]),
        "latency": f"{latency * 1000:.1f}" if milli else f"{latency:.4f}",
        "unit": "ms" if milli else "s",
        "tokens": str(draw.randrange(20, 4000)),
        "revision": "1",
        "message": "served",
    }
    chance = draw.random()
    if chance < 0.01:
        row["tokens"], truth["no_number"] = "n/a!", truth["no_number"] + 1
    elif chance < 0.02:
        row["unit"], truth["unit"] = "kg", truth["unit"] + 1
    elif chance < 0.03:
        row["model"], truth["model"] = "unknown-1b", truth["model"] + 1
    elif chance < 0.035:
        row["latency"], row["unit"] = "900", "s"
    elif chance < 0.12:
        kind, words = draw.choice(PERSONAL)
        row["message"] = words.format(name=f"ana{number}", n=draw.randrange(10_000), n8=draw.randrange(1, 255))
        truth["personal"][kind] = truth["personal"].get(kind, 0) + 1
    return row
