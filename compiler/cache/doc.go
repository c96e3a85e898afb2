// Package cache keeps compiled systems, so that a system with unchanged files need not be
// compiled again. What a compilation read goes in together with its result; later the
// same result comes out, if a compilation would read the same again.
//
// A cache is disposable: what cannot be used is dropped, and what cannot be written is
// left out. Both are reported, and neither is an error. Faults are not cached.
package cache
