// Package cache keeps compiled systems, so that one whose files are the same
// need not be compiled again. In goes what a compilation has read and what came
// out; later the same result comes back, if it would read the same again.
//
// A cache is disposable: what cannot be used is dropped, and what cannot be
// written is left out; both are told, and neither is an error. Faults are not
// kept.
package cache
