"""serve.http: whatever a body is, it is answered soon, and never with an error of the service.

$TENON_FUZZ_SEEDS is how many series of bodies to send, which is small unless you look for faults.
"""

import json
import os
import random
import time

import httpx
import pytest

from test_serve_http import plain  # noqa: F401, it is a fixture
from testing_services import INSTANCE

SEEDS = int(os.environ.get("TENON_FUZZ_SEEDS", "3"))
BODIES = 100

# A text that no answer may contain: the values of a request may be secret.
MARK = "never-in-an-answer"

NUMBERS = ["0", "-0", "-0.0", "1e5", "1E+400", "-1e-400", "1.0", "20.5", "2147483648", "9223372036854775808"]
NUMBERS += ["1" + "0" * 30, "0.1" + "0" * 50, "01", "+1", "1.", ".5", "0x1", "NaN", "Infinity", "-Infinity"]
WORDS = ["null", "true", "false", "nul", "None", "undefined", "", " ", "//", "'a'"]
TEXTS = [
    MARK,
    f"2024-05-17 {MARK}",
    f"{MARK}\n",
    f"=HYPERLINK({MARK})",
    f"{MARK}\u202e",
    f"%s{MARK}%n",
    f"{{{MARK}}}",
]
TIMES = [
    "2024-05-17T13:37:00",
    "2024-05-17",
    "2024-02-30T00:00:00",
    "2024-05-17T13:37:00Z",
    "9999-12-31T23:59:59",
]
TIMES += [
    "10000-01-01T00:00:00",
    "2024-05-17T24:00:00",
    "2024-05-17T13:37:00.1234567",
    "1715953020",
    "-1",
    "P1D",
]
RAW = [b"\x00", b"\xff", b"\xed\xa0\x80", b'"\\ud800"', b'"\\u0000"', b"\xef\xbb\xbf", b'"\\x"', b"\r", b"\\"]


def value(r: random.Random, depth: int = 0) -> bytes:
    """A value, which may not be JSON."""
    kind = r.randrange(8 if depth < 3 else 5)
    if kind == 0:
        return r.choice(NUMBERS).encode()
    if kind == 1:
        return r.choice(WORDS).encode()
    if kind in (2, 3):
        return json.dumps(r.choice(TEXTS if kind == 2 else TIMES)).encode()
    if kind == 4:
        return r.choice(RAW)
    if kind == 5:
        return b"[" + b",".join(value(r, depth + 1) for _ in range(r.randrange(4))) + b"]"
    names = [*INSTANCE, "instances", "other", "", "__class__", "é"]
    fields = [
        json.dumps(r.choice(names)).encode() + b":" + value(r, depth + 1) for _ in range(r.randrange(4))
    ]
    return b"{" + b",".join(fields) + b"}"


def body(r: random.Random) -> bytes:
    """A body that is more or less wrong, so that some get past each check."""
    rows = []
    for _ in range(r.choice([0, 1, 1, 1, 2, 5, 1001])):
        fields = {name: json.dumps(v).encode() for name, v in INSTANCE.items()}
        for _ in range(r.choice([0, 1, 1, 3])):
            fields[r.choice([*INSTANCE, "other"])] = value(r)
        if r.random() < 0.1:
            fields.pop(r.choice(list(fields)))
        rows.append(b"{" + b",".join(json.dumps(k).encode() + b":" + v for k, v in fields.items()) + b"}")
    whole = b'{"instances":[' + b",".join(rows) + b"]}"
    if r.random() < 0.1:
        whole = value(r)
    if r.random() < 0.3:  # damaged somewhere
        at = r.randrange(len(whole) + 1)
        whole = whole[:at] + r.choice([b"", r.randbytes(1), value(r)]) + whole[at + r.randrange(3) :]
    return whole


@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_body_is_answered_and_not_echoed(plain, seed):  # noqa: F811
    r = random.Random(seed)
    seen = set()
    with httpx.Client() as client:
        for n in range(BODIES):
            content = body(r)
            start = time.monotonic()
            headers = {"Content-Type": r.choice(["application/json", "text/plain", "multipart/form-data"])}
            answer = client.post(f"{plain}/predict", content=content, headers=headers, timeout=60)
            said = f"body {n} of seed {seed}, {content[:300]!r}: {answer.status_code} {answer.text[:300]}"
            assert answer.status_code in (200, 422), said
            assert MARK not in answer.text, said
            assert time.monotonic() - start < 20, said
            if answer.status_code == 422:
                assert 1 <= len(answer.json()["detail"]) <= 10, said
                assert len(answer.content) < 3000, said
            seen.add(answer.status_code)
        assert seen == {200, 422}
        assert client.get(f"{plain}/readyz").status_code == 200
