"""serve.http: what it says to every kind of value and body, which the serving plane in Go says, too.

The answers are kept in the folder _testdata of Go's package request, whose tests compare them.
TENON_UPDATE=1 rewrites them.
"""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import tenon_http
import tenon_http_schema
from tenon_step import Signature

KEPT = Path(__file__).parents[1] / "plane" / "request" / "_testdata" / "answers.json"
LABEL = {"name": "y", "type": "float64"}

ANY = ["null", "true", "1", "1.5", '"text"', "[1]", "{}", '""', "NaN"]
DAY, NOON = "2024-05-17", "2024-05-17T13:37:00"
ZONES = ["Z", "z", "+02:00", "+0200", "-00:00", "+23:59", "\u221202:00"]
NO_ZONES = ["+", "+0", "+02", "+02:", "+02:0", "+02:60", "+24:00", "+x2:00", "Zx", "+02:00x", " Z", "x"]
FRACTIONS = [".5", ",5", ".123456", ".123456000", ".1234567", ".0000001", ".", ".x", ".5Z"]
DATES = [DAY, "0001-01-01", "9999-12-31", "0000-01-01", "10000-01-01", "2024-5-7", "2024-02-30", "2023-02-29"]
DATES += ["2024-00-10", "2024-13-01", "2024-01-00", "2024/05/17", "2024-05/17", "202x-05-17", "2024-0x-17"]
DATES += [
    "2024-05-1x",
    "2024-05-1é",
    "2024-W01-1",
    "2024-137",
    f" {DAY}",
    f"{DAY} ",
    f"{DAY}x",
    "1715953020",
    "-1",
]
TIMES = ["13:37", "13:37:00", "00:00", "24:00", "13:60", "13:37:60", "13:", "13:3", "1x:37", "13x37", "13:3x"]
TIMES += ["13:37:", "13:37:0", "13:37:0x", "13:37x", "0:00", "13", "1337", "T13:37", "é3:37:00", "13:é7"]
MOMENTS = DATES + TIMES
MOMENTS += [f"{NOON}{x}" for x in ["", *ZONES, *NO_ZONES, *FRACTIONS]]
MOMENTS += [f"13:37:00{x}" for x in [*ZONES, *NO_ZONES, *FRACTIONS]]
MOMENTS += [f"{DAY}{between}{t}" for between in "Tt_ -" for t in ["13:37", "00:00", "00:00:00.000000000", ""]]
MOMENTS += [f"{DAY}T{t}" for t in TIMES] + ["0000-01-01T00:00", "0000-01-01T00:00Z", "0001-01-01T00:00+02:00"]
NUMBERS = [
    "0",
    "-0",
    "-0.0",
    "1",
    "-1",
    "0.5",
    "3",
    "4",
    "128",
    "256",
    "1.0",
    "1e2",
    "0.1",
    "1e-400",
    "1e400",
]
NUMBERS += [
    "-1e400",
    "Infinity",
    "-Infinity",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
]
NUMBERS += ["18446744073709551615", "18446744073709551616", "18446744073709551617", "1" + "0" * 400]
NUMBERS += ["9007199254740992", "9007199254740993"]
NUMBERS += [
    "9007199254740993.0",
    "-9007199254740993.000",
    "1e23",
    "1" + "0" * 23,
    "1" + "0" * 22 + "1",
    "1" * 40,
]
NUMBERS += [
    "1" * 40 + ".0",
    "0.1000000000000000000001",
    "20.0000000000000000001",
    "16777216",
    "16777217",
    "1e30",
]
NUMBERS += [
    "16777217.0",
    "1.6777217e7",
    "1e38",
    "1.00000001e30",
    "1e39",
    "1" + "0" * 30 + ".0",
    "12345678901234567e5",
]
LONG = ["9" * 4300, "9" * 4301, "9" * 4301 + ".0", "9" * 4301 + ".5", "9" * 4301 + "e0", "0." + "1" * 5000]
TEXTS = ['"a"', '"b"', '"A"', '"\\u0061"', '"a "', '"{"', '"{}"', '"[1, 2]"', '"1e400"', '"NaN"', '"[1,]"']
TEXTS += [
    '"\\"\\\\ud83d\\""',
    '"\\"\\\\ud83d\\\\ude00\\""',
    '"' + "[" * 5000 + '"',
    '" 1 "',
    '"{\\"a\\":1,\\"a\\":2}"',
]

COLUMNS = [
    ({"type": "bool"}, ANY),
    *[
        ({"type": kind}, [json.dumps(m) for m in MOMENTS] + ANY)
        for kind in ("date", "time", "timestamp", "timestamptz")
    ],
    *[({"type": kind}, NUMBERS + ANY) for kind in ("int8", "int64", "uint8", "uint64", "float32", "float64")],
    *[({"type": kind}, LONG) for kind in ("int64", "float64")],
    *[({"type": kind, "min": 0.5, "max": 3}, NUMBERS) for kind in ("int32", "uint64", "float32", "float64")],
    ({"type": "string"}, TEXTS + ANY),
    ({"type": "string", "values": ["a"]}, TEXTS + ANY),
    ({"type": "string", "values": ["a", "b'c", 'd"e', "f\\g", "h\ni"]}, TEXTS + ANY),
    ({"type": "string", "json": True}, TEXTS + ANY),
    ({"type": "int64", "nullable": True}, ANY),
    ({"type": "timestamp", "nullable": True}, ANY),
]

BODY = [{"name": "a", "type": "int64"}, {"name": "b", "type": "string", "nullable": True}]
ROW = '{"a": 1}'
BODIES = [
    "",
    " ",
    "null",
    "[]",
    "{}",
    "1",
    ROW,
    '{"instances": null}',
    '{"instances": {}}',
    '{"instances": []}',
    '{"instances": [1, null, [], {"a": 1}]}',
    '{"instances": [{}]}',
    '{"instances": [{"b": null, "a": 2}]}',
    ' { "instances" : [ { "a" : 1 } ] } ',
    f'{{"instances": [{ROW}], "x": 1, "y": {{"z": [1, NaN]}}}}',
    '{"instances": [{"c": 1, "b": 2, "d": [{"e": null}]}], "x": 1}',
    '{"x": 1, "instances": []}',
    f'{{"instances": [{", ".join([ROW] * 3)}]}}',
    f'{{"instances": [{ROW}, {ROW}, {{}}, 1], "x": 1}}',
    f'{{"instances": [{", ".join(["{}"] * 20)}]}}',
    '{"instances": [' + ", ".join(['{"a": "x"}'] * 200) + "]}",
    '{"instances": [{' + ", ".join(f'"k{i}": 1' for i in range(50)) + "}]}",
    "{" + ", ".join(f'"k{i}": 1' for i in range(20)) + ', "instances": [{}]}',
    '{"instances": [{"a": 1, "a": 1}]}',
    '{"instances": [{"a": 1, "\\u0061": 1}]}',
    f'{{"instances": [{ROW}], "instances": []}}',
    '{"instances": [{"a": 1, "x": 1, "x": 1}]}',
    '{"instances": [{"a": {"x": 1, "x": 1}}]}',
    '{"x": {"y": [{"z": 1, "z": 2}]}}',
    '{"instances": [{"a": "x"}, {"a": 1, "a": 1}]}',
    '{"instances": [{"a": "x"}',
    '{"instances": [{"a": "x"}]} x',
    '{"instances": [' + '{"a": "x"}, ' * 12 + "1,]}",
    '{"instances": [{"a": 01}]}',
    '{"instances": [{"a": +1}]}',
    '{"instances": [{"a": .5}]}',
    '{"instances": [{"a": 1,}]}',
    '{"instances": [{a: 1}]}',
    '{"instances": [{"a": 1 "b": 2}]}',
    '{"instances": [{"a"; 1}]}',
    '{"instances": [{"a": 1, "b": "\\ud83d"}]}',
    '{"instances": [{"a": 1, "b": "\\ud83d\\ude00"}]}',
    '{"instances": [{"a": 1, "\\ud83d": 1}]}',
    '{"instances": [{"a": 1, "b": "\\ufffd\\u0000"}]}',
    '{"instances": [{"a": 1, "b": "\\x"}]}',
    '{"instances": [{"a": 1, "b": "\n"}]}',
    '{"instances": [{"a": 1, "b": "x}]}',
    '{"instances": [{"a": "\\u12"}]}',
    '{"instances": [{"a": 1, "' + "é" * 3000 + '": 1}]}',
    '{"instances": [{"a": ' + "[" * 90 + "]" * 90 + "}]}",
    '{"instances": [{"a": ' + "[" * 200 + "]" * 200 + "}]}",
    "[" * 100_000,
    '{"instances": [{"a": ' + '{"a": ' * 90 + "1" + "}" * 90 + "}]}",
    '{"instances": [{"b": "' + "x," * 5000 + '", "a": 1}]}',
    '{"' * 20_000,
    '{"instances": [{"a": 1, "b": "' + '\\"' * 5000 + '"}]}',
    '{"x": ' + "9" * 4301 + "}",
    '{"x": ' + "9" * 4301 + ".5, " + '"instances": []}',
    "\ufeff" + f'{{"instances": [{ROW}]}}',
    f'{{"instances": [{ROW}]}}\u00a0',
]


def answer(columns, body):
    """The errors of a body, or None."""
    signature = Signature.parse({"task": "regression", "input": columns, "output": LABEL})
    service = SimpleNamespace(
        model=SimpleNamespace(signature=signature),
        instance=tenon_http_schema.instance_model(signature, {}),
        most=2,
    )
    try:
        tenon_http.instances(service, body.encode())
    except tenon_http.Refused as e:
        return [[d["type"], d["loc"], said(d["msg"])] for d in e.detail]
    return None


def said(message):
    """Where a body ceases to be JSON is said in other words by Go."""
    return message.partition(":")[0] if message.startswith("the body is no JSON") else message


def test_what_go_compares():
    values = [
        {
            "column": column,
            "answers": [
                [v, answer([{"name": "x", **column}], f'{{"instances": [{{"x": {v}}}]}}')] for v in texts
            ],
        }
        for column, texts in COLUMNS
    ]
    kept = {"values": values, "columns": BODY, "bodies": [[b, answer(BODY, b)] for b in BODIES]}
    text = json.dumps(kept, separators=(",", ":")) + "\n"
    if os.environ.get("TENON_UPDATE") == "1":
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(text, encoding="utf-8")
    assert json.loads(KEPT.read_text(encoding="utf-8")) == json.loads(text), "TENON_UPDATE=1 rewrites it"
