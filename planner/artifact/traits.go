package artifact

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/internal/fingerprint"
)

// Traits are what the file system says about an artifact without reading it.
type Traits struct {
	content string // names, sizes, inodes and times of the last write
	changed int64  // the last change of a file's metadata
	links   uint64 // how many names its files have
}

// Traits returns the traits of an artifact on this machine.
func (s *Store) Traits(digest string) (t Traits, err error) {
	root := s.Path(digest)
	var b strings.Builder
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		l := fingerprint.Look(info)
		t.changed = max(t.changed, l.Ctime)
		if !e.IsDir() {
			t.links += links(info)
		}
		fmt.Fprintf(&b, "%q %v %d %d %d\n", path, info.Mode(), l.Size, l.Mtime, l.Inode)
		return nil
	})
	t.content = b.String()
	return t, err
}

// Written reports whether the artifact was written to between two looks at it, even if
// the same bytes were written.
func (t Traits) Written(now Traits) bool { return t.content != now.content }

// Same reports whether nothing can have been written between two looks. A change of the
// number of links explains a change of metadata: the store itself adds and removes links.
func (t Traits) Same(now Traits) bool {
	return !t.Written(now) && (t.changed == now.changed || t.links != now.links)
}
