// Package engine does everything that Tenon does with DuckDB.
//
// The inputs are SQL text, files (CSV, JSON lines, Parquet) and declared schemas.
// The results are the columns of a query, Parquet files, and the faults of a table:
//
//   - [Checker] types a query against declared schemas, without data, and
//     evaluates it over rows that are written down;
//   - [Verify] compares a Parquet file with its schema;
//   - [Ingest] turns source files into one Parquet file of a declared schema;
//   - [Query] and [Split] turn Parquet files into Parquet files;
//   - [Infer], [Preview] and [Nulls] show a person what is in a file.
//
// The output has the same bytes for the same input, on any number of threads, see
// [repeatable]. Every database is in memory, its time zone is UTC, and it loads no
// extension. A query of the user reads the inputs it is given and nothing else; it is one
// SELECT, never a statement that changes something.
//
// The package knows nothing of units, plans or steps, keeps no data between
// calls, and prints nothing. It does not resolve globs and does not use the
// network.
package engine
