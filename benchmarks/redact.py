"""Redaction of log lines against the bare read of the same file: `python -m benchmarks.redact [ROWS] [SHARE] [DENSE]`.

SHARE of the lines hold one piece of personal data (default 0.02); with DENSE every line holds an address besides. The target
for 5 M lines (1 GB), twelve rules and two processors is twice the time of the read and 4 s.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.tables import redact

TWELVE = ["email", "url_credentials", "card", "iban", "ipv4", "ipv6", "phone_international", "phone_grouped", "us_ssn"]
TWELVE += ["token", "jwt", "authorization"]
PERSONAL = ("user ana{}@example.org logged in", "card 4111 1111 1111 1111", "from 192.0.2.{}", "call +49 30 1234{}5")
PERSONAL += (
    "iban DE89370400440532013000",
    "postgresql://svc:hunter{}@db",
    "ssn 219-09-9999",
    "key AKIAIOSFODNN7EXAMPLE",
)


def write(path: Path, rows: int, share: float, dense: bool) -> None:
    draw = random.Random(1)
    with pq.ParquetWriter(path, pa.schema([("line", pa.string())]), compression="zstd") as writer:
        for at in range(0, rows, 100_000):
            lines = []
            for k in range(at, min(at + 100_000, rows)):
                said = (
                    draw.choice(PERSONAL).format(draw.randrange(10, 99)) if draw.random() < share else "done as asked"
                )
                lines.append(
                    f"2026-03-0{k % 9 + 1}T12:{k % 50 + 10}:33.{k % 900 + 100}Z INFO service=api-{k % 30} status=200 "
                    f"request=/v1/models/atlas-70b/infer latency_ms={draw.random() * 9000:.3f} tenant=tenant-{k % 20:02d} "
                    f"trace={draw.getrandbits(128):032x}{f' client=10.{k % 256}.{k % 251}.7' if dense else ''} "
                    f"tokens={k % 9000} msg={said}"
                )
            writer.write_table(pa.table({"line": lines}))


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    yield from pq.ParquetFile(path).iter_batches(batch_size=65_536)


def main(arguments: list[str]) -> None:
    rows = int(arguments[0]) if arguments else 1_000_000
    share = float(arguments[1]) if len(arguments) > 1 else 0.02
    dense = len(arguments) > 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines.parquet"
        write(path, rows, share, dense)
        begun = time.monotonic()
        nbytes = sum(one.nbytes for one in batches(path))
        read = time.monotonic() - begun
        print(f"{rows:,} lines, {nbytes / 1e6:,.0f} MB, bare read {read:.2f} s")
        for words, rules in (("12 rules", redact.load_rules(only=TWELVE)), ("all rules", redact.load_rules())):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            begun, cpu = time.monotonic(), time.process_time()
            found = sum(one.findings.num_rows for one in redact.stream(batches(path), redact.job(rules), workers=2))
            wall, cpu = time.monotonic() - begun, time.process_time() - cpu
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            least = 2 * read + 4 * rows / 5e6
            print(
                f"{words}: {wall:.2f} s ({cpu:.2f} CPU s), allowed {least:.2f} s, {found:,} findings, memory +{grown:.0f} MB"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
