// Package artifact keeps what units produced, named by its content.
//
// A finished file or folder goes in, and a digest comes out. What is in the
// store is complete, read-only and never changes: it is moved to its place by
// one rename, after its content has been digested and is on the disk. Putting
// the same content in again changes nothing, so a killed run may be repeated.
//
// The store does not know what units are, what a table's rows are, or which
// artifacts are still wanted. It removes nothing that it took in.
package artifact
