// Package compiler turns the evaluated CUE of a system into the intermediate
// representation, or into a list of everything that is wrong with it.
//
// A [lang.System] goes in; an [ir.System] comes out, with the blobs that it names: the
// code of its units and the locks of their Python environments. The package checks what
// CUE cannot: cycles, identities, SQL against the columns it reads, labels and keys,
// resources against pools. It runs nothing, reads only the files that the system names,
// and uses the network only through [Options.Lock].
//
// compile.go has the entry point and the order of the passes: decode.go and
// resolve.go read entities and find their components (component.go), check_*.go
// check them, and lower.go makes units, with code.go for what they run.
package compiler
