// Package stdlib is the standard library: the CUE module tenon.dev and the code
// of the components behind its definitions, all embedded in the binary.
//
// A component is one folder, PACKAGE/NAME: the definition, the code, the lock of
// its environment and its tests. Folders below lib/ hold what Python components
// share; duck/, builtin/ and step/ what those in Go share. This package only
// embeds and finds files; it runs nothing.
package stdlib

import (
	"archive/zip"
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"
)

// Module is the path of the CUE module, and Version the one version this
// binary carries.
const (
	Module  = "tenon.dev@v0"
	Version = "v0.1.0"
)

// PythonVersion is the version of the interpreter that all environments are
// locked for.
const PythonVersion = "3.11"

// Large files of tests are in folders _testdata: go:embed leaves out names that begin with "_". Of serve/plane,
// which is the program of tenon-serve, components import only requests.
//
//go:embed builtin col cue.mod duck evaluate feature lib loop monitor serve/*.cue serve/batch serve/http serve/plane/requests slo source split step tenon train tune
var files embed.FS

// Files returns the tree of the library as it is in the repository.
func Files() fs.FS { return files }

// CUE returns the files of the CUE module, cue.mod at its root. The definition
// of a component is in the folder of its package there: PACKAGE/NAME/NAME.cue
// is PACKAGE/NAME.cue.
func CUE() fs.FS { return module() }

var module = sync.OnceValue(func() fs.FS {
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	err := fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		name, ok := modulePath(p)
		if err != nil || d.IsDir() || !ok {
			return err
		}
		b, err := files.ReadFile(p)
		if err != nil {
			return err
		}
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = f.Write(b)
		}
		return err
	})
	if err == nil {
		err = w.Close()
	}
	r, openErr := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	if err != nil || openErr != nil {
		panic(fmt.Sprintf("stdlib: the embedded module cannot be read: %v, %v", err, openErr))
	}
	return r
})

// modulePath is where a file of the library is in the CUE module.
func modulePath(p string) (string, bool) {
	parts := strings.Split(p, "/")
	switch {
	case p == "cue.mod/module.cue":
		return p, true
	case path.Ext(p) != ".cue":
		return "", false
	case len(parts) == 2:
		return p, true
	case len(parts) == 3 && parts[2] == parts[1]+".cue":
		return parts[0] + "/" + parts[2], true
	}
	return "", false
}

// WheelSizes returns the sizes in bytes of the wheels that environments of the library
// install on machines of an architecture, as Go names it. They are by digest, as
// locks write it.
func WheelSizes(arch string) map[string]int64 {
	b, err := files.ReadFile("lib/sizes.txt")
	if err != nil {
		panic(err) // the file is embedded
	}
	sizes := map[string]int64{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 4 || f[0] != arch {
			continue
		}
		n, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			panic(fmt.Sprintf("stdlib: sizes.txt: %v", err))
		}
		sizes[f[1]] = n
	}
	return sizes
}

// Pins returns what a lock pins, as requirements without digests.
func Pins(lock []byte) []string {
	var pins []string
	for line := range strings.Lines(string(lock)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "--") {
			pins = append(pins, strings.TrimSpace(strings.TrimSuffix(line, "\\")))
		}
	}
	return pins
}
