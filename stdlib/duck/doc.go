// Package duck defines the questions that Tenon asks DuckDB, and their answers.
//
// It consists of types: schemas, tables, sources and queries for questions; columns, rows,
// violations and errors for answers. [Engine] lists the questions. Package
// duck/engine answers them with DuckDB linked in; package duck/worker has a
// process of its own answer them, so that tenon itself does not link DuckDB.
package duck
