"""source.mysql: the rows of a query in MySQL or MariaDB.

Parameter: `query`, one SELECT.
Secret: `DSN`, a URI: "mysql://user:password@host:3306/database", with `?ssl=true` or `?ssl_ca=FILE` for TLS.
Output: `out`, a table.

With `look: true`, the query gives no rows, and `out` is what `Step.look` writes.

The query runs in a read-only session whose time zone is UTC. Every value is converted exactly or refused:

- DECIMAL becomes the declared float if that prints the same digits, or the declared integer if it is whole.
- A TIMESTAMP is a point in time: declare timestamptz. A DATETIME has no zone: declare timestamp.
- TINYINT and BIT(1) become a bool if they hold nothing but 0 and 1.
- A FLOAT is refused, because the server sends six digits of it. Select CAST(column AS DOUBLE).
- A zero date, or a TIME outside of one day, is refused.

Rows come in the order in which the server sends them: use ORDER BY if the same data should always give the
same bytes. The DSN is never printed.
"""

import datetime as dt
import os
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import tenon_step
from tenon_step import Column, Step, StepError

BATCH = 50_000  # rows
DAY = dt.timedelta(days=1)

# The numbers of errors that have a plain meaning, as MySQL's manual lists them.
CONNECT_ERRORS = {
    1040: "the server has no connection left",
    1044: "the user has no access to the database",
    1045: "the user or the password is wrong",
    1049: "the database does not exist",
    1130: "the server does not accept connections from this host",
    1698: "the user or the password is wrong",
    2002: "no server listens on that socket",
    2003: "the server cannot be reached at that host and port",
    2026: "the TLS handshake failed",
}


def main(step: Step) -> None:
    dsn = os.environ.pop("DSN", "")
    if not dsn:
        raise StepError("secret DSN is not set: declare it")
    query = str(step.params.get("query") or "").strip().rstrip(";")
    if not query:
        raise StepError("parameter query is not set")
    columns = step.output("out").schema
    settings = parse(dsn)

    import pymysql
    from pymysql.cursors import SSCursor

    try:
        connection = pymysql.connect(**settings, charset="utf8mb4", cursorclass=SSCursor, connect_timeout=30)
    except (pymysql.Error, OSError, RuntimeError) as e:
        raise StepError(f"cannot connect to MySQL: {connect_error(e)}") from None
    with connection, connection.cursor() as cursor:
        try:
            cursor.execute("SET SESSION time_zone = '+00:00'")
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            cursor.execute(f"SELECT * FROM (\n{query}\n) AS looked LIMIT 0" if step.looks else query)
            if cursor.description is None:
                raise StepError("the query returns no rows: it must be a SELECT")
            if step.looks:
                look(step, cursor.description, columns)
                return
            with step.writer("out", exact=True) as writer:
                convert = Converter(cursor.description, columns)
                writer.write(convert([]))
                while rows := cursor.fetchmany(BATCH):
                    writer.write(convert(rows))
                    step.progress(writer.rows, message=f"{writer.rows} rows")
        except pymysql.Error as e:
            raise StepError(f"the query failed: {query_error(e, dsn, settings)}") from None
    step.metrics(rows=writer.rows)


def parse(dsn: str) -> dict[str, Any]:
    """The arguments of pymysql.connect. Nothing of the DSN is repeated in an error."""
    malformed = StepError('the DSN is malformed: write "mysql://user:password@host:3306/database"')
    try:
        uri = urlsplit(dsn)
        port = uri.port or 3306
        options = parse_qs(uri.query, strict_parsing=bool(uri.query))
    except ValueError:
        raise malformed from None
    if uri.scheme not in ("mysql", "mariadb") or not uri.hostname or not uri.username or len(uri.path) < 2:
        raise malformed
    settings: dict[str, Any] = {
        "host": uri.hostname,
        "port": port,
        "user": unquote(uri.username),
        "password": unquote(uri.password or ""),
        "database": unquote(uri.path[1:]),
    }
    for name, values in options.items():
        if name == "ssl" and values == ["true"]:
            settings.setdefault("ssl", {"check_hostname": True, "verify_mode": "required"})
        elif name == "ssl_ca":
            settings["ssl"] = {"ca": values[-1], "check_hostname": True, "verify_mode": "required"}
        else:
            raise StepError("the DSN has an unknown option: use ssl=true or ssl_ca=FILE")
    return settings


def look(step: Step, description: Sequence[Sequence[Any]], columns: Sequence[Column]) -> None:
    """Reports the types of columns, as the values that `Converter` makes have them."""
    import pyarrow as pa
    from pymysql.constants import FIELD_TYPE as T

    numbers = {
        **dict.fromkeys((T.TINY, T.SHORT, T.LONG, T.LONGLONG, T.INT24, T.YEAR), pa.int64()),
        **dict.fromkeys((T.DECIMAL, T.NEWDECIMAL), pa.decimal128(38, 9)),
        T.DOUBLE: pa.float64(),
    }
    others = {
        **dict.fromkeys((T.DATE, T.NEWDATE), pa.date32()),
        T.DATETIME: pa.timestamp("us"),
        T.TIMESTAMP: pa.timestamp("us", tz="UTC"),
        T.TIME: pa.time64("us"),
        T.NULL: pa.null(),
    }
    declared = {c.name: c.type for c in columns}
    found: dict[str, Any] = {}
    faults = []
    for column in description:
        name, kind = column[:2]
        want = declared.get(name, "")
        try:
            Converter([column], columns)([])
        except StepError as e:
            faults.append({"column": name, "text": str(e).removeprefix(f"output out: column {name}: ")})
        if want == "bool" and kind in (*numbers, T.BIT):
            found[name] = pa.bool_()
        elif kind in numbers or kind in others:
            found[name] = {**numbers, **others}[kind]
        else:  # the server calls binary data by the same names as text
            found[name] = pa.binary() if want == "bytes" else pa.string()
    step.look("out", found, faults)


class Converter:
    """Makes columns of rows, by what the server says about each and what is declared."""

    def __init__(self, description: Sequence[Sequence[Any]], columns: Sequence[Column]) -> None:
        self.names = [d[0] for d in description]
        self.types = [d[1] for d in description]
        self.declared = {c.name: c for c in columns}
        self.rows = 0
        for name in self.names:
            if self.names.count(name) > 1:
                raise StepError(f"output out: the query returns column {name} twice: rename one with AS")

    def __call__(self, rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
        from pymysql.constants import FIELD_TYPE as T

        found: dict[str, list[Any]] = {}
        for i, (name, kind) in enumerate(zip(self.names, self.types, strict=True)):
            values = [row[i] for row in rows]
            want = self.declared[name].type if name in self.declared else ""
            self.where = f"output out: column {name}: wanted {want}"
            if kind == T.FLOAT:
                raise StepError(
                    f"{self.where}, found FLOAT, which the server sends with six digits: "
                    f"select CAST({name} AS DOUBLE) AS {name}"
                )
            if kind == T.GEOMETRY and want:
                raise StepError(
                    f"{self.where}, found a geometry in the server's own form: "
                    f"select ST_AsText({name}) AS {name}"
                )
            if kind == T.TIMESTAMP and want != "timestamptz" and want:
                raise StepError(f"{self.where}, found TIMESTAMP, a point in time: declare timestamptz")
            if kind in (T.DATE, T.NEWDATE, T.DATETIME, T.TIMESTAMP):
                self.refuse(values, str, "no date")
            if kind == T.TIMESTAMP:
                values = [v if v is None else v.replace(tzinfo=dt.UTC) for v in values]
            elif kind == T.TIME:
                values = [self.time(v, n) for n, v in enumerate(values)]
            elif want.startswith("float"):
                for n, v in enumerate(values):
                    if isinstance(v, Decimal) and Decimal(repr(float(v))) != v:
                        raise StepError(
                            f"{self.where}, found {v} in row {self.rows + n + 1}, "
                            "which it does not hold exactly: "
                            f"select CAST({name} AS CHAR) or CAST({name} AS DOUBLE)"
                        )
            elif want == "bool":
                values = [self.bool(v, n) for n, v in enumerate(values)]
            found[name] = values
        self.rows += len(rows)
        return found

    def refuse(self, values: Sequence[Any], kind: type, why: str) -> None:
        for n, v in enumerate(values):
            if isinstance(v, kind):
                raise StepError(f"{self.where}, found {v!r} in row {self.rows + n + 1}, which is {why}")

    def time(self, value: Any, n: int) -> dt.time | None:
        if value is None:
            return None
        if not isinstance(value, dt.timedelta) or not dt.timedelta(0) <= value < DAY:
            raise StepError(
                f"{self.where}, found {value} in row {self.rows + n + 1}, which is not a time of day"
            )
        return (dt.datetime.min + value).time()

    def bool(self, value: Any, n: int) -> bool | None:
        if isinstance(value, bytes):
            value = int.from_bytes(value, "big")
        if value is None or value in (0, 1):
            return None if value is None else bool(value)
        raise StepError(f"{self.where}, found {value} in row {self.rows + n + 1}")


def connect_error(e: Exception) -> str:
    number = e.args[0] if e.args and isinstance(e.args[0], int) else 0
    if number == 2003 and "certificate" in str(e).lower():
        number = 2026
    return CONNECT_ERRORS.get(number, "the server or the DSN refuses it")


def query_error(e: Exception, dsn: str, settings: dict[str, Any]) -> str:
    """What the server says, without anything secret."""
    text = str(e.args[-1]) if e.args else type(e).__name__
    for secret in sorted({dsn, settings["password"]} - {""}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return " ".join(text.split())


if __name__ == "__main__":
    tenon_step.run(main)
