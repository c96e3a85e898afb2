// Package systemtest runs the tests that a user keeps beside a system.
//
// A test is a txtar archive in the folder tests: directives at its head, and
// sections that are inputs or goldens. In go a system's folder and how to
// compile it; out come, for each test, what is not as expected, and the archive
// as it would be if what happens now were right. docs/testing.md is for users.
//
// The package runs no unit itself: a plan is made against a supposed state, the SQL
// of a feature runs over the rows of the test, and whoever calls runs a feature in
// Python. Edits are made in a temporary
// copy of the system. Nothing is written beside it; whoever calls may write the
// archives in [Result].
package systemtest
