"""How the server is: `/health` for what restarts it and sends it readers, `/metrics` for Prometheus.

With sign-in, `/metrics` wants an admin or the token in WORKBENCH_METRICS_TOKEN (`Authorization: Bearer ...`); `/health`
tells words only and asks nobody.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tornado.web import RequestHandler

from workbench.apps.shell import parse_time
from workbench.apps.signin import COOKIE, ROOM
from workbench.apps.site import Site
from workbench.apps.workers import Crew
from workbench.runs.execute import package_version
from workbench.runs.records import partial

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
KIND = "text/plain; version=0.0.4; charset=utf-8"
SLOW_S = 30.0  # a live page that takes longer holds up the others


@dataclass
class Figures:
    """What one process counts: answers by page and status, and how long they took."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    slower: Counter[tuple[str, float]] = field(default_factory=Counter)  # by page and upper end of a bucket
    seconds: Counter[str] = field(default_factory=Counter)
    tornado: Any = None

    def count(self, handler: Any) -> None:
        """Counts an answer; tornado calls it with every request that is over."""
        page, took = type(handler).__name__.lower(), handler.request.request_time()
        self.answers[page, handler.get_status()] += 1
        if page == "socket":
            return  # open as long as its page
        self.seconds[page] += took  # type: ignore[assignment]
        for end in BUCKETS:
            if took <= end:
                self.slower[page, end] += 1

    def told(self) -> dict[str, Any]:
        """The counts as JSON has them."""
        import psutil

        contexts = self.tornado._applications.values() if self.tornado is not None else ()
        return {
            "answers": [[*key, value] for key, value in self.answers.items()],
            "slower": [[*key, value] for key, value in self.slower.items()],
            "seconds": dict(self.seconds),
            "sessions": sum(len(context._sessions) for context in contexts),
            "memory": psutil.Process().memory_info().rss,
        }


def watched(site: Site, crew: Crew | None, worker: Executor, figures: Figures) -> list[tuple[Any, ...]]:
    """The routes of health and metrics."""
    known: dict[str, str] = {}
    given = {"site": site, "crew": crew, "figures": figures, "worker": worker, "known": known}
    return [
        (r"/health", Health, given),
        (r"/health/live", Alive),
        (r"/metrics", Metrics, given),
        (rf"{ROOM}/figures", Own, given),
    ]


class Alive(RequestHandler):
    """Answers as long as the process does."""

    def get(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.finish({"status": "good"})


class Watched(RequestHandler):
    def initialize(
        self, site: Site, crew: Crew | None, figures: Figures, worker: ThreadPoolExecutor, known: dict[str, str]
    ) -> None:
        self.site, self.crew, self.figures, self.worker, self.known = site, crew, figures, worker, known


class Health(Watched):
    """Whether the server can answer readers: 200 when everything it needs is there, else 503 and what is not."""

    def get(self) -> None:
        told = checks(self.site, self.worker, self.settings.get("signin"))
        good = set(told.values()) == {"good"}
        self.set_status(200 if good else 503)
        self.set_header("Cache-Control", "no-store")
        self.finish({"status": "good" if good else "bad", "live": True, "ready": good, "checks": told})


def checks(site: Site, worker: Any, signin: Any) -> dict[str, str]:
    """What the pages need, each "good" or in a word what is wrong. No path is told: anybody may ask."""
    found = {}
    for name, folder in (("runs", site.runs), ("notebooks", site.notebooks)):
        if not folder.exists() and name == "runs":
            found[name] = "good"  # nothing has been run yet
        else:
            found[name] = "good" if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK) else "cannot be read"
    waiting = getattr(worker, "_work_queue", None)
    found["live"] = "good" if waiting is None or waiting.qsize() < 50 else "many live pages wait"
    if signin is not None:
        try:
            from workbench.apps.users import read_users

            read_users(signin.users)
            found["users"] = "good"
        except ValueError:
            found["users"] = "cannot be read"
    return found


class Own(Watched):
    """The counts of this process, for its siblings."""

    def get(self) -> None:
        word = self.crew.word if self.crew is not None else ""
        if not word or not hmac.compare_digest(
            self.request.headers.get("X-Workbench-Word", "").encode(), word.encode()
        ):
            self.send_error(404)
            return
        self.finish(self.figures.told())


class Metrics(Watched):
    async def get(self) -> None:
        if not self._may():
            self.set_status(401)
            self.set_header("WWW-Authenticate", "Bearer")
            self.finish("wanted: a bearer token, or an admin's session\n")
            return
        loop = asyncio.get_running_loop()
        runs = await loop.run_in_executor(None, _runs, self.site, self.known)
        told = [self.figures.told(), *await self._siblings()]
        self.set_header("Content-Type", KIND)
        self.set_header("Cache-Control", "no-store")
        self.finish(exposition(runs, told, len(self.crew.ports) if self.crew else 1))

    def _may(self) -> bool:
        signin = self.settings.get("signin")
        if signin is None:
            return True
        token, sent = os.environ.get("WORKBENCH_METRICS_TOKEN", ""), self.request.headers.get("Authorization", "")
        if token and hmac.compare_digest(sent.encode(), f"Bearer {token}".encode()):
            return True
        reader = signin.reader(self.get_cookie(COOKIE))
        return reader is not None and reader.may("admin")

    async def _siblings(self) -> list[dict[str, Any]]:
        """The counts of the other processes; one that does not answer is left out, and `workbench_processes` tells."""
        if self.crew is None:
            return []
        from tornado.httpclient import AsyncHTTPClient

        prefix = self.application.prefix  # type: ignore[attr-defined]
        found = []
        for number, port in enumerate(self.crew.ports):
            if number == self.crew.number:
                continue
            try:
                answer = await AsyncHTTPClient().fetch(
                    f"http://127.0.0.1:{port}{prefix}{ROOM}/figures",
                    headers={"X-Workbench-Word": self.crew.word},
                    request_timeout=2,
                )
                found.append(json.loads(answer.body))
            except Exception:
                continue
        return found


def _runs(site: Site, known: dict[str, str]) -> dict[str, Any]:
    """The runs of every notebook by state, and when the last good one ended. `known` keeps the states of runs that are over."""
    states: Counter[tuple[str, str]] = Counter()
    good: dict[str, float] = {}
    for notebook in site.listing.notebooks():
        for name in site.listing.names(notebook):
            key = f"{notebook}/{name}"
            state = "running" if partial(site.runs / notebook / name) else known.get(key)
            if state is None or (state == "good" and notebook not in good):
                record = site.listing.record(notebook, name)
                if record is None:
                    continue
                known[key] = state = record.status
                ended = parse_time(record.ended) if state == "good" else None
                if ended is not None and notebook not in good:
                    good[notebook] = ended.timestamp()
            states[notebook, state] += 1
    return {"states": states, "good": good}


def exposition(runs: Mapping[str, Any], told: Iterable[Mapping[str, Any]], processes: int) -> str:
    """The metrics in Prometheus's text format 0.0.4, counts of several processes added.

    >>> runs = {"states": Counter({("cost", "good"): 3}), "good": {}}
    >>> 'workbench_runs{notebook="cost",state="good"} 3' in exposition(runs, [], 1)
    True
    """
    told = list(told)
    lines: list[str] = []

    def metric(name: str, kind: str, words: str, rows: Iterable[tuple[Mapping[str, Any], float]]) -> None:
        lines.append(f"# HELP workbench_{name} {words}")
        lines.append(f"# TYPE workbench_{name} {kind}")
        lines.extend(_line(f"workbench_{name}", labels, value) for labels, value in rows)

    metric("info", "gauge", "The version of workbench.", [({"version": package_version()}, 1)])
    metric("runs", "gauge", "Runs that are kept, by notebook and state.",
           [({"notebook": n, "state": s}, c) for (n, s), c in sorted(runs["states"].items())])  # fmt: skip
    metric("last_good_run_age_seconds", "gauge", "Seconds since the last good run of a notebook ended.",
           [({"notebook": n}, round(max(0.0, time.time() - at), 3)) for n, at in sorted(runs["good"].items())])  # fmt: skip
    metric("processes", "gauge", "Processes that answer, and those there should be.",
           [({"state": "answering"}, len(told)), ({"state": "wanted"}, processes)])  # fmt: skip
    metric("sessions", "gauge", "Live pages that are open.", [({}, sum(one["sessions"] for one in told))])
    metric("memory_bytes", "gauge", "Resident memory of the processes.", [({}, sum(one["memory"] for one in told))])
    answers: Counter[tuple[str, int]] = Counter()
    slower: Counter[tuple[str, float]] = Counter()
    seconds: Counter[str] = Counter()
    for one in told:
        answers.update({(page, status): count for page, status, count in one["answers"]})
        slower.update({(page, end): count for page, end, count in one["slower"]})
        seconds.update(one["seconds"])
    metric("requests_total", "counter", "Answers by page and status.",
           [({"page": page, "code": code}, count) for (page, code), count in sorted(answers.items())])  # fmt: skip
    name = "workbench_request_seconds"
    lines += [f"# HELP {name} Seconds until an answer was complete, by page.", f"# TYPE {name} histogram"]
    for page in sorted(seconds):
        total = sum(count for (one, _), count in answers.items() if one == page)
        lines += [_line(f"{name}_bucket", {"page": page, "le": end}, slower[page, end]) for end in BUCKETS]
        lines += [_line(f"{name}_bucket", {"page": page, "le": "+Inf"}, total)]
        lines += [
            _line(f"{name}_sum", {"page": page}, round(seconds[page], 6)),
            _line(f"{name}_count", {"page": page}, total),
        ]
    return "\n".join(lines) + "\n"


def _line(name: str, labels: Mapping[str, Any], value: float) -> str:
    said = ",".join(f'{label}="{_escaped(str(one))}"' for label, one in labels.items())
    return f"{name}{{{said}}} {value}" if said else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
