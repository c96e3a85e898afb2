// Package worker asks a model in Python, which runs in processes of its own.
//
// In: a folder with the model, the columns of a row, and rows to predict. Out: the numbers of
// each row, or why it has none. A [Pool] starts the processes, each with
// serve/http/tenon_worker.py, and talks to each over a socket that it inherits. Rows go to
// Python as record batches of Arrow, in the types that a service in Python makes of a request.
//
// A process is asked for one batch at a time, so a model need not be safe for concurrent use.
// A process that dies is started again, and what it was asked for is asked once more. One that
// takes too long is killed. All end with this program, however it ends.
//
// A pool of [Rows] asks a function of the user's for columns of rows instead, with
// serve/http/tenon_row_worker.py, in the same way.
//
// A process loads pickles, which may do anything. So it gets a private copy of the model, whose
// bytes have been compared with the digest that Tenon has recorded, see [Copy].
package worker
