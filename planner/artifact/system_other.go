//go:build !unix

package artifact

import (
	"io/fs"
	"os"
	"path/filepath"
)

func links(fs.FileInfo) uint64 { return 1 }

func exists(dir *os.File, path string) bool {
	_, err := os.Lstat(filepath.Join(dir.Name(), path))
	return err == nil
}
