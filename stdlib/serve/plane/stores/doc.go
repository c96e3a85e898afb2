// Package stores keeps the rows of lookups in Redis or PostgreSQL, instead of in the memory of
// each service.
//
// A version of a table is named by what its entries are made of: the encoding, the part of the
// plan that makes the rows, and the digest of the artifact. So a version never changes, services
// of an old and a new table read their own, and two deployments with the same lookup share one.
// [Table.Use] says that a version is in use. One that nobody has used for a while is removed:
// by Redis itself, which has a time to live for it, or when the next one is written to
// PostgreSQL.
//
// In Redis, a version is a key PREFIX:VERSION that says how many buckets there are, written
// last, and a key PREFIX:VERSION:N for each. A bucket is a hash of rows by their keys, or, for
// ASOF, a sorted set of keys with their rows behind them, all with the score 0, so that they have the
// order of their bytes. Each bucket has an empty member as well: a bucket without it was lost,
// and is not mistaken for one without the row.
//
// In PostgreSQL, a version is a table SCHEMA.t_VERSION (k bytea PRIMARY KEY, r bytea), and a
// row of SCHEMA.versions. It appears in one transaction.
//
// Entries are those of package rowsql, which describes their bytes.
package stores
