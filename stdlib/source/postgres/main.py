"""source.postgres: the rows of a query.

Parameters: `query`, one SELECT; `batch`, a hint for the size of a batch in bytes (default 16 MiB).
Secret: `DSN`, a connection URI ("postgresql://user:password@host/database") or libpq's key=value form.
Output: `out`, a table.

With `look: true`, the server only describes the result, and `out` is what `Step.look` writes.

The query runs in a read-only transaction. NUMERIC becomes the declared float or integer, or is refused if the
float prints other digits. Rows come in the order that the server gives them: say ORDER BY if the same data
should always make the same bytes. The DSN is never printed, and what libpq says about a failed connection is
not either, since it may quote parts of the DSN.
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

    try:
        connection = dbapi.connect(dsn)
    except Error as e:
        raise StepError(f"cannot connect to Postgres: {connect_error(str(e))}") from None
    columns = step.output("out").schema
    with connection, connection.cursor() as cursor:
        try:
            cursor.execute("SET TRANSACTION READ ONLY")
            if step.looks:  # the server describes the result of a prepared statement
                step.look("out", types(cursor.adbc_execute_schema(query), columns))
                return
            hint = str(step.params.get("batch") or 16 << 20)
            cursor.adbc_statement.set_options(**{StatementOptions.BATCH_SIZE_HINT_BYTES.value: hint})
            cursor.execute(query)
            reader = cursor.fetch_record_batch()
            with step.writer("out") as writer:
                writer.write(numbers(reader.schema.empty_table(), columns))
                for batch in reader:
                    writer.write(numbers(batch, columns))
                    step.progress(writer.rows, message=f"{writer.rows} rows")
        except (Error, OSError) as e:
            raise StepError(f"the query failed: {query_error(str(e), dsn)}") from None
    step.metrics(rows=writer.rows)


def numbers(batch, columns: tuple[Column, ...]) -> dict:
    """The columns of a batch; NUMERIC, which the driver gives as text, becomes the declared number."""
    import pyarrow as pa

    declared = {c.name: c for c in columns}
    found = {}
    for field, values in zip(batch.schema, batch.columns, strict=True):
        column = declared.get(field.name)
        typname = (field.metadata or {}).get(b"ADBC:postgresql:typname", b"")
        if isinstance(field.type, pa.BaseExtensionType):
            typname = getattr(field.type, "type_name", typname.decode()).encode()
            values = values.cast(field.type.storage_type)
        if typname == b"numeric" and column and re.match(r"u?int|float", column.type):
            try:
                # By way of decimals, so that large integers stay exact.
                if column.type.startswith("float"):
                    values = floats(values, column)
                else:
                    values = values.cast(pa.decimal128(38, 9))
            except pa.ArrowInvalid as e:
                raise StepError(
                    f"output out: column {field.name}: wanted {column.type}, found numeric: {e}"
                ) from None
        found[field.name] = values
    return found


def types(schema, columns: tuple[Column, ...]) -> dict:
    """The types of columns, as `numbers` makes them."""
    import pyarrow as pa

    empty = numbers(schema.empty_table(), columns)
    return {
        name: v.type.storage_type if isinstance(v.type, pa.BaseExtensionType) else v.type
        for name, v in empty.items()
    }


def floats(values, column: Column):
    """NUMERIC, as text, as floats that print the same digits."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = values.cast(pa.float64())
    # A float64 keeps fifteen digits of any number.
    long = pc.fill_null(pc.greater(pc.binary_length(values), 15), False)
    for text, number in zip(values.filter(long), found.filter(long), strict=True):
        if Decimal(text.as_py()) != Decimal(repr(number.as_py())):
            raise StepError(
                f"output out: column {column.name}: wanted {column.type}, found numeric {text}, "
                "which it does not hold exactly: "
                f"select CAST({column.name} AS text) or CAST({column.name} AS float8)"
            )
    return found


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
