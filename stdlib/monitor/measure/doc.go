// Package measure measures what monitors watch: how far rows are from those of a reference,
// how good predictions are once their labels have arrived, and how good they probably are
// before that.
//
// DuckDB scans and groups the rows; this package holds the formulas. It imports no driver: callers
// pass a database. docs/measurements.md has the rules for users.
//
// A number is either right or missing. What cannot be computed has no value, the verdict
// [Unknown] and a reason. NULL, NaN and infinities are no values of a number: they are left out
// of its distribution and are reported as shares.
package measure
