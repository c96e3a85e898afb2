// Package kubernetes makes the objects that a cluster gets for a unit: pure
// functions of the task and of what the target says. One pod runs one unit; package
// pod says what passes between it and tenon.
package kubernetes
