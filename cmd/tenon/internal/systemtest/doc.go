// Package systemtest runs the tests that a user keeps beside a system.
//
// A test is a txtar archive in the folder tests: directives at its head, and
// sections that are inputs or goldens. The input is a system's folder and how to
// compile it. The output is, for each test, what is not as expected, and the archive
// with the current results instead. docs/testing.md is for users.
//
// The package runs no unit itself: a plan is made from a simulated state, the SQL
// of a feature runs over the rows of the test, and the caller runs a feature in
// Python. Edits are made in a temporary copy of the system. The package writes
// nothing into the system's folder; the caller may write the archives in [Result].
package systemtest
