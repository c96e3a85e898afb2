// Package stdlib is the standard library: the CUE module tenon.dev and the
// code of the components behind its definitions, all embedded in the binary.
//
// Its folders are cue/ (what users import), python/ (components in Python and
// their locked environments), builtin/ (components that tenon runs itself, on
// DuckDB by way of duck/) and step/ (the contract between tenon and any
// component). This package only lists and embeds; it runs nothing.
package stdlib

import (
	"embed"
	"io/fs"
)

// Module is the path of the CUE module, and Version the one version this
// binary carries.
const (
	Module  = "tenon.dev@v0"
	Version = "v0.1.0"
)

//go:embed all:cue
var cueFiles embed.FS

// CUE returns the files of the CUE module, cue.mod at its root.
func CUE() fs.FS {
	sub, err := fs.Sub(cueFiles, "cue")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}
