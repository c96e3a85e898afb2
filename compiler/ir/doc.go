// Package ir is the intermediate representation of a system: what the compiler makes, the
// planner compares with the state, and executors run.
//
// Everything here is plain data. A [System] prints as JSON, with the same bytes for the
// same input on every machine, and carries its version in the field "ir". The package
// imports no other package of Tenon and does no input or output.
package ir
