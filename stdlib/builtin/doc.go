// Package builtin is what the components in Go share: how they read their
// parameters, ports and limits, and report progress.
//
// The input is a [step.Step], the result the files it asks for. The components
// themselves are in the folders of the library; package all lists them.
package builtin
