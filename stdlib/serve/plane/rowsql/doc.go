// Package rowsql computes the result of a DuckDB query for one row at a time, without
// DuckDB.
//
// In: the plan to which DuckDB binds a query (engine.Checker.Bind), in which every type
// and every implicit cast is explicit, and the schemas and keys of its inputs. [Compile]
// turns it into a [Plan], plain data that is stored as JSON. [Plan.Serve] leaves out what
// needs columns that the caller does not have. [Load] turns a plan into closures.
// [Program.Rows] indexes the rows of a lookup table, and [Program.Run] computes one output
// row from one row of the request.
//
// The result of a row equals DuckDB's bit by bit, or it is refused: a query with a
// [*Refusal], which has the byte in the query, and a row of values for which DuckDB's
// result is wrong or depends on other rows with an [*Error] that is Refused. All functions
// are in one table, [functions], and all casts in conversion; [Reference] lists both.
// Tests compare every entry with DuckDB on random and extreme values.
//
// Errors: a row fails where DuckDB fails if it computes the query as it is written.
// DuckDB's optimizer may leave out an error, such as that of x in (x OR true), or compute
// what a CASE does not need. In WHERE and WHEN, conditions are computed from left to right
// until one decides.
//
// The package reads no files and parses no requests. It does not apply the rules of
// schemas either. A caller applies [Stored] to what goes into a query and comes out of it,
// as a step of Tenon does where a query reads or writes a table.
package rowsql
