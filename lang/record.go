package lang

import (
	"io/fs"
	"os"
	"path/filepath"

	"cuelang.org/go/cue/build"

	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// unrecorded is what makes CUE read more than its files: the clock and the
// machine for a tag, or other files.
var unrecorded = lazyregexp.New(`@extern\(|@tag\([^)]*\bvar\b`)

func recordSource(r *fingerprint.Record, file string, content []byte) {
	r.File(file, content)
	if unrecorded.Match(content) {
		r.Cannot(file + " reads more than its text")
	}
}

// recordModule records where the module of the system in dir begins, and all of
// its folder cue.mod.
func recordModule(r *fingerprint.Record, dir, root string) {
	if r == nil {
		return
	}
	for ; dir != root; dir = filepath.Dir(dir) {
		r.Absent(filepath.Join(dir, "cue.mod"))
	}
	err := filepath.WalkDir(filepath.Join(root, "cue.mod"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			b, err := os.ReadFile(path)
			r.File(path, b)
			return err
		}
		entries, err := os.ReadDir(path)
		var names []string
		for _, e := range entries {
			if fingerprint.Counts(e.Name()) {
				names = append(names, e.Name())
			}
		}
		r.Names(path, names)
		return err
	})
	if err != nil {
		r.Cannot(err.Error())
	}
}

// recordFolders records the names of the files that the loader found in the
// folders of the package, of those it imports from its own module, and above
// them: a package has the files of the folders above as well.
func recordFolders(r *fingerprint.Record, root string, inst *build.Instance) {
	if r == nil {
		return
	}
	seen := map[*build.Instance]bool{}
	var visit func(*build.Instance)
	visit = func(inst *build.Instance) {
		if seen[inst] {
			return
		}
		seen[inst] = true
		if rel, err := filepath.Rel(root, inst.Dir); err == nil && filepath.IsLocal(rel) {
			for d := inst.Dir; ; d = filepath.Dir(d) {
				r.Sources(d, r.Files(d))
				if d == root {
					break
				}
			}
		}
		for _, i := range inst.Imports {
			visit(i)
		}
	}
	visit(inst)
}
