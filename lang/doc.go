// Package lang reads the CUE of a system. In goes a folder; out comes its
// evaluated value with the sources and positions that faults need, or the
// faults themselves in words that a user of Tenon understands.
//
// It serves the embedded standard library as the module tenon.dev@v0, also to
// the stock cue command ([Seed]), and knows nothing of what a system means:
// that is the compiler's.
package lang
