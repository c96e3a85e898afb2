// Package artifact keeps what units produced, named by its content.
//
// A finished file or folder goes in, and a digest comes out. Everything in the store is
// complete, read-only and immutable: one rename moves it into place, after its content
// has been digested and is on disk. Putting the same content in again changes nothing, so
// a killed run may be repeated.
//
// The store knows nothing about units or the rows of tables, and does not decide which
// artifacts are still needed. It never removes an artifact by itself.
package artifact
