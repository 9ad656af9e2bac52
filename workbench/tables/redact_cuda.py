"""The first look for personal data on a GPU: which rows a prefilter holds for, asked of cuDF. The rules themselves, with their
checksums, go over those rows on the processor, so that findings are the same."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa

BLANKS = r" \t\n\r\f"  # what RE2 means by \s; libcudf means more by it


def held(array: pa.LargeStringArray, prefilter: str) -> np.ndarray[Any, Any]:
    """Whether a prefilter holds for each text; a missing one has nothing. Needs a GPU and `workbench[gpu]`."""
    import cudf
    import pylibcudf as plc

    program = plc.strings.regex_program.RegexProgram.create(spelt(prefilter), plc.strings.regex_flags.RegexFlags.ASCII)
    texts = cudf.Series.from_arrow(array)
    found = plc.strings.contains.contains_re(texts.to_pylibcudf()[0], program)
    return np.asarray(cudf.Series.from_pylibcudf(found).fillna(False).to_numpy(), bool)


def spelt(prefilter: str) -> str:
    r"""A prefilter of RE2 so that libcudf, whose letters and digits are set to ASCII, means the same by it.

    In a set a bare hyphen at the end is a half range to it, and blanks are more than RE2's.

    >>> spelt(r"\S+[ .-][^\s@]\b")
    '[^ \\t\\n\\r\\f]+[ .\\-][^ \\t\\n\\r\\f@]\\b'
    """
    out: list[str] = []
    inside = False
    for one in re.findall(r"\\.|.", prefilter, re.DOTALL):
        if not inside:
            inside = one == "["
            one = {r"\s": f"[{BLANKS}]", r"\S": f"[^{BLANKS}]"}.get(one, one)
        elif one == "]" and out[-1] not in ("[", "^"):
            inside = False
            if out[-1] == "-":
                out[-1] = r"\-"
        elif one == r"\s":
            one = BLANKS
        elif one == "-" and out[-1] in ("[", "^"):
            one = r"\-"
        out.append(one)
    return "".join(out)
