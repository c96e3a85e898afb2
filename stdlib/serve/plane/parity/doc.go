// Package parity proves that a service computes for each row of training what training has
// computed.
//
// In: a step with the model, the table "features" that it was trained on, the table "source"
// of whose rows a caller sends one, the tables that are looked up, and the parameter "request"
// (a features.Spec). Every row of the source becomes JSON as a caller sends it, is decoded and
// computed as for a request, and is compared with the row of "features" with the same keys, bit
// by bit. If the table has no keys, or the service does not compute them, equal rows have to
// occur equally often. Then the model predicts, and the prediction is compared with that of
// Python for the row of "features", bit by bit as well. All NaN are the same value.
//
// Out: a report. The step fails if there is a difference, and shows the first ones. These are
// no differences, and are counted: rows that training left out by conditions on columns that a
// caller does not have; rows with a value that no request can contain, such as infinity, which
// are computed without JSON; rows for which a lookup has only a row that is older than its
// max_age, which a service refuses.
//
// Memory is bounded by the tables that are looked up and by "features" in the form of
// rowsql.Columns. The source and Python's predictions are read in parts.
package parity
