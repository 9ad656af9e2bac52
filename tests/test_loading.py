"""Imports without looking for garbage: it is looked for again afterwards, whatever came of them."""

import gc
import subprocess
import sys

import pytest

from workbench.loading import loading


def test_garbage_is_collected_again_also_where_an_import_fails():
    assert gc.isenabled()
    with loading():
        assert not gc.isenabled()
        with loading():  # an import in an import
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()


def test_who_collects_no_garbage_is_left_alone():
    gc.disable()
    try:
        with loading():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_frozen_objects_stay_frozen():
    code = (
        "import gc; from workbench.loading import loading; gc.freeze(); n = gc.get_freeze_count()\n"
        "with loading(): import json.tool\n"
        "assert gc.get_freeze_count() >= n - 9 > 0 and gc.isenabled()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_first_pass_finds_everything_imported():
    code = (
        "import sys; from workbench.cubes.scan import ready; ready(); had = set(sys.modules)\n"
        "import pyarrow as pa; import workbench as wb\n"
        "wb.cube(pa.table({'x': [1.5, None], 's': ['a', 'b']}), progress=False)\n"
        "late = {m.split('.')[0] for m in set(sys.modules) - had} & {'numba', 'dask', 'xarray', 'pandas', 'scipy', 'numpy'}\n"
        "assert not late, late"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
