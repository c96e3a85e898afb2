// Package componenttest is the conformance suite of components: what every component has
// to do, whatever it is for.
//
// In goes the folder of a component. Its definition says what the component is, and the
// folder example beside it holds what the suite needs besides:
//
//	example/system.cue    a small system that uses the component, with its data
//	example/cases/*.txtar what the example is changed to, and what has to come of it
//	example/server        a program that starts what the component talks to, if anything
//
// Out comes a [Result] with one [Check] for each rule. The suite applies the example with
// the engine that applies any system, on local processes, in folders that it removes. It
// knows no component by name. An executor that stands between the engine and the real one
// notes how each program ran and changes what it is given.
//
// # Cases
//
// The comment of a case says what it shows. Its files replace those of the example. The
// file "want" says, a line each, what has to come of it:
//
//	refused TEXT   it does not compile, or the component ends with 1, or the engine refuses
//	               what it has written; the errors, or the last line, contain TEXT
//	rows N         each table that it writes has N rows
//	runs on        it runs until it is ended: cancellation is tried here
//
// For a service, the file "request" is sent to it: a line such as "POST /predict", then the
// body. Each line of "response" is the status or a part of the answer.
//
// # Servers
//
// The server prints "tag NAME=VALUE" for a tag of the example, "env NAME=VALUE" for a
// variable that secrets come from, "secret VALUE" for what must not be printed, and at
// last "ready". SIGTERM ends it, and so does the end of its standard input.
package componenttest
