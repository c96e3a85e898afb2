// Package version is which Tenon this is.
package version

// Version is that of all programs of Tenon. The linker sets it for a release.
var Version = "0.1.0-dev"
