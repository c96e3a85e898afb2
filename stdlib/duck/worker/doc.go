// Package worker runs DuckDB in a process of its own, the program tenon-duck.
//
// [Client] is a [duck.Engine] that starts the program when it is first needed,
// and [Serve] is what the program does. They exchange JSON, one message a line,
// over the program's standard input and output:
//
//	program: {"protocol":1,"version":"0.1.0 (code 06d2...)"}    once, before anything else
//	client:  {"id":7,"call":"describe","args":{...}}
//	program: {"id":7,"result":{...}}                           in any order
//	program: {"id":7,"error":{"message":"...","sql":{...}}}
//	client:  {"id":7}                                          the answer is not wanted any more
//
// The program ends when its input ends, so it never outlives tenon. A program of another
// version, or with other code of components, is refused.
package worker
