"""Values of files that are taken as they are are those that the strict adapter would have given."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import pytest
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ravel.common.errors import SuiteError
from ravel.common.typed import typed_value

Kind = Literal["one", "two"] | Literal["all"]
HINTS = (str, int, bool, float, float | None, Literal["one", "two"], Kind, tuple[float, float] | None, Any)
VALUES = (
    *(1.5, -0.0, 0.1 + 0.2, math.nan, math.inf, 1, True, None, "one", "all", "three", "1.5", ""),
    *([0.1, 0.2], [0.1], [0.1, math.nan], {}, 10**20),
)


@pytest.mark.parametrize("hint", HINTS, ids=str)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_is_read_as_by_the_adapter(hint: Any, value: Any) -> None:
    plain = TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))
    try:
        expected = plain.validate_json(json.dumps(value))
    except ValidationError:
        with pytest.raises(SuiteError):
            typed_value(hint, value, "name", origin="a test", todo="mend it")
    else:
        found = typed_value(hint, value, "name", origin="a test", todo="mend it")
        assert (type(found), repr(found)) == (type(expected), repr(expected))
