"""Programs that the tests of this room start are not tests."""

collect_ignore = ["killed_collect.py"]
