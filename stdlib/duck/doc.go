// Package duck says what Tenon asks of DuckDB, and in which terms it answers.
//
// It is types only: schemas, tables, sources and queries go in; columns, rows,
// violations and errors come out. [Engine] lists the questions. Package
// duck/engine answers them with DuckDB linked in; package duck/worker has a
// process of its own answer them, so that tenon itself does not link DuckDB.
package duck
