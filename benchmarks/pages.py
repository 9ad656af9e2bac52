"""How quickly pages come, answer and go, measured in Chromium without a network.

    python -m benchmarks.pages [--runs DIR] [--notebook NAME] [--sessions 50] [--out benchmarks/PAGES.md]

Without `--runs` a table of 400 days is written and the drift notebook is run over it. Printed are, as medians of several
loads in a fresh browser profile: first paint and drawn pictures of the published page, the live page ready, one step of a
slider on it until the picture has changed, and the history of 10,000 runs. Then so many live sessions are held open at once:
errors, and the server's memory before, with them, and after they were closed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOADS = 5
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"
READY = """new MutationObserver(() => { if (document.body?.dataset.ready) window.readyAt ??= performance.now(); })
    .observe(document, { subtree: true, attributes: true, attributeFilter: ["data-ready"] });"""
HEARD = """window.heard = []; const Plain = WebSocket;
window.WebSocket = class extends Plain { constructor(...given) {
    super(...given); this.addEventListener("message", () => heard.push(performance.now())); } };
"""
MOVE = """async (step) => {
    const models = Bokeh.documents.flatMap((d) => Array.from(d._all_models.values()));
    const steps = (m) => /Slider$/.test(m.type) ? m.end - m.start : /Select$/.test(m.type) ? m.options.length - 1 : 0;
    const [slider] = models.sort((a, b) => steps(b) - steps(a));
    if (!steps(slider)) return -1;
    heard.length = 0;
    const place = Math.round(steps(slider) * (0.3 + 0.04 * step)), began = performance.now();
    if (slider.options) { const one = slider.options[place]; slider.value = Array.isArray(one) ? one[0] : one; }
    else slider.setv({ value: slider.start + place, value_throttled: slider.start + place });
    for (let n = 0; n < 500; n += 1) { // until the server has said all and been quiet for 0.2 s
        await new Promise((done) => setTimeout(done, 10));
        if (heard.length > 1 && performance.now() - heard[heard.length - 1] > 200) break;
    }
    return heard.length ? heard[heard.length - 1] - began : -2;
}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="a folder of runs; without one a table of 400 days is run")
    parser.add_argument("--notebook", default="drift", help="whose page is measured (drift)")
    parser.add_argument("--sessions", type=int, default=50, help="live sessions at once (50)")
    parser.add_argument("--out", type=Path, help="also write what is printed into this page")
    chosen = parser.parse_args()
    both = Both()
    with contextlib.redirect_stdout(both):
        measure(chosen)
    if chosen.out:
        chosen.out.write_text(page(both.kept.getvalue(), "Pages", "benchmarks.pages"), encoding="utf-8")
    return 0


class Both(io.TextIOBase):
    """Prints, and keeps what was printed."""

    def __init__(self) -> None:
        self.out, self.kept = sys.stdout, io.StringIO()

    def write(self, text: str) -> int:
        self.out.write(text)
        self.out.flush()
        return self.kept.write(text)


def page(printed: str, title: str, module: str) -> str:
    """What a benchmark printed as a page that says when, where and by which command."""
    from benchmarks.run import machine

    on = ", ".join(f"{name} {value}" for name, value in machine().items())
    when, load = time.strftime("%Y-%m-%d"), os.getloadavg()[1]
    command = " ".join([f"python -m {module}", *sys.argv[1:]])
    return f"# {title}\n\nWritten by `{command}`; do not edit.\n{when}: {on}; load {load:.1f} at the end.\n\n```\n{printed}```\n"


def measure(chosen: argparse.Namespace) -> None:
    """Every figure, printed."""
    with tempfile.TemporaryDirectory() as folder:
        runs = chosen.runs or days_of_drift(Path(folder))
        many = ten_thousand(Path(folder) / "many")
        url, server = serve(runs)
        try:
            browse(url, chosen.notebook)
            crowd(url, chosen.notebook, chosen.sessions, server.pid)
        finally:
            server.terminate()
            server.wait(20)
        history(many)


def days_of_drift(folder: Path, days: int = 400, rows: int = 400) -> Path:
    """The runs folder of a drift run over so many days."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(4)
    count, day = days * rows, np.arange(days * rows) // rows
    seconds = np.sort(rng.uniform(0, days * 86_400, count))
    table = {"time": pd.Timestamp("2025-01-01") + pd.to_timedelta(seconds, unit="s")}
    table |= {"latency_s": rng.lognormal(0, 1, count) * (1 + 0.3 * (day > 200)), "score": rng.normal(0.002 * day, 1)}
    table |= {"tokens": rng.poisson(200, count), "model": rng.choice(["atlas", "birch", "cedar"], count)}
    pd.DataFrame(table).to_parquet(folder / "table.parquet")
    given = {"table": str(folder / "table.parquet"), "time": "time", "every": "D", "by": "model"}
    words = [word for name, value in given.items() for word in ("-p", name, value)]
    command = [sys.executable, "-m", "workbench.cli", "run", "drift", *words, "--runs", str(folder / "runs")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "runs"


def ten_thousand(runs: Path) -> Path:
    """A folder of 10,000 small runs of one notebook."""
    told = {"status": "good", "notebook": "waves", "headline": [{"name": "p99", "value": 1.0, "unit": "s"}]}
    for n in range(10_000):
        folder = runs / "waves" / f"2026{1 + n // 840:02d}{1 + n // 30 % 28:02d}T{n % 24:02d}{n % 60:02d}00Z-{n + 2}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({**told, "source": "t", "started": "2026-01-01T00:00:00Z"}))
    return runs


def serve(runs: Path) -> tuple[str, subprocess.Popen[str]]:
    code = "import sys; from workbench.apps.server import serve; "
    code += "serve(sys.argv[1], sys.argv[2], port=0, say=lambda line: print(line, file=sys.stderr, flush=True))"
    command = [sys.executable, "-c", code, str(runs), str(ROOT / "notebooks")]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=ROOT)
    line = server.stderr.readline() if server.stderr else ""
    time.sleep(15)  # live pages are made ready in these seconds
    return line.split(" at ")[1].split(" ")[0].rstrip("/"), server


def told(name: str, values: list[float], unit: str, wanted: str = "") -> None:
    middle = statistics.median(values)
    print(f"{name:<46}{middle:>7.0f} {unit} [{min(values):.0f} to {max(values):.0f}]  {wanted}", flush=True)


def browse(url: str, notebook: str) -> None:
    """First paint, drawn and slider, printed."""
    from playwright.sync_api import sync_playwright

    sys.path.insert(0, str(ROOT))
    from scripts.chromium import find
    from tests.conftest import CHROMIUM_FLAGS

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find()), args=CHROMIUM_FLAGS)
        for place, kind in ((f"/{notebook}/", "published"), (f"/live/{notebook}", "live")):
            paints, ready = [], []
            abroad: list[str] = []
            for _ in range(LOADS):
                context = browser.new_context(viewport={"width": 1280, "height": 900})
                page = context.new_page()
                page.add_init_script(READY)
                page.on("request", lambda r, far=abroad: r.url.startswith((url, "data:", "blob:")) or far.append(r.url))
                page.goto(url + place, wait_until="commit")
                page.wait_for_selector("body[data-ready]", timeout=60_000)
                ready.append(page.evaluate("window.readyAt"))
                paints.append(page.evaluate(PAINT))
                if kind == "published":
                    page.wait_for_timeout(50)
                context.close()
            told(f"{kind} page: first paint", paints, "ms", "wanted < 300" if kind == "published" else "")
            told(f"{kind} page: every picture drawn", ready, "ms", "wanted < 1500")
            print(f"{kind} page: requests to other hosts{len(abroad):>17}")
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.add_init_script(HEARD)
        page.goto(f"{url}/live/{notebook}")
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        page.wait_for_timeout(1000)
        told(
            "live page: a slider's step until it is drawn",
            [page.evaluate(MOVE, n) for n in range(8)],
            "ms",
            "wanted < 200",
        )
        browser.close()


def crowd(url: str, notebook: str, count: int, pid: int) -> None:
    """So many live sessions at once, held open, then closed."""
    import psutil

    process = psutil.Process(pid)

    def memory() -> float:
        return process.memory_info().rss / 2**20

    before = memory()
    began = time.monotonic()
    errors, sockets = asyncio.run(_open(url, notebook, count, memory, began))
    print(f"{count} live sessions: errors{errors:>30}")
    print(f"{count} live sessions: all answered after{sockets[1]:>17.1f} s")
    each = (sockets[0] - before) / count
    print(f"server's memory before {before:.0f} MiB, with them {sockets[0]:.0f} MiB: {each:.1f} MiB a session")
    for _ in range(12):
        time.sleep(5)
        after = memory()
        if after < before + 0.3 * (sockets[0] - before):
            break
    print(f"server's memory after they were closed {after:.0f} MiB")


async def _open(url: str, notebook: str, count: int, memory, began: float) -> tuple[int, tuple[float, float]]:
    from tornado.httpclient import AsyncHTTPClient, HTTPRequest
    from tornado.websocket import websocket_connect

    AsyncHTTPClient.configure(None, max_clients=count)
    client = AsyncHTTPClient()
    errors, open_ = 0, []

    async def one() -> None:
        nonlocal errors
        try:
            page = await client.fetch(f"{url}/live/{notebook}", request_timeout=120, connect_timeout=60)
            token = page.body.decode().split('"token":"')[1].split('"')[0]
            address = url.replace("http", "ws", 1) + f"/live/{notebook}/ws"
            asked = HTTPRequest(address, headers={"Origin": url})
            socket = await websocket_connect(asked, subprotocols=["bokeh", token])
            words = await asyncio.wait_for(socket.read_message(), 60)
            if words is None:
                raise RuntimeError("closed")
            open_.append(socket)
        except Exception as error:
            errors += 1
            print("  ", type(error).__name__, str(error)[:100])

    await asyncio.gather(*(one() for _ in range(count)))
    took = time.monotonic() - began
    await asyncio.sleep(2)
    most = memory()
    for socket in open_:
        socket.close()
    await asyncio.sleep(1)
    return errors, (most, took)


def history(runs: Path) -> None:
    """The history of 10,000 runs: first and later answers."""
    url, server = serve(runs)
    try:
        places = {"history": "/waves/history/", "a day in it": "/waves/history/?until=2026-06-15", "index": "/"}
        for name, place in places.items():
            took = []
            for _ in range(LOADS):
                began = time.perf_counter()
                urllib.request.urlopen(url + place, timeout=60).read()
                took.append(1000 * (time.perf_counter() - began))
            print(
                f"10,000 runs, {name}: first {took[0]:.0f} ms, then {statistics.median(took[1:]):.0f} ms  wanted < 200"
            )
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(ROOT))
    sys.exit(main())
