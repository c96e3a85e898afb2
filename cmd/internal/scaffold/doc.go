// Package scaffold writes the beginning of a component: a definition, its code, the lock of
// its environment, and an example with cases, so that it compiles and passes package
// componenttest as it is.
//
// In goes a [Request], out come the files that were written. Nothing is overwritten.
package scaffold
