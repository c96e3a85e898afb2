// Package facts says what the columns of a query are made of: from which columns of which
// tables each value comes, from which row, and how; and which sets of columns are unique.
//
// [Query] is its entry point. It takes DuckDB's parse tree of a query and the facts of the
// tables that the query reads, and returns the facts of its result. What it does not
// understand is unknown, and the unknown refuses nothing. The files decode*.go read DuckDB's
// tree into a small tree of our own, because its shape differs between versions of DuckDB.
package facts
