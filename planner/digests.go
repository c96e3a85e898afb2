package planner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/planner/artifact"
)

const cacheVersion = 1

// FileDigests digests data files and caches the digests by the metadata of the file. It
// is safe for concurrent use.
type FileDigests struct {
	// OnDrop, if set, is called with the reason when an unusable cache is dropped.
	OnDrop func(error)

	path string
	load sync.Once

	mu      sync.Mutex
	known   map[string]entry // by absolute path
	used    map[string]bool
	changed bool
}

// An entry is the metadata that a file had when it had the digest.
type entry struct {
	fingerprint.Looks
	Digest string `json:"digest"`
}

type cacheFile struct {
	Version int              `json:"version"`
	Files   map[string]entry `json:"files"`
}

// NewFileDigests returns a FileDigests with its cache below the state folder. The cache
// is disposable: one that cannot be read is dropped.
func NewFileDigests(stateDir string) *FileDigests {
	return &FileDigests{path: filepath.Join(stateDir, "cache", "files.json")}
}

// Digest returns the digests of files and folders, by path. Paths are relative to dir or
// absolute. A file that changes while it is read is read once more; a second change is an
// error. All errors are returned together.
func (d *FileDigests) Digest(ctx context.Context, dir string, paths []string) (map[string]string, error) {
	d.load.Do(d.read)
	digests := make([]string, len(paths))
	errs := make([]error, len(paths))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(len(paths), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(paths); i = int(next.Add(1)) - 1 {
				var err error
				if digests[i], err = d.one(ctx, onDisk(dir, paths[i])); err != nil {
					errs[i] = fmt.Errorf("digest of %s: %w", paths[i], err)
				}
			}
		})
	}
	wg.Wait()
	saved := d.save()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	out := make(map[string]string, len(paths))
	for i, p := range paths {
		out[p] = digests[i]
	}
	return out, saved
}

// one digests a file or a folder.
func (d *FileDigests) one(ctx context.Context, path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return d.file(ctx, path, info)
	}
	var list strings.Builder
	err = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return fmt.Errorf("%s is a link to a folder: declare that folder as separate data", p)
		}
		digest, err := d.file(ctx, p, info)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(path, p)
		fmt.Fprintf(&list, "%q %s\n", filepath.ToSlash(rel), digest)
		return err
	})
	return ir.Sum([]byte(list.String())), err
}

func (d *FileDigests) file(ctx context.Context, path string, info fs.FileInfo) (string, error) {
	if !info.Mode().IsRegular() {
		return "", errors.New("it is neither a file nor a folder")
	}
	for again := true; ; again = false {
		begin := time.Now()
		before := fingerprint.Look(info)
		if digest, ok := d.get(path, before); ok {
			return digest, nil
		}
		digest, err := artifact.File(ctx, path)
		if err != nil && !errors.Is(err, artifact.ErrChanged) {
			return "", err
		}
		var statErr error
		if info, statErr = os.Stat(path); statErr != nil {
			return "", statErr
		}
		if err == nil && fingerprint.Look(info) == before {
			d.put(path, entry{before, digest}, before.Settled(begin))
			return digest, nil
		}
		if !again {
			return "", artifact.ErrChanged
		}
	}
}

func (d *FileDigests) get(path string, now fingerprint.Looks) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used[path] = true
	e, ok := d.known[path]
	return e.Digest, ok && e.Looks == now
}

func (d *FileDigests) put(path string, e entry, trusted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if trusted {
		d.known[path], d.changed = e, true
	} else if _, ok := d.known[path]; ok {
		delete(d.known, path)
		d.changed = true
	}
}

func (d *FileDigests) read() {
	d.known, d.used = map[string]entry{}, map[string]bool{}
	b, err := os.ReadFile(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var f cacheFile
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err == nil && f.Version != cacheVersion {
		err = fmt.Errorf("it has version %d", f.Version)
	}
	if err != nil {
		if d.OnDrop != nil {
			d.OnDrop(fmt.Errorf("drop the cache %s: %w", d.path, err))
		}
		d.changed = true
	} else if f.Files != nil {
		d.known = f.Files
	}
}

func (d *FileDigests) save() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.changed {
		return nil
	}
	if len(d.known) > 2*len(d.used)+1000 { // mostly files that are no longer used
		for p := range d.known {
			if !d.used[p] {
				delete(d.known, p)
			}
		}
	}
	b, err := json.Marshal(cacheFile{cacheVersion, d.known})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(d.path), 0o700)
	}
	if err == nil {
		_ = files.SweepOlder(filepath.Dir(d.path), time.Hour) // writers that were killed
		err = files.WriteSynced(d.path, b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("save the digests of files: %w", err)
	}
	d.changed = false
	return nil
}
