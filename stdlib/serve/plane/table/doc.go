// Package table reads tables, which are Parquet files that Tenon has verified, into typed
// values without DuckDB.
//
// In: a file as DuckDB or pyarrow writes it for a step, and the columns that are wanted. Out:
// batches of rows. A value is exactly what DuckDB reads. A file with another type than the
// declared one is refused, as is a null where the column has none, and text that is no UTF-8.
//
// Memory is bounded by the batch and by one page of each column, however long the file is. A
// damaged file is an error.
package table
