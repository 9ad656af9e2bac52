"""Names of people, which no expression knows: found by Presidio where it is installed and asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables.redact_rules import Rule
from workbench.tables.redact_search import Spans, merged, raw

ENTITIES = {"PERSON": "person", "LOCATION": "location", "NRP": "group"}  # what the other rules know, they find better
RULES = tuple(Rule(name, name, "", "", normal="lower") for name in ENTITIES.values())
SCORE = 0.5


def engine() -> Any:
    """Presidio's analyzer. Raises WorkbenchError where it is not installed."""
    try:
        from presidio_analyzer import AnalyzerEngine
    except ImportError:
        raise WorkbenchError(
            "names of people are found by Presidio, which is not installed: pip install 'workbench[names]', then "
            "python -m spacy download en_core_web_lg; without it leave `names` out"
        ) from None
    return AnalyzerEngine()


def spans(array: pa.LargeStringArray, analyzer: Any, first: int) -> Spans:
    """Where names stand in an array of text; the rules RULES have the numbers from `first` on.

    About a thousand times slower than the rules: for columns of free text, not for logs.
    """
    offsets, _ = raw(array)
    kinds = list(ENTITIES)
    found = []
    for row, text in enumerate(array.to_pylist()):
        for one in analyzer.analyze(text or "", language="en", entities=kinds, score_threshold=SCORE):
            begin = len(text[: one.start].encode())
            end = begin + len(text[one.start : one.end].encode())
            if not text[one.start : one.end].startswith("["):
                found.append((row, offsets[row] + begin, offsets[row] + end, first + kinds.index(one.entity_type)))
    return merged([Spans(*np.array(found, np.int64).T)] if found else [])
