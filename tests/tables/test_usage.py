"""The one schema of usage: what its builders fill in, and what they refuse."""

import pytest

from workbench.errors import WorkbenchError
from workbench.tables.usage import EXCEPTIONS, GPU_HOURS, USAGE, exceptions_table, gpu_hours_table, usage_table


def test_a_usage_table_fills_what_is_not_given():
    table = usage_table({"model": ["a", "b"], "input_tokens": [3, 4]})
    assert table.schema == USAGE
    assert table.column("requests").to_pylist() == [1, 1]
    assert table.column("output_tokens").to_pylist() == [0, 0]
    assert table.column("billed_micro_usd").null_count == 2
    assert table.column("owner").to_pylist() == ["", ""]


def test_builders_refuse_what_the_schema_does_not_have():
    with pytest.raises(WorkbenchError, match="'input_token'.*did you mean 'input_tokens'"):
        usage_table({"input_token": [1]})
    with pytest.raises(WorkbenchError, match="different lengths"):
        usage_table({"model": ["a"], "input_tokens": [1, 2]})
    with pytest.raises(WorkbenchError, match="did you mean 'clock jump'"):
        exceptions_table([{"reason": "clock jumps"}])
    assert gpu_hours_table({"share": [0.5]}).schema == GPU_HOURS
    assert exceptions_table([]).schema == EXCEPTIONS
