// Package lang reads the CUE of a system. A folder goes in; its evaluated value comes
// out, with the sources and positions that faults need, or the faults themselves in words
// that a user of Tenon understands.
//
// It serves the embedded standard library as the module tenon.dev@v0, also to the stock
// cue command ([Seed]). It does not interpret the system: the compiler does.
package lang
