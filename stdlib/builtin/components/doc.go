// Package components is the code of the components that are built in. The program
// tenon-duck runs it, as "tenon-duck step".
//
// In go the document of a step and the files it names; out come the outputs of
// the step, or an error that is meant for the person who wrote the system. The
// work on tables is done by package duck/engine. A component reads and writes what
// its step names and nothing else; only source.http uses the network.
package components
