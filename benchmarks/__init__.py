"""Ours beside the peers, on the same files: `make bench`, or `python -m benchmarks.run --help`.

`run` is the driver and needs the standard library only; `plan` lists what is measured; each module of `measures` (ours)
and `peers` is a small script that runs in a process of its own and prints one JSON line.
"""
