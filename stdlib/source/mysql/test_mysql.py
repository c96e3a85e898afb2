"""source.mysql against a real MariaDB, which this file starts. Without one it fails, it never skips."""

import datetime as dt
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
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
    found = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
    assert Path(found).exists(), "MariaDB's mariadbd is not installed"
    root = Path(tempfile.mkdtemp(prefix="mysql", dir="/tmp"))  # sockets need a short path
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        os.chown(root, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", f"--user={user}", f"--datadir={root}/data", "--skip-test-db",
         "--auth-root-authentication-method=normal"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    (root / "init.sql").write_text(
        f"CREATE USER 'tester'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\nCREATE DATABASE shop;\n"
        "GRANT ALL ON shop.* TO 'tester'@'127.0.0.1';\n"
    )
    (root / "init.sql").chmod(0o644)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with open(root / "log", "w") as log:
        daemon = subprocess.Popen(
            [found, "--no-defaults", f"--user={user}", f"--datadir={root}/data", f"--socket={root}/socket",
             f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={root}/pid",
             f"--init-file={root}/init.sql",
             "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin", "--skip-name-resolve"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        for _ in range(600):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert daemon.poll() is None, (root / "log").read_text()
            time.sleep(0.1)
        yield port
    finally:
        daemon.terminate()
        daemon.wait(60)
        shutil.rmtree(root)


@pytest.fixture
def query(lab, server):
    def run(sql, *schema, run=None, dsn=f"mysql://tester:{QUOTED}@127.0.0.1:{server}/shop"):
        env = {"DSN": dsn} if dsn else {}
        return (run or lab.ok)("source.mysql", params={"query": sql}, outputs=table_out(*schema), env=env)

    return run


def test_every_type_arrives_as_it_is(query):
    got = query(
        """
        SELECT CAST(18446744073709551615 AS UNSIGNED) AS big, CAST(9007199254740993 AS SIGNED) AS exact,
            CAST('12345678901234567' AS DECIMAL(20, 0)) AS whole, CAST('1.25' AS DECIMAL(10, 4)) AS price,
            CAST(0.1 AS DOUBLE) AS share, 'Zürich 🚉' AS place, x'00ff' AS raw, TRUE AS yes,
            DATE '2024-02-29' AS day, TIMESTAMP '2024-02-29 12:34:56.123456' AS at,
            TIME '23:59:59.5' AS clock,
            CAST(NULL AS CHAR) AS nothing
        """,
        col("big", "uint64"), col("exact", "int64"), col("whole", "int64"), col("price", "float64"),
        col("share", "float64"), col("place", "string"), col("raw", "bytes"), col("yes", "bool"),
        col("day", "date"), col("at", "timestamp"), col("clock", "time"),
        col("nothing", "string", nullable=True),
    )  # fmt: skip
    row = got.table().iloc[0]
    assert (row["big"], row["exact"], row["whole"]) == (
        18446744073709551615,
        9007199254740993,
        12345678901234567,
    )
    assert (row["price"], row["share"], row["place"], row["raw"]) == (1.25, 0.1, "Zürich 🚉", b"\x00\xff")
    assert bool(row["yes"]) is True
    assert str(row["day"])[:10] == "2024-02-29"
    assert row["at"].isoformat() == "2024-02-29T12:34:56.123456"
    assert row["clock"] == dt.time(23, 59, 59, 500000)
    assert got.table()["nothing"].isna().all()
    assert got.metrics == {"rows": 1}


def test_a_timestamp_is_a_point_in_time_whatever_the_zone_of_the_server(lab, query, server):
    import_rows(
        server,
        "CREATE TABLE seen (at TIMESTAMP); SET time_zone = '+05:00'; "
        "INSERT INTO seen VALUES ('2024-01-01 05:00:00')",
    )
    got = query("SELECT at FROM seen", col("at", "timestamptz")).table()
    assert got["at"][0].isoformat() == "2024-01-01T00:00:00+00:00"
    assert "declare timestamptz" in query("SELECT at FROM seen", col("at", "timestamp"), run=lab.error)


def test_many_batches_are_the_same_bytes_twice(query):
    sql = "SELECT seq AS n, CONCAT('r', seq) AS s FROM seq_1_to_120000 ORDER BY seq"
    schema = (col("n", "int64"), col("s", "string"))
    first, second = query(sql, *schema), query(sql, *schema)
    assert first.files("out") == second.files("out")
    table = first.table()
    assert (len(table), table["n"].iloc[-1], table["s"].iloc[-1]) == (120_000, 120_000, "r120000")
    assert first.progress[-1]["message"] == "120000 rows"


def test_no_rows_is_a_table(query):
    got = query("SELECT 1 AS n FROM DUAL WHERE FALSE", col("n", "int64"))
    assert len(got.table()) == 0
    assert list(got.table().columns) == ["n"]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELEC 1", "the query failed: You have an error in your SQL syntax"),
        ("SELECT 1 AS m", "output out: column n is missing; it has: m"),
        ("SELECT 'a' AS n", "output out: column n: wanted int64, found string"),
        ("SELECT CAST(1.5 AS DECIMAL(3, 1)) AS n", "output out: column n: wanted int64, found decimal128"),
        ("SELECT 1 AS n, 2 AS n", "output out: the query returns column n twice"),
        ("SELECT CAST(1 AS FLOAT) AS n", "found FLOAT, which the server sends with six digits"),
        ("SELECT TIME '25:00:00' AS n", "found 1 day, 1:00:00 in row 1, which is not a time of day"),
        ("SELECT 1 AS n; SELECT 2 AS n", "the query failed: You have an error in your SQL syntax"),
        (
            "CREATE TABLE n AS SELECT 1 AS n",
            "the query failed: Cannot execute statement in a READ ONLY transaction",
        ),
        ("SET @a = 1", "the query returns no rows: it must be a SELECT"),
        ("SELECT NULL AS n", "not nullable, found 1 nulls"),
    ],
)
def test_errors(lab, query, sql, says):
    assert says in query(sql, col("n", "int64"), run=lab.error)


def test_a_decimal_that_a_float_does_not_hold_is_refused(lab, query):
    exact = query("SELECT CAST('0.10' AS DECIMAL(30, 2)) AS x", col("x", "float64")).table()["x"]
    assert exact.tolist() == [0.1]
    says = query(
        "SELECT CAST('123456789012345678.91' AS DECIMAL(30, 2)) AS x", col("x", "float64"), run=lab.error
    )
    assert "found 123456789012345678.91 in row 1, which it does not hold exactly" in says


def test_a_bool_is_0_or_1(lab, query):
    got = query("SELECT 1 AS b UNION ALL SELECT 0", col("b", "bool")).table()
    assert list(got["b"]) == [True, False]
    assert "found 2 in row 2" in query("SELECT 1 AS b UNION ALL SELECT 2", col("b", "bool"), run=lab.error)


def test_a_zero_date_is_refused(lab, query, server):
    import_rows(
        server,
        "SET sql_mode = ''; CREATE TABLE zero (d DATE); "
        "INSERT INTO zero VALUES ('2024-01-01'), ('0000-00-00')",
    )
    assert "found '0000-00-00' in row 2, which is no date" in query(
        "SELECT d FROM zero ORDER BY d DESC", col("d", "date"), run=lab.error
    )


MOST, FLOATS = 2**64 - 1, ("float64", "float32")
INTEGERS = ("int64", "uint64", "uint8", "int8")
# A column of MariaDB, a value, what it becomes in each type that takes it, and what is said of another.
VALUES = [
    ("TINYINT UNSIGNED", "255",
     dict.fromkeys(("int64", "uint64", "uint8"), 255) | dict.fromkeys(FLOATS, 255.0)),
    ("BIGINT", "9007199254740993", dict.fromkeys(("int64", "uint64"), 2**53 + 1)),
    ("BIGINT UNSIGNED", str(MOST), {"uint64": MOST}),
    ("INT(5) ZEROFILL", "7", dict.fromkeys(INTEGERS, 7) | dict.fromkeys(FLOATS, 7.0)),
    ("DECIMAL(65,0)", "9" * 65, {}),
    ("DECIMAL(20,0)", str(MOST), {"uint64": MOST}),
    ("DECIMAL(65,30)", "0.1", {"float64": 0.1, "float32": 0.10000000149011612}),
    ("DECIMAL(30,20)", "0.12345678901234567890", {}),
    ("FLOAT", "0.5", {}),
    ("DOUBLE", "0.1", {"float64": 0.1}),
    ("DOUBLE", "5e-324", {"float64": 5e-324}),
    ("BIT(8)", "b'101'", {"bytes": b"\x05"}),
    ("BIT(1)", "b'1'", {"bytes": b"\x01", "bool": True}),
    ("DATE", "'0000-00-00'", {}),
    ("DATE", "'2024-00-00'", {}),
    ("DATE", "'2024-02-31'", {}),
    ("DATETIME", "'0000-00-00'", {}),
    ("TIMESTAMP", "'0000-00-00'", {}),
    ("DATETIME(6)", "'9999-12-31 23:59:59.999999'",
     {"timestamp": dt.datetime(9999, 12, 31, 23, 59, 59, 999999)}),
    ("TIME", "'838:59:59'", {}),
    ("TIME", "'-00:00:01'", {}),
    ("TIME", "'24:00:00'", {}),
    ("YEAR", "2024", dict.fromkeys(("int64", "uint64"), 2024) | dict.fromkeys(FLOATS, 2024.0)),
    ("BINARY(4)", "'ab'", {"bytes": b"ab\0\0"}),
    ("TEXT CHARACTER SET latin1", "'Zürich'", {"string": "Zürich"}),
    ("ENUM('a','b')", "'b'", {"string": "b"}),
    ("JSON", "'[1]'", {"string": "[1]"}),
    ("POINT", "POINT(1, 2)", {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "becomes"), VALUES, ids=[f"{k} {v:.30}" for k, v, _ in VALUES])
def test_every_value_is_exact_or_refused(lab, server, monkeypatch, kind, value, becomes):
    null = " NULL" if kind == "TIMESTAMP" else ""
    import_rows(
        server,
        "SET sql_mode = 'ALLOW_INVALID_DATES'; SET NAMES utf8mb4; DROP TABLE IF EXISTS one; "
        f"CREATE TABLE one (n INT, v {kind}{null}); INSERT INTO one VALUES (1, NULL), (2, {value})",
    )
    for declared in (
        *INTEGERS,
        *FLOATS,
        "bool",
        "string",
        "bytes",
        "date",
        "time",
        "timestamp",
        "timestamptz",
    ):
        monkeypatch.setenv("DSN", f"mysql://tester:{QUOTED}@127.0.0.1:{server}/shop")
        out = table_out(col("v", declared, nullable=True))
        try:
            got = lab.inside("source.mysql", params={"query": "SELECT v FROM one ORDER BY n"}, outputs=out)
        except StepError as e:
            assert declared not in becomes, e
            assert str(e).startswith("output out: column v: wanted"), declared
            continue
        found = pq.read_table(got.path("out")).column(0).to_pylist()[-1]
        assert declared in becomes, f"as {declared} it became {found}"
        assert repr(found) == repr(becomes[declared]), declared


@pytest.mark.parametrize(
    ("dsn", "says"),
    [
        ("mysql://tester:wrong-one@127.0.0.1:{port}/shop", "the user or the password is wrong"),
        ("mysql://tester:{quoted}@127.0.0.1:1/shop", "the server cannot be reached at that host and port"),
        ("mysql://tester:{quoted}@127.0.0.1:{port}/nowhere", "the user has no access to the database"),
        ("mysql://tester:{quoted}@127.0.0.1:{port}/shop?sll=true", "the DSN has an unknown option"),
        ("mysql://tester:{quoted}@127.0.0.1:{port}/shop?ssl=true", "cannot connect to MySQL"),
        ("mysql://tester:{password}@127.0.0.1:{port}/shop", ""),
        ("tester:{password}@127.0.0.1", "the DSN is malformed"),
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
    got = query(
        f"SELECT no_such_function('{PASSWORD}') AS n FROM `{PASSWORD}`", col("n", "int64"), run=lab.error
    )
    assert "the query failed" in got
    assert PASSWORD not in got


def import_rows(port: int, script: str) -> None:
    subprocess.run(
        [
            "mariadb",
            "--no-defaults",
            "-h127.0.0.1",
            f"-P{port}",
            "-utester",
            f"-p{PASSWORD}",
            "shop",
            "-e",
            script,
        ],
        check=True,
    )


def test_a_look_compares_columns_without_reading_rows(lab, server):
    sql = """
        WITH t AS (
            SELECT 1 AS a, 1 AS b, 'a' AS c, 'a' AS d, x'00' AS e, CAST('1.5' AS DECIMAL(10, 4)) AS f,
                   CAST(1 AS FLOAT) AS g, DATE '2024-02-29' AS h, DATE '2024-02-29' AS i, NULL AS j, 1 AS k
            FROM information_schema.tables
        )
        SELECT * FROM t WHERE SLEEP(600) = 0 -- all
    """
    columns = [
        col("a", "int64"), col("b", "bool"), col("c", "int64"), col("d", "string"), col("e", "bytes"),
        col("f", "float64"), col("g", "float64"), col("h", "date"), col("i", "time"), col("j", "date"),
        col("l", "int64"),
    ]  # fmt: skip
    dsn = f"mysql://tester:{QUOTED}@127.0.0.1:{server}/shop"
    got = lab.ok(
        "source.mysql", params={"query": sql, "look": True}, outputs=look_out(*columns), env={"DSN": dsn}
    )
    assert json.loads(got.path("out").read_text()) == {
        "columns": list("abcdefghijk"),
        "faults": [  # the values decide whether a number is a bool
            {
                "column": "g",
                "text": "wanted float64, found FLOAT, which the server sends with six digits: "
                "select CAST(g AS DOUBLE) AS g",
            },
            {"column": "c", "text": "wanted int64, found string"},
            {"column": "i", "text": "wanted time, found date"},
            {"column": "l", "missing": True},
            {"column": "k", "extra": True},
        ],
    }
