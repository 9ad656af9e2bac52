"""Names of people, which no expression knows: found by Presidio where it is installed and asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from workbench.errors import WorkbenchError
from workbench.tables.redact_rules import Rule
from workbench.tables.redact_search import Spans, merged, raw

ENTITIES = {"PERSON": "person", "LOCATION": "location", "NRP": "group"}  # what the other rules know, they find better
RULES = tuple(Rule(name, name, "", "", normal="lower") for name in ENTITIES.values())
SCORE = 0.5
SIZES = ("_lg", "_trf", "_md", "_sm")  # of models, the most certain first


def engine() -> Any:
    """Presidio's analyzer with the largest English model of spaCy there is. Raises WorkbenchError where one is not installed;
    nothing is loaded from elsewhere."""
    try:
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider
        from spacy.util import get_installed_models
    except ImportError:
        raise WorkbenchError(
            "names of people are found by Presidio, which is not installed: pip install 'workbench[names]', then "
            "python -m spacy download en_core_web_lg; without it leave `names` out"
        ) from None
    models = sorted(one for one in get_installed_models() if one.startswith("en_"))
    if not models:
        raise WorkbenchError(
            "names of people are found by a model of spaCy, and no English one is installed: python -m spacy download "
            "en_core_web_lg; without it leave `names` out"
        )
    best = min(models, key=lambda one: next((k for k, size in enumerate(SIZES) if size in one), len(SIZES)))
    told = {"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": best}]}
    made = NlpEngineProvider(nlp_configuration=told).create_engine()
    return AnalyzerEngine(nlp_engine=made, supported_languages=["en"])


def spans(array: pa.LargeStringArray, analyzer: Any, first: int) -> Spans:
    """Where names stand in an array of text; the rules RULES have the numbers from `first` on.

    About a thousand times slower than the rules: for columns of free text, not for logs.
    """
    offsets, _ = raw(array)
    kinds = list(ENTITIES)
    found = []
    for row, text in enumerate(array.to_pylist()):
        for one in analyzer.analyze(text, language="en", entities=kinds, score_threshold=SCORE) if text else []:
            for start, stop in _outside(text, one.start, one.end):
                begin = offsets[row] + len(text[:start].encode())
                end = begin + len(text[start:stop].encode())
                found.append((row, begin, end, first + kinds.index(one.entity_type)))
    return merged([Spans(*np.array(found, np.int64).T)] if found else [])


def _outside(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The parts of a stretch with letters in them, but for what stands in the place of a finding."""
    for part in re.finditer(r"\[[a-z_]+(?:-[a-z]{24})?\]|$", text[:stop]):
        if re.search(r"[^\W\d_]", text[start : part.start()]):
            yield start, part.start()
        start = max(start, part.end())
