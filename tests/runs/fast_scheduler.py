"""A scheduler process for the tests that kill: `python fast_scheduler.py SCHEDULE RUNS LEDGER BASE SPEED [END]`.

Its time is BASE plus SPEED times the real seconds since BASE. With END it stops when all windows until then are over.
"""

import random
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from workbench.runs.ledger_tables import open_ledger, reading, windows
from workbench.runs.schedule import read_schedule
from workbench.runs.scheduler import Scheduler, serve, tick
from workbench.runs.times import stamp

schedule, runs, address, base, speed = sys.argv[1:6]
end = float(sys.argv[6]) if len(sys.argv) > 6 else None
STUB = Path(__file__).with_name("stub_run.py")


class Fast:
    def now(self):
        return float(base) + (time.time() - float(base)) * float(speed)

    def rest(self, seconds, *, busy):
        time.sleep(min(0.02, seconds))


def command(entry, window, runs):
    return [sys.executable, str(STUB), str(runs), entry.notebook.stem, str(random.uniform(0.0, 0.15))]


engine = open_ledger(address)
s = Scheduler(
    engine,
    read_schedule(schedule),
    Path(runs),
    clock=Fast(),
    command=command,
    beside=False,
    lease=2.0 * float(speed),
    say=lambda line: print(f"{time.time():.3f}", line, file=sys.stderr, flush=True),
)


def done():
    if end is None or s.clock.now() < end:
        return False
    going = windows.c.state.in_(("due", "running")) & (windows.c.logical <= stamp(end))
    with reading(engine) as c:
        return not c.scalar(sa.select(sa.func.count()).select_from(windows).where(going))


tick(s)
serve(s, until=done)
