"""source.postgres: the rows of a query.

Parameters: `query`, one SELECT; `batch`, a hint for the size of a batch in bytes (default 16 MiB).
Secret: `DSN`, a connection URI ("postgresql://user:password@host/database") or libpq's key=value form.
Output: `out`, a table.

With `look: true`, the server only describes the result, and `out` is what `Step.look` writes.

The query runs in a read-only transaction. NUMERIC becomes the declared float or integer, or is refused if the
float prints other digits. What has no exact counterpart is refused, with what to select instead: infinite
dates, money and other types whose form is PostgreSQL's own. Rows come in the order that the server
gives them: say ORDER BY if the same data should always make the same bytes. The DSN is never printed, and
what libpq says about a failed connection is not either, since it may quote parts of the DSN.
"""

import os
import re
from decimal import Decimal
from urllib.parse import unquote

import tenon_step
from tenon_step import Column, Step, StepError

# What libpq and the server say, and what we say instead.
CONNECT_ERRORS = {
    r"password authentication failed|no password supplied": "the user or the password is wrong",
    r"no pg_hba\.conf entry": "the server does not accept this user from this host (pg_hba.conf)",
    r'database ".*" does not exist': "the database does not exist",
    r'role ".*" does not exist': "the user does not exist",
    r"could not translate host name|name or service not known": "unknown host",
    r"connection refused": "the connection was refused: is the server running at that host and port?",
    r"no such file or directory": "no server listens on that socket",
    r"timeout|timed out": "the server did not answer in time",
    r"too many (clients|connections)": "the server has no connection left",
    r"ssl|certificate": "the TLS handshake failed",
    r"missing \"=\"|invalid (uri|port|connection option|integer|percent)": "the DSN is malformed",
}


def main(step: Step) -> None:
    dsn = os.environ.pop("DSN", "")
    if not dsn:
        raise StepError("secret DSN is not set: declare it")
    query = str(step.params.get("query") or "").strip().rstrip(";")
    if not query:
        raise StepError("parameter query is not set")

    from adbc_driver_manager import Error
    from adbc_driver_postgresql import StatementOptions, dbapi
    from pyarrow import ArrowException

    try:
        connection = dbapi.connect(dsn)
    except Error as e:
        raise StepError(f"cannot connect to Postgres: {connect_error(str(e))}") from None
    columns = step.output("out").schema
    with connection, connection.cursor() as cursor:
        try:
            cursor.execute("SET TRANSACTION READ ONLY")
            if step.looks:  # the server describes the result of a prepared statement
                step.look("out", *types(cursor.adbc_execute_schema(query), columns))
                return
            hint = str(step.params.get("batch") or 16 << 20)
            cursor.adbc_statement.set_options(**{StatementOptions.BATCH_SIZE_HINT_BYTES.value: hint})
            cursor.execute(query)
            reader = cursor.fetch_record_batch()
            with step.writer("out", exact=True) as writer:
                writer.write(converted(reader.schema.empty_table(), columns, 0))
                for batch in reader:
                    writer.write(converted(batch, columns, writer.rows))
                    step.progress(writer.rows, message=f"{writer.rows} rows")
        except (Error, OSError, ArrowException) as e:
            raise StepError(f"the query failed: {query_error(str(e), dsn)}") from None
    step.metrics(rows=writer.rows)


# The types of PostgreSQL that the driver gives in a form of its own, and what to select instead.
OTHERS = {"money": "numeric", "oid": "int8"}

# The first day that PostgreSQL has, in 4714 BC. What the driver gives before it is infinity, or a time after
# the year 294246, which it moves past the end of an integer.
FIRST_DAY = -2_440_588
DAY = 86_400_000_000  # microseconds


def converted(batch, columns: tuple[Column, ...], before: int) -> dict:
    """The columns of a batch as values of a table; `before` rows came earlier."""
    import pyarrow as pa

    declared = {c.name: c for c in columns}
    found = {}
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        if name in found:
            raise StepError(f"output out: the query returns column {name} twice: rename one with AS")
        found[name] = values
        if (column := declared.get(name)) is None:
            continue
        where = f"output out: column {name}: wanted {column.type}"
        metadata = batch.schema.field(name).metadata or {}
        kind = metadata.get(b"POSTGRESQL:type", b"").decode()
        opaque = (
            isinstance(values.type, pa.BaseExtensionType) and values.type.extension_name == "arrow.opaque"
        )
        if kind == "numeric":
            found[name] = number(values.cast(pa.string()), column, where, before)
        elif kind in OTHERS or opaque:
            shown = "a type of its own, such as an enum" if kind.startswith("unnamed") else kind
            cast = OTHERS.get(kind, "text")
            raise StepError(f"{where}, found {shown}: select CAST({name} AS {cast}) AS {name}")
        elif pa.types.is_date(values.type) or pa.types.is_timestamp(values.type):
            check_times(values, where, before)
    return found


def number(values, column: Column, where: str, before: int):
    """NUMERIC, which the driver gives as text, as the declared type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def refuse(bad, says: str) -> None:
        if pc.any(bad).as_py():
            row = pc.index(bad, True).as_py()
            raise StepError(
                f"{where}, found numeric {values[row].as_py()[:100]} in row {before + row + 1}, {says}"
            )

    # NaN is null, here as everywhere, unless it is a value.
    if not column.nan:
        values = pc.if_else(pc.equal(values, "nan"), pa.scalar(None, pa.string()), values)
    if column.type.startswith("float"):
        return floats(values, column, where, before)
    if not column.type.startswith(("int", "uint")):
        return values
    whole = pc.replace_substring_regex(values, r"\.0*$", "")
    refuse(pc.invert(pc.match_substring_regex(whole, r"^-?[0-9]+$")), "which is no whole number")
    limits = pa.int64() if column.type.startswith("int") else pa.uint64()
    try:
        return whole.cast(limits)
    except pa.ArrowInvalid:
        refuse(
            pa.array([v is not None and not fits(v, limits) for v in whole.to_pylist()]), "which does not fit"
        )
        raise


def fits(text: str, limits) -> bool:
    import pyarrow as pa

    low, high = (-(2**63), 2**63) if limits == pa.int64() else (0, 2**64)
    return len(text) < 21 and low <= int(text) < high


def floats(values, column: Column, where: str, before: int):
    """Text as floats that print the same digits."""
    import numpy as np
    import pyarrow as pa

    found = values.cast(pa.float64())
    digits, kind = (6, np.float32) if column.type == "float32" else (15, np.float64)
    for row, text in enumerate(values.to_pylist()):
        # So many digits of any number stay the same.
        if text is None or len(text) <= digits:
            continue
        if Decimal(text) != Decimal(np.format_float_scientific(kind(found[row].as_py()))):
            raise StepError(
                f"{where}, found numeric {text[:100]} in row {before + row + 1}, "
                "which it does not hold exactly: "
                f"select CAST({column.name} AS text) or CAST({column.name} AS float8)"
            )
    return found.cast(pa.float32()) if column.type == "float32" else found


def check_times(values, where: str, before: int) -> None:
    """StepError for a date or timestamp that PostgreSQL has, and Arrow has not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    days = pa.types.is_date(values.type)
    first = FIRST_DAY if days else FIRST_DAY * DAY
    numbers = values.cast(pa.int32() if days else pa.int64())
    bad = pc.less(numbers, first)
    if pc.any(bad).as_py():
        row = pc.index(bad, True).as_py()
        raise StepError(
            f"{where}, found infinity, or a time after the year 294246, in row {before + row + 1}: "
            "select null, or a far date such as 9999-12-31"
        )


def types(schema, columns: tuple[Column, ...]) -> tuple[dict, list[dict]]:
    """The types of columns, as `converted` makes them, and the faults of those that it refuses."""
    import pyarrow as pa

    found, faults = {}, []
    empty = schema.empty_table()
    for i, name in enumerate(schema.names):
        found[name] = pa.null()
        try:
            values = converted(empty.select([i]), columns, 0)[name]
            found[name] = values.type
            if isinstance(values.type, pa.BaseExtensionType):  # JSON and UUIDs become text
                found[name] = pa.string()
        except StepError as e:
            faults.append({"column": name, "text": str(e).removeprefix(f"output out: column {name}: ")})
    return found, faults


def connect_error(text: str) -> str:
    for pattern, meaning in CONNECT_ERRORS.items():
        if re.search(pattern, text, re.IGNORECASE):
            return meaning
    return "the server or the DSN refuses it"


def query_error(text: str, dsn: str) -> str:
    """What the server says, without the driver's frame around it and without anything secret."""
    if found := re.search(r"(ERROR|FATAL):\s*(.*)", text, re.DOTALL):
        text = found.group(2)
    text = re.sub(r"\s*LINE \d+:.*?\^\s*", " ", text, flags=re.DOTALL)
    text = re.sub(r"\s*(Query|Query was|Original query):.*", "", text, flags=re.DOTALL)
    for secret in secrets(dsn):
        text = text.replace(secret, "***")
    return " ".join(text.split())


def secrets(dsn: str) -> list[str]:
    """The DSN and the passwords in it, longest first."""
    found = {dsn}
    for pattern in (r"://[^:/@]*:([^/]*)@", r"[?&]password=([^&]*)", r"password\s*=\s*'((?:[^'\\]|\\.)*)'"):
        found.update(m for m in re.findall(pattern, dsn))
    found.update(re.findall(r"password\s*=\s*([^'\s&]+)", dsn))
    found.update({unquote(s) for s in found})
    return sorted((s for s in found if s), key=len, reverse=True)


if __name__ == "__main__":
    tenon_step.run(main)
