// Package scaffold writes a new component: a definition, its code, the lock of its
// environment, and an example with cases. It compiles and passes package componenttest as
// it is.
//
// A [Request] goes in, the list of written files comes out. Nothing is overwritten.
package scaffold
