"""source.postgres against a real server, which this file starts. Without one it fails, it never skips."""

import datetime as dt
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import col, look_out, table_out
from tenon_step import StepError

PASSWORD = "s3cret/p@ss:word"
QUOTED = "s3cret%2Fp%40ss%3Aword"


@pytest.fixture(scope="module")
def server():
    """The port of a server with password authentication, run as an unprivileged user."""
    bins = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(bins[-1].parent) if bins else os.path.dirname(shutil.which("initdb") or "")
    assert found, "PostgreSQL's initdb is not installed"
    # The server does not run as root; sockets need a short path.
    user = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if os.geteuid() == 0 else {}
    root = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    (root / "password").write_text(PASSWORD)
    if user:
        for path in (root, root / "password"):
            os.chown(path, pwd.getpwnam("nobody").pw_uid, user["group"])
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": root, **user}
    init = [
        "-D",
        "data",
        "-U",
        "tester",
        "-A",
        "scram-sha-256",
        "--pwfile=password",
        "--no-sync",
        "-E",
        "UTF8",
    ]
    subprocess.run([f"{found}/initdb", *init], **quiet)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={root} -c fsync=off"
    subprocess.run([f"{found}/pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start"], **quiet)
    try:
        yield port
    finally:
        subprocess.run([f"{found}/pg_ctl", "-D", "data", "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(root)


@pytest.fixture
def query(lab, server):
    def run(
        sql, *schema, run=None, dsn=f"postgresql://tester:{QUOTED}@127.0.0.1:{server}/postgres", **params
    ):
        env = {"DSN": dsn} if dsn else {}
        return (run or lab.ok)(
            "source.postgres", params={"query": sql, **params}, outputs=table_out(*schema), env=env
        )

    return run


def test_types(query):
    got = query(
        """
        SELECT 1::int2 AS a, 12345678901234567::numeric AS b, 1.25::numeric AS c, 'x'::text AS d,
               NULL::float8 AS e, true AS f, date '2024-05-17' AS g, timestamp '2024-05-17 13:37' AS h,
               timestamptz '2024-05-17 13:37+02' AS i, '\\x00'::bytea AS j, time '01:02' AS k,
               'v'::varchar(3) AS l;
        """,
        col("l", "string"), col("a", "int64"), col("b", "int64"), col("c", "float64"), col("d", "string"),
        col("e", "float64", nullable=True), col("f", "bool"), col("g", "date"), col("h", "timestamp"),
        col("i", "timestamptz"), col("j", "bytes"), col("k", "time"),
    )  # fmt: skip
    row = got.table().iloc[0].to_dict()
    assert (row["a"], row["b"], row["c"], row["d"], row["l"]) == (1, 12345678901234567, 1.25, "x", "v")
    assert row["g"] == dt.date(2024, 5, 17)
    assert row["h"] == dt.datetime(2024, 5, 17, 13, 37)
    assert row["i"] == dt.datetime(2024, 5, 17, 11, 37, tzinfo=dt.UTC)
    assert (row["j"], row["k"], row["f"]) == (b"\0", dt.time(1, 2), True)


def test_many_batches_are_the_same_bytes_as_one(query):
    sql = "SELECT i, i::text AS s, (i * 0.5)::numeric AS x FROM generate_series(1, 200000) i ORDER BY i"
    schema = [col("i", "int64"), col("s", "string"), col("x", "float64")]
    one, many = query(sql, *schema, batch=1 << 28), query(sql, *schema, batch=1 << 16)
    assert one.path("out").read_bytes() == many.path("out").read_bytes()
    assert len(many.progress) > 10
    assert one.metrics == {"rows": 200_000}
    assert one.table()["x"].iloc[-1] == 100_000


def test_a_numeric_that_a_float_does_not_hold_is_refused(lab, query):
    sql = "SELECT n::numeric AS x FROM (VALUES {}) AS t(n)"
    exact = "('0.1'), ('1.10000000000000000000'), ('123456789012345.5'), ('NaN'), (NULL)"
    got = query(sql.format(exact), col("x", "float64", nullable=True)).table()["x"]
    assert got.tolist()[:3] == [0.1, 1.1, 123456789012345.5]
    says = query(sql.format("('0.1'), ('123456789012345678.91')"), col("x", "float64"), run=lab.error)
    assert "found numeric 123456789012345678.91 in row 2, which it does not hold exactly" in says


# A value of PostgreSQL, the types that take it with what it becomes, and what is said where it is refused.
FAR, BEFORE = dt.date(9999, 12, 31), "infinity, or a time after the year 294246, in row 2"
FLOATS, TYPES = ("float64", "float32"), (
    "bool", "int64", "uint64", "uint8", "int8", "float64", "float32", "string", "bytes", "date", "time",
    "timestamp", "timestamptz",
)  # fmt: skip


def number(value, text, *types):
    """The value in columns of numbers, and its text."""
    return {t: float(value) if t in FLOATS else value for t in types} | ({"string": text} if text else {})


ALL = ("int64", "uint64", "uint8", "int8", *FLOATS)
VALUES = [
    ("7.000::numeric", number(7, "7.000", *ALL), ""),
    ("1e50::numeric", {"float64": 1e50, "string": "1" + "0" * 50}, ""),
    ("1e131071::numeric", {"string": "1" + "0" * 131071}, ""),
    ("18446744073709551615::numeric", number(2**64 - 1, str(2**64 - 1), "uint64"), ""),
    ("-9223372036854775808::numeric", number(-(2**63), str(-(2**63)), "int64"), ""),
    ("0.1::numeric", {"float64": 0.1, "float32": 0.10000000149011612, "string": "0.1"}, ""),
    ("16777217::numeric", number(16777217, "16777217", "int64", "uint64", "float64"), ""),
    ("'NaN'::numeric", dict.fromkeys(TYPES), ""),
    ("'-Infinity'::numeric", number(float("-inf"), "-inf", *FLOATS), ""),
    ("100::numeric(5, -2)", number(100, "100", *ALL), ""),
    ("0.1::float8", {"float64": 0.1}, ""),
    ("'-0'::float4", number(0, "", "int64", "uint64", "uint8", "int8") | dict.fromkeys(FLOATS, -0.0), ""),
    ("'infinity'::date", {}, BEFORE),
    ("'-infinity'::date", {}, BEFORE),
    ("'infinity'::timestamp", {}, BEFORE),
    ("'-infinity'::timestamptz", {}, BEFORE),
    ("'294276-12-31'::timestamp", {}, BEFORE),
    ("'9999-12-31'::date", {"date": FAR, "timestamp": dt.datetime(9999, 12, 31)}, ""),
    ("'24:00'::time", {}, ""),
    ("'12:00+02'::timetz", {}, "found timetz: select CAST(v AS text) AS v"),
    ("'$1,234.56'::money", {}, "found money: select CAST(v AS numeric) AS v"),
    ("4294967295::oid", {}, "found oid: select CAST(v AS int8) AS v"),
    ("B'101'", {}, "found bit: select CAST(v AS text) AS v"),
    ("'10.0.0.1/8'::inet", {}, "found inet: select"),
    ("int4range(1, 5)", {}, "found a type of its own, such as an enum: select"),
    ("'mood'::feeling", {"string": "mood"}, ""),
    ("5::small", number(5, "", *ALL), ""),
    ("'{1,2}'::int[]", {}, "found list"),
    ("'1 day'::interval", {}, "found month_day_nano_interval"),
    ("row(1, 'a')", {}, "the query failed"),
    ("'{\"a\": 1}'::jsonb", {"string": '{"a": 1}'}, ""),
    ("'00000000-0000-0000-0000-000000000001'::uuid",
     {"string": "00000000-0000-0000-0000-000000000001"}, ""),
    ("'a'::char(3)", {"string": "a  "}, ""),
]  # fmt: skip


@pytest.fixture(scope="module")
def made(server):
    """A server with types of its users."""
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(f"postgresql://tester:{QUOTED}@127.0.0.1:{server}/postgres") as connection:
        connection.cursor().execute("CREATE TYPE feeling AS ENUM ('mood')")
        connection.cursor().execute("CREATE DOMAIN small AS int CHECK (value > 0)")
        connection.commit()
    return server


@pytest.mark.parametrize(("value", "becomes", "says"), VALUES, ids=[v[0] for v in VALUES])
def test_every_value_is_exact_or_refused(lab, made, monkeypatch, value, becomes, says):
    query = f"SELECT NULL AS v UNION ALL SELECT {value}"
    for declared in TYPES:
        monkeypatch.setenv("DSN", f"postgresql://tester:{QUOTED}@127.0.0.1:{made}/postgres")
        out = table_out(col("v", declared, nullable=True))
        try:
            got = lab.inside("source.postgres", params={"query": query}, outputs=out)
        except StepError as e:
            assert declared not in becomes, e
            assert says in str(e) or not says and ", found" in str(e), declared
            continue
        found = pq.read_table(got.path("out")).column(0).to_pylist()[-1]
        assert declared in becomes, f"as {declared} it became {found}"
        assert repr(found) == repr(becomes[declared]), declared


def test_no_rows_is_a_table(query):
    assert query("SELECT 1 AS n WHERE false", col("n", "int64")).table()["n"].tolist() == []


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT nothing", 'the query failed: column "nothing" does not exist'),
        ("SELEC 1", "the query failed: syntax error"),
        ("SELECT 1 AS m", "output out: column n is missing; it has: m"),
        ("SELECT 'a' AS n", "output out: column n: wanted int64, found string"),
        (
            "SELECT 1.5::numeric AS n",
            "output out: column n: wanted int64, found numeric 1.5 in row 1, which is no whole number",
        ),
        ("CREATE TABLE n AS SELECT 1 AS n", "the query failed: "),
        ("SELECT 1/0 AS n", "division by zero"),
    ],
)
def test_errors(lab, query, sql, says):
    assert says in query(sql, col("n", "int64"), run=lab.error)


@pytest.mark.parametrize(
    ("dsn", "says"),
    [
        ("postgresql://tester:wrong-one@127.0.0.1:{port}/postgres", "the user or the password is wrong"),
        ("postgresql://tester:{quoted}@127.0.0.1:1/postgres", "the connection was refused"),
        ("postgresql://tester:{quoted}@127.0.0.1:{port}/nowhere", "the database does not exist"),
        ("postgresql://tester:{password}@127.0.0.1:{port}/postgres", ""),
        ("host=127.0.0.1 port={port} user=tester password='{password}' nonsense", "the DSN is malformed"),
        ("", "secret DSN is not set"),
    ],
)
def test_a_failed_connection_tells_no_secret(lab, query, server, dsn, says):
    dsn = dsn.format(port=server, quoted=QUOTED, password=PASSWORD)
    got = query("SELECT 1 AS n", col("n", "int64"), dsn=dsn, run=lab.run)
    assert got.status == 1
    assert says in got.log
    assert got.log.count("\n") == 1, got.log
    for secret in (PASSWORD, QUOTED, "s3cret", "p@ss", "wrong-one"):
        assert secret not in got.log


def test_a_query_that_repeats_the_password_does_not_print_it(lab, query):
    got = query(f"SELECT '{PASSWORD}'::int AS n", col("n", "int64"), run=lab.error)
    assert "invalid input syntax" in got
    assert PASSWORD not in got


def test_a_look_compares_columns_without_running_the_query(lab, server):
    sql = """
        SELECT 1::int4 AS a, 'a'::text AS b, 'a'::text AS c, 1.5::numeric AS d, 1.5::numeric AS e,
               1.5::numeric AS f, now() AS g, now() AS h, pg_sleep(600)::text AS i, 1 / 0 AS j, 1 AS k
    """
    columns = [
        col("a", "int64"), col("b", "int64"), col("c", "string"), col("d", "float64"), col("e", "int64"),
        col("f", "bool"), col("g", "timestamptz"), col("h", "timestamp"), col("i", "string"),
        col("j", "int64"), col("l", "int64"),
    ]  # fmt: skip
    dsn = f"postgresql://tester:{QUOTED}@127.0.0.1:{server}/postgres"
    got = lab.ok(
        "source.postgres", params={"query": sql, "look": True}, outputs=look_out(*columns), env={"DSN": dsn}
    )
    assert json.loads(got.path("out").read_text()) == {
        "columns": list("abcdefghijk"),
        "faults": [  # the values decide whether a numeric is whole
            {"column": "b", "text": "wanted int64, found string"},
            {"column": "f", "text": "wanted bool, found string"},
            {"column": "h", "text": "wanted timestamp, found timestamptz"},
            {"column": "l", "missing": True},
            {"column": "k", "extra": True},
        ],
    }


def test_a_look_at_a_wrong_query_says_why(lab, query):
    says = query("SELECT nothing", col("n", "int64"), run=lab.error, look=True)
    assert 'column "nothing" does not exist' in says
