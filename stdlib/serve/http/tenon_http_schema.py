"""The schema of a request and of its answer, made from the signature of a model, see tenon_http.py."""

import base64
import contextlib
import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from datetime import time as time_of_day
from typing import Annotated, Any, Literal, Optional

import numpy as np
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NaiveDatetime,
    Strict,
    WithJsonSchema,
    create_model,
)

from tenon_step import Column, Signature, is_json

FINER = re.compile(r"[.,]\d{6}\d*[1-9]")
LONGEST_EXAMPLE = 300  # in an error


def attribute(index: int) -> str:
    """The name of the attribute that holds column `index`, whose own name may not be one."""
    return f"c{index}"


def documented(column: Column | None, otherwise: str) -> dict[str, Any]:
    """What a field's schema says about a column for people."""
    if column is None or not (column.description or column.unit):
        return {"description": otherwise}
    text = column.description or otherwise
    if not column.unit:
        return {"description": text}
    return {"description": f"{text} ({column.unit})", "json_schema_extra": {"x-unit": column.unit}}


def instance_model(signature: Signature, written: Mapping[str, Column]) -> type[BaseModel]:
    """A pydantic model of one instance. Fields go by the names of the columns; `written` documents them."""
    fields: dict[str, Any] = {}
    for n, column in enumerate(signature.input):
        kind = field_type(column)
        info: dict[str, Any] = {"alias": column.name} | documented(written.get(column.name), column.type)
        if column.nullable:
            fields[attribute(n)] = (Optional[kind], Field(None, **info))  # noqa: UP045, kind is no class
        else:
            fields[attribute(n)] = (kind, Field(..., **info))
    config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={"example": example(signature.input)},
    )
    return create_model("Instance", __config__=config, **fields)


def field_type(column: Column) -> Any:
    kind = column.type
    if kind.startswith(("int", "uint")):
        low, high = integer_range(kind)
        low = max(low, math.ceil(column.min)) if column.min is not None else low
        high = min(high, math.floor(column.max)) if column.max is not None else high
        return Annotated[int, Field(ge=low, le=high)]
    if kind == "float32":
        largest = 3.4028234663852886e38
        low = column.min if column.min is not None else -largest
        high = column.max if column.max is not None else largest
        return Annotated[float, Field(ge=low, le=high), BeforeValidator(lambda v: _whole(v, "f"))]
    if kind.startswith("float"):
        return Annotated[
            float, Field(ge=column.min, le=column.max), BeforeValidator(lambda v: _whole(v, "d"))
        ]
    if kind == "string" and column.json:
        media = {"contentMediaType": "application/json"}
        text = Literal[column.values] if column.values else str
        return Annotated[text, AfterValidator(_json), Field(json_schema_extra=media)]
    if kind == "string":
        return Literal[column.values] if column.values else str
    if kind == "bytes":
        schema = {"type": "string", "format": "base64"}
        return Annotated[bytes, Strict(False), BeforeValidator(_from_base64), WithJsonSchema(schema)]
    types = {"date": date, "time": time_of_day, "timestamp": NaiveDatetime, "timestamptz": AwareDatetime}
    if kind in types:
        # Not strict, since JSON has no dates; text only, since a number would be taken for seconds since
        # 1970.
        return Annotated[
            types[kind],
            Field(ge=column.min, le=column.max, json_schema_extra=formatted_bounds(column)),
            Strict(False),
            BeforeValidator(_only_iso),
            AfterValidator(_no_zone),
        ]
    return bool


def formatted_bounds(column: Column) -> dict[str, Any]:
    """The bounds of a time, which JSON Schema's own minimum and maximum do not take."""
    bounds = {"formatMinimum": column.min, "formatMaximum": column.max}
    return {name: iso(b) for name, b in bounds.items() if isinstance(b, date)}


def iso(value: date) -> str:
    return value.isoformat().replace("+00:00", "Z")


class Rounded(float):
    """What became of an integer with zeros after its point that no float64 is: `exact`."""

    exact: int

    def __new__(cls, value: float, exact: int) -> "Rounded":
        made = super().__new__(cls, value)
        made.exact = exact
        return made


def _whole(value: Any, code: str) -> Any:
    """A whole number has to be one that the float holds, as everywhere. `code` is that of struct.

    One of more than 64 bits has to be one that the float prints.
    """
    if isinstance(value, Rounded):
        value = value.exact
    if isinstance(value, bool) or not (
        isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    ):
        return value
    with contextlib.suppress(OverflowError):  # out of range, which is said elsewhere
        held = struct.unpack(code, struct.pack(code, float(value)))[0]
        digits = significant(value, "d") if isinstance(value, float) else str(value).strip("-0")
        if held != value and (abs(value) < 2**64 or significant(held, code) != digits):
            raise ValueError("the type does not hold it exactly")
    return value


def significant(value: float, code: str) -> str:
    """The digits that a float prints, without zeros at both ends."""
    shown = np.format_float_scientific(np.float32(value) if code == "f" else value)
    return shown.partition("e")[0].replace(".", "").strip("-0")


def integer_range(kind: str) -> tuple[int, int]:
    bits = int(kind.lstrip("uint"))
    return (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _no_zone(value: Any) -> Any:
    if isinstance(value, time_of_day) and value.tzinfo is not None:
        raise ValueError("a time has no zone")
    return value


def _only_iso(value: Any) -> Any:
    if isinstance(value, str) and FINER.search(value):
        raise ValueError("wanted no fractions of a microsecond")
    if isinstance(value, str) and not value[2:3].isdigit() and ":" in value[:3] or _dated(value):
        return value
    raise ValueError("wanted an ISO 8601 string")


def _dated(value: Any) -> bool:
    return isinstance(value, date | time_of_day | datetime) or (isinstance(value, str) and value[4:5] == "-")


def _json(value: str) -> str:
    if not is_json(value):
        raise ValueError("wanted text that is JSON")
    return value


def _from_base64(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("wanted a base64 string")
    return base64.b64decode(value, validate=True)


def response_model(signature: Signature, written: Mapping[str, Column]) -> type[BaseModel]:
    kind: Any = float
    if signature.task == "classification":
        values = signature.output.values
        named = {"bool": bool, "string": Literal[values] if values else str}
        kind = named.get(signature.output.type, int)
    about_it = documented(written.get("prediction"), signature.output.name)
    fields: dict[str, Any] = {"prediction": (kind, Field(..., **about_it))}
    if signature.task == "classification":
        of = "true" if signature.output.type == "bool" else "the predicted class"
        fields["probability"] = (
            float,
            Field(None, description=f"of {of}; absent if the model has none", ge=0, le=1),
        )
        fields["probabilities"] = (dict[str, float], Field(None, description="of every class, if requested"))
    prediction = create_model("Prediction", **fields)
    about = create_model("Model", name=(str, ...), version=(int, ...), digest=(str, ...))
    return create_model("PredictResponse", predictions=(list[prediction], ...), model=(about, ...))


def example(columns: Sequence[Column]) -> dict[str, Any]:
    """A valid instance."""
    return {c.name: example_value(c) for c in columns}


def example_value(column: Column) -> Any:
    texts = {
        "bytes": "AA==",
        "date": "2024-05-17",
        "time": "13:37:00",
        "timestamp": "2024-05-17T13:37:00",
        "timestamptz": "2024-05-17T13:37:00Z",
    }
    if column.type == "bool":
        return True
    if column.type == "string":
        return column.values[0] if column.values else "{}" if column.json else "text"
    low, high = column.min, column.max
    if column.type in texts:
        text = texts[column.type]
        if isinstance(low, date) and text < iso(low):
            return iso(low)
        return iso(high) if isinstance(high, date) and text > iso(high) else text
    value = (
        (low + high) / 2 if low is not None and high is not None else low if low is not None else high or 0
    )
    if column.type.startswith("float"):
        return float(value)
    value = int(value)
    return value + 1 if low is not None and value < low else value


def shown_example(columns: Sequence[Column]) -> str:
    """A valid body, for an error. Of a model with many columns it has the first."""
    row: dict[str, Any] = {}
    for name, value in example(columns).items():
        body = json.dumps({"instances": [row | {name: value}]}, ensure_ascii=False)
        if len(body) > LONGEST_EXAMPLE:
            shown = json.dumps(row, ensure_ascii=False).removesuffix("}")
            return f'{{"instances": [{shown}{", " if row else ""}...}}]}}'
        row[name] = value
    return json.dumps({"instances": [row]}, ensure_ascii=False)
