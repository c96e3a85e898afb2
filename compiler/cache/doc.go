// Package cache keeps compiled systems, so that a system with unchanged files need not be
// compiled again. An entry has a result and what its compilation has read. It is valid
// as long as a compilation would read the same.
//
// A cache is disposable: what cannot be used is dropped, and what cannot be written is
// left out. Both are reported, and neither is an error. Faults are not cached.
package cache
