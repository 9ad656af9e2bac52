"""Object stores as sources and as targets: a server that speaks S3 on loopback, and fsspec's memory."""

from __future__ import annotations

import gzip
import http.server
import json
import multiprocessing
import os
import re
import subprocess
import sys
import threading

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import workbench as wb
from workbench.errors import WorkbenchError
from workbench.tables import delta, flow, quarantine, versions
from workbench.tables.collect import collect

SECRET = "s3cret-that-nobody-may-see"


SERVER = """
import logging, time
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def endpoint():
    """A process of its own: the library of Delta tables holds Python's lock while it waits for some answers."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


@pytest.fixture
def options(endpoint, monkeypatch):
    for name in [one for one in os.environ if one.startswith("AWS_")]:
        monkeypatch.delenv(name)
    return {"key": "me", "secret": SECRET, "client_kwargs": {"endpoint_url": endpoint, "region_name": "eu-west-1"}}


@pytest.fixture
def bucket(options, request):
    name = f"b{abs(hash(request.node.name)):x}"
    store = fsspec.filesystem("s3", **options)
    store.mkdir(name, LocationConstraint="eu-west-1")
    return f"s3://{name}", store


def keys_of(table):
    return sorted(
        k for piece in table.pieces() for part in table.batches(piece) for k in part.column("key").to_pylist()
    )


def fill(store, top):
    top = top.removeprefix("s3://").removeprefix("memory://")
    store.pipe_file(f"{top}/in/a.csv", b"key,ms\n1,5\n2,oops\n3,7\n")
    store.pipe_file(f"{top}/in/b.csv.gz", gzip.compress(b"key,ms\n4,5\n5,6\n"))
    store.pipe_file(f"{top}/in/c.jsonl", b'{"key": 6, "ms": 1}\n{"key": 7, "ms": 2}\n')
    with store.open(f"{top}/in/d.parquet", "wb") as file:
        pq.write_table(pa.table({"key": [8, 9], "ms": [1, 2]}), file)


def test_from_a_store_into_a_store_and_back(bucket, options, tmp_path):
    top, store = bucket
    fill(store, top)
    both = {"storage_options": options, "table_options": options}
    done = collect(f"{top}/in", f"{top}/t", types={"ms": "integer"}, settle=0, **both)
    assert (done.rows, done.aside) == (8, 1)
    assert collect(f"{top}/in", f"{top}/t", settle=0, **both).rows == 0
    store.pipe_file(f"{top.removeprefix('s3://')}/in/e.csv", b"key,ms\n10,1\n")
    assert collect(f"{top}/in", f"{top}/t", settle=0, **both).rows == 1
    assert keys_of(wb.open_table(f"{top}/t", storage_options=options)) == [1, 3, 4, 5, 6, 7, 8, 9, 10]
    first = wb.open_table(f"{top}/t", version=1, storage_options=options)
    assert keys_of(first) == [1, 3, 4, 5, 6, 7, 8, 9]

    entry = quarantine.entries(f"{top}/t", storage_options=options)["id"][0]
    path = quarantine.path(f"{top}/t", entry, options)
    store.pipe_file(path, b"key,ms\n2,6\n")
    assert quarantine.replay(f"{top}/t", [entry], **both).rows == 1
    versions.label(f"{top}/t", 1, "approved", storage_options=options)
    assert keys_of(wb.open_table(f"{top}/t", version="approved", storage_options=options)) == keys_of(first)
    assert versions.compact(f"{top}/t", storage_options=options)["added"] == 1
    versions.vacuum(f"{top}/t", hours=0, runs="", storage_options=options)
    assert keys_of(wb.open_table(f"{top}/t", version="approved", storage_options=options)) == keys_of(first)
    assert keys_of(wb.open_table(f"{top}/t", storage_options=options)) == list(range(1, 11))
    back = versions.rollback(f"{top}/t", 1, storage_options=options)
    assert keys_of(wb.open_table(f"{top}/t", version=back, storage_options=options)) == keys_of(first)
    assert next(iter(versions.history(f"{top}/t", storage_options=options)["operation"])) == "rollback"

    # Nothing that was written knows the keys, nor does anything that could be shown.
    held = b"".join(store.cat_file(one) for one in store.find(top))
    assert SECRET.encode() not in held
    at = delta.home(f"{top}/t", options)
    assert SECRET not in repr(at) + repr(done) + repr(first)


def test_a_cube_of_a_table_in_a_store_keeps_its_version_from_a_vacuum(bucket, options, tmp_path):
    top, _ = bucket
    for key in (1, 2):
        delta.write(f"{top}/t", pa.table({"key": [key], "day": ["a"]}), mode="replace", storage_options=options)
    cube = wb.cube(wb.open_table(f"{top}/t", version=1, storage_options=options), by=[wb.Category("day")])
    folder = tmp_path / "runs" / "quality" / "20260101T000000Z"
    folder.mkdir(parents=True)
    cube.to_netcdf(folder / "cube.nc", engine="h5netcdf")
    assert SECRET.encode() not in (folder / "cube.nc").read_bytes()
    told = versions.vacuum(f"{top}/t", hours=0, runs=tmp_path / "runs", storage_options=options)
    assert 1 in told["kept"]
    assert keys_of(wb.open_table(f"{top}/t", version=1, storage_options=options)) == [1]


def several(address, options, start):
    for key in range(start, start + 3):
        delta.write(address, pa.table({"key": [key]}), storage_options=options)


def test_two_writers_of_a_store_lose_nothing(bucket, options):
    top, _ = bucket
    delta.write(f"{top}/t", pa.table({"key": [0]}), storage_options=options)
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=several, args=(f"{top}/t", options, start)) for start in (1, 4)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    table = wb.open_table(f"{top}/t", storage_options=options)
    assert keys_of(table) == list(range(7))


def test_keys_in_the_environment_and_in_the_other_spelling(bucket, options, endpoint, monkeypatch):
    top, _ = bucket
    spelled = {
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "eu-west-1",
    }
    assert delta.write(f"{top}/t", pa.table({"key": [1]}), storage_options=spelled).version == 1
    for name, value in spelled.items():
        monkeypatch.setenv(name, value)
    assert delta.write(f"{top}/t", pa.table({"key": [2]})).version == 2
    assert keys_of(wb.open_table(f"{top}/t")) == [1, 2]


def test_a_table_is_prepared_in_a_store(bucket, options, endpoint, monkeypatch, tmp_path):
    top, store = bucket
    fill(store, top)
    (tmp_path / "prepare.yml").write_text("clean:\n  - unique: {key: key}\nkey: key\ncollect: {types: {ms: integer}}\n")
    for name, value in (("KEY_ID", "me"), ("SECRET_ACCESS_KEY", SECRET), ("ENDPOINT_URL", endpoint)):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID" if name == "KEY_ID" else f"AWS_{name}", value)
    found = flow.story(f"{top}/in", f"{top}/into", str(tmp_path / "prepare.yml"), settle=0)
    assert list(found["versions"]["rows"]) == [8]
    assert keys_of(wb.open_table(f"{top}/into/prepared")) == [1, 3, 4, 5, 6, 7, 8, 9]


def test_a_store_that_is_not_there_is_told_without_its_keys(options):
    with pytest.raises(WorkbenchError, match="cannot be|does not exist") as told:
        collect(
            "s3://no-such-bucket-here/in", "s3://no-such-bucket-here/t", storage_options=options, table_options=options
        )
    assert SECRET not in str(told.value)
    with pytest.raises(WorkbenchError, match="carries a password") as told:
        collect(f"ftp://me:{SECRET}@127.0.0.1/in", "table")
    assert SECRET not in str(told.value)


class Web(http.server.BaseHTTPRequestHandler):
    """One file of CSV on the web, whatever the query; `denied` in it is refused."""

    def log_message(self, *told):
        pass

    def do_GET(self):
        found = "/rows.csv" in self.path and "denied" not in self.path
        data = b"key,ms\n1,5\n2,oops\n3,7\n" if found else b""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if found else None
        first, last = (int(asked[1]), min(int(asked[2]) + 1, len(data))) if asked else (0, len(data))
        self.send_response(404 if not found else 206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last - 1}/{len(data)}")
        self.send_header("Content-Length", str(last - first))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[first:last])

    do_HEAD = do_GET  # noqa: N815


@pytest.fixture(scope="module")
def web():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/rows.csv"
        server.shutdown()


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (f"?X-Amz-Date=20261126T1&X-Amz-Signature={SECRET}", "?X-Amz-Date=20261126T1&X-Amz-Signature=***"),
        (f"?sv=2024&sig={SECRET}%2Fx%3D&se=9", "?sv=2024&sig=***&se=9"),
        (f"?token={SECRET}", "?token=***"),
        (f"?part=1&Signature={SECRET}", "?part=1&Signature=***"),
    ],
)
def test_a_signed_address_is_read_and_kept_without_its_signature(web, query, shown, tmp_path):
    done = collect(web + query, tmp_path / "t", types={"ms": "integer"}, settle=0)
    assert (done.rows, done.aside, done.told[0]["source"]) == (2, 1, web + shown)
    assert list(quarantine.entries(tmp_path / "t")["source"]) == [web + shown]
    kept = [str(pq.read_table(one).to_pylist()) for one in (tmp_path / "t").rglob("*.parquet")]
    assert any(shown in one for one in kept)  # else the next line says nothing
    assert not any(SECRET in one for one in [*kept, *map(str, (tmp_path / "t").rglob("*"))])
    logs = [one.read_text() for one in (tmp_path / "t").rglob("*.json")]
    assert logs
    assert not any(SECRET in one for one in [*logs, str(done), str(versions.history(tmp_path / "t").to_dict())])
    again = collect(web + query.replace(SECRET, "another-day"), tmp_path / "t", settle=0)
    assert (again.rows, again.told[0]["outcome"]) == (0, "known")
    table = wb.open_table(web + query)
    assert table.source == web + shown
    assert SECRET not in repr(table)
    for wrong in (web.replace("rows.csv", "none.csv") + query, web + query + "&denied"):
        for of in (wb.open_table, lambda source: collect(source, tmp_path / "t")):
            with pytest.raises(WorkbenchError, match=r"=\*\*\*") as told:
                of(wrong)
            assert SECRET not in str(told.value)
    with pytest.raises(WorkbenchError, match="was kept without its secret: give the whole address again"):
        collect(web + shown, tmp_path / "t")


def test_addresses_that_only_secrets_tell_apart_are_not_taken_for_one(web, tmp_path):
    with pytest.raises(WorkbenchError, match="two addresses are .*token=.* when their secrets are left out"):
        collect([f"{web}?token=first-one", f"{web}?token=second-one"], tmp_path / "t", settle=0)


def test_memory_is_a_source_and_no_target(tmp_path):
    store = fsspec.filesystem("memory")
    fill(store, "memory://stores")
    done = collect("memory://stores/in", tmp_path / "t", types={"ms": "integer"}, settle=0)
    assert (done.rows, done.aside) == (8, 1)
    assert json.loads(quarantine.entries(tmp_path / "t")["where"][0])["lines"] == [3]
    with pytest.raises(WorkbenchError, match="cannot hold a table with versions"):
        collect("memory://stores/in", "memory://stores/t", settle=0)
