// Package lineage says from which columns each column of a system comes, and how.
//
// [Of] is its entry point. It takes a compiled system and types its queries again, so that
// it works for a recorded system whose sources are gone as well. [Lineage.Trace] follows a
// column to what it comes from, or to what depends on it. [Changed] returns which columns two
// forms of a query compute differently.
//
// Each query is analysed on its own, by package facts; a path consists of what the queries
// say one after the other. What a program makes of tables is not known: each of its columns
// may come from every column that it reads.
package lineage
