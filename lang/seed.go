package lang

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelang.org/go/mod/modcache"
	"cuelang.org/go/mod/modregistry"
	"cuelang.org/go/mod/module"
	"cuelang.org/go/mod/modzip"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib"
)

// CacheDir returns where the stock cue command keeps modules, given the environment.
func CacheDir(getenv func(string) string) (string, error) {
	if dir := getenv("CUE_CACHE_DIR"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache of cue: %w", err)
	}
	return filepath.Join(dir, "cue"), nil
}

// Seed writes the embedded library into the cache of the stock cue command, so that it
// and CUE's language server resolve the same imports without a registry. It leaves an
// identical copy alone. Several processes may seed one cache at the same time.
func Seed(ctx context.Context, cacheDir string) error {
	v, err := module.NewVersion(stdlib.Module, stdlib.Version)
	if err != nil {
		return fmt.Errorf("seed the cache of cue: %w", err)
	}
	extracted := filepath.Join(cacheDir, "mod", "extract", v.BasePath()+"@"+v.Version())
	if sameFiles(extracted) {
		return nil
	}
	held, err := files.Lock(ctx, extracted+".tenon.lock")
	if err != nil {
		return fmt.Errorf("seed the cache of cue: %w", err)
	}
	defer held.Close()
	if sameFiles(extracted) { // another process was faster
		return nil
	}
	// Remove another build of this version: its files would win.
	for _, dir := range []string{extracted, filepath.Join(cacheDir, "mod", "download", v.BasePath())} {
		if err := removeReadOnly(dir); err != nil {
			return fmt.Errorf("seed the cache of cue: %w", err)
		}
	}
	var zip bytes.Buffer
	var names []string
	err = fs.WalkDir(stdlib.CUE(), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, p)
		}
		return err
	})
	if err == nil {
		//lint:ignore SA1019 there is no other way to pack a module that is not a folder
		err = modzip.Create(&zip, v, names, libraryIO{})
	}
	if err != nil {
		return fmt.Errorf("pack the standard library: %w", err)
	}
	client := modregistry.NewClient(ocimem.New())
	if err := client.PutModule(ctx, v, bytes.NewReader(zip.Bytes()), int64(zip.Len())); err != nil {
		return fmt.Errorf("pack the standard library: %w", err)
	}
	cache, err := modcache.New(client, cacheDir)
	if err != nil {
		return fmt.Errorf("seed the cache of cue: %w", err)
	}
	if _, err := cache.ModFile(ctx, v); err != nil {
		return fmt.Errorf("seed the cache of cue: %w", err)
	}
	if _, err := cache.Fetch(ctx, v); err != nil {
		return fmt.Errorf("seed the cache of cue: %w", err)
	}
	return nil
}

// sameFiles reports whether dir holds exactly the embedded library.
func sameFiles(dir string) bool {
	n := 0
	err := fs.WalkDir(stdlib.CUE(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		want, err := fs.ReadFile(stdlib.CUE(), p)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(p)))
		if err == nil && !bytes.Equal(want, got) {
			err = errors.New("differs")
		}
		return err
	})
	if err != nil {
		return false
	}
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(p, ".cue") {
			n--
		}
		return nil
	})
	return n == 0
}

// removeReadOnly removes a folder with read-only subfolders.
func removeReadOnly(dir string) error {
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(p, 0o755)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// libraryIO reads the embedded library for modzip.
type libraryIO struct{}

func (libraryIO) Path(p string) string                { return p }
func (libraryIO) Lstat(p string) (os.FileInfo, error) { return fs.Stat(stdlib.CUE(), p) }
func (libraryIO) Open(p string) (io.ReadCloser, error) {
	return stdlib.CUE().Open(p)
}
