// Package features computes the row of a model from the row of a request, as the queries of the
// features did for training.
//
// In: the parameter "request" of a service (a [Spec]) with plans that rowsql compiled, and the
// tables that they look up, which are inputs of its step. [Load] reads the tables, and
// [Features.NewRow] returns what computes rows for one goroutine. Plans run one after another:
// each reads what the one before has computed. Wherever Tenon stores a table in training,
// between two plans and at both ends, values are changed as storing them does, see
// rowsql.Store.
//
// Tables stay as they were loaded: if the unit of one runs again, the service is another
// version, which takes over.
//
// max_age is a limit for ASOF lookups. Training had no such limit, so a row that is too old is
// not taken for missing: that would be a row of features that training has never seen. The
// request is refused with a [*TooOldError], which is a 422.
package features
