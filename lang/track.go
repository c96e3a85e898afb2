package lang

import (
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// untracked matches what makes CUE read more than its files: the clock and the machine
// for a tag, or other files.
var untracked = lazyregexp.New(`@extern\(|@tag\([^)]*\bvar\b`)

func trackSource(r *fingerprint.Tracker, file string, content []byte) {
	r.File(file, content)
	if untracked.Match(content) {
		r.Cannot(file + " reads more than its text")
	}
}

// trackModule records where the module of the system in dir is, and its complete cue.mod
// folder.
func trackModule(r *fingerprint.Tracker, dir, root string) {
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
		return trackNames(r, path)
	})
	if err != nil {
		r.Cannot(err.Error())
	}
}

// trackNames records the names in a folder.
func trackNames(r *fingerprint.Tracker, dir string) error {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if fingerprint.Counts(e.Name()) {
			names = append(names, e.Name())
		}
	}
	r.Names(dir, names)
	return err
}

// trackFolders records the names of the files that the loader found in the folders of
// the package, of its imports, and above them: a package includes the files of the
// folders above. For a module that a folder replaces, it also records the folder cue.mod.
// [System.Modules] records what comes from a registry.
func (s *System) trackFolders(r *fingerprint.Tracker) {
	if r == nil {
		return
	}
	for _, insts := range s.packages() {
		for _, inst := range insts {
			_, library := libraryPath(inst.Dir)
			fetched, _ := s.registry.origin(inst.Dir)
			if library || fetched != "" {
				continue
			}
			root := s.root
			if rel, err := filepath.Rel(root, inst.Dir); err != nil || !filepath.IsLocal(rel) {
				if root = moduleAbove(inst.Dir); root == "" {
					r.Cannot("the module of " + inst.Dir + " is not known")
					continue
				}
				trackModule(r, root, root)
			}
			for d := inst.Dir; ; d = filepath.Dir(d) {
				r.Sources(d, r.Files(d))
				if d == root {
					break
				}
			}
		}
	}
}
