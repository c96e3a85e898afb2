// Package componenttest is the conformance suite of components: what every component must
// do, whatever it is for.
//
// The folder of a component goes in. Its definition says what the component is, and the
// folder example beside it has everything else that the suite needs:
//
//	example/system.cue    a small system that uses the component, with its data
//	example/cases/*.txtar modifications of the example, and their expected outcomes
//	example/server        a program that starts what the component talks to, if anything
//
// A [Result] comes out, with one [Check] for each rule. The suite applies the example
// with the engine that applies any system, on local processes, in folders that it
// removes. It has no special cases for components. An executor between the engine and the
// real one notes how each program ran and changes its input.
//
// A run that is canceled ends what it has started. The next run of the same user ends what
// is left of one that was killed: its folder is in the temporary folder of the system, and
// nobody holds its lock.
//
// # Cases
//
// The comment of a case says what it tests. Its files replace those of the example. The
// file "want" contains the expected outcome, one item per line:
//
//	refused TEXT   it does not compile, or the component exits with 1, or the engine rejects
//	               what it wrote; the errors, or the last line, contain TEXT
//	rows N         each table that it writes has N rows
//	runs on        it runs until it is stopped; used to test cancellation
//
// For a service, the file "request" is sent to it: a line such as "POST /predict", then
// the body. Each line of "response" is the status or a part of the response.
//
// # Servers
//
// The server prints "tag NAME=VALUE" for a tag of the example, "env NAME=VALUE" for a
// variable that provides a secret, "secret VALUE" for what must not be printed, and
// finally "ready". It ends on SIGTERM or at the end of its standard input.
package componenttest
