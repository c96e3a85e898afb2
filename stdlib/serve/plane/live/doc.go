// Package live checks a fraction of the requests of a service while it runs: it computes them
// again as training does, and reports every difference.
//
// A sample is a copy of a request and its answer, in a [requestlog.Log] of its own, so that a
// request never waits for a check: the queue is bounded, and what does not fit is lost and counted.
// When a file of samples is complete, another process computes its rows, as tenon replay does: the
// queries in DuckDB, and the model in Python. The process has the lowest priority, is the first
// that the kernel kills if memory runs out, and has nine times the time that it took to rest. If it
// fails, its samples are lost, and counted too.
//
// Samples have private columns, without which features cannot be computed. Their files are in the
// folder for temporary files of the service until they were checked. What is said and kept of a
// difference does not show the values of private columns.
package live
