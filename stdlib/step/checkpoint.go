package step

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/internal/files"
)

// CheckpointFile is the manifest of a checkpoint, in its folder. It is written last.
const CheckpointFile = "checkpoint.json"

// Checkpoints says where a job saves how far it has come. Path is a folder of the job that outlives the
// attempt. It has a folder for each checkpoint, named after its number; what begins with a dot is not complete.
type Checkpoints struct {
	Path string `json:"path"`
	// Key is that of the run: its code, its parameters and its inputs. A checkpoint with another key is not used.
	Key     string `json:"key"`
	Keep    int    `json:"keep"`    // how many checkpoints are kept, the newest ones
	Attempt int    `json:"attempt"` // number of this attempt, from 1
	// From is the first attempt whose checkpoints count, or 0 for all. Others are removed before the program starts.
	From int `json:"from,omitempty"`
}

// A Checkpoint is one that is complete.
type Checkpoint struct {
	Number  int64  // how far the job had come, in units of its own, at least 1
	Attempt int    // that saved it
	Path    string // its folder, which must not be changed
}

// A checkpointManifest is the content of a [CheckpointFile].
type checkpointManifest struct {
	Version int                       `json:"version"`
	Key     string                    `json:"key"`
	Number  int64                     `json:"number"`
	Attempt int                       `json:"attempt"`
	Files   map[string]checkpointPart `json:"files"` // by slash-separated path
}

type checkpointPart struct {
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// checkpointVersion is that of the manifest.
const checkpointVersion = 1

// Numbers returns the numbers of the checkpoints in the folder, the newest first. They may be damaged.
func (c *Checkpoints) Numbers() ([]int64, error) {
	entries, err := os.ReadDir(c.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []int64
	for _, e := range entries {
		if n, err := strconv.ParseInt(e.Name(), 10, 64); err == nil && n > 0 && strconv.FormatInt(n, 10) == e.Name() && e.IsDir() {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b int64) int { return cmp.Compare(b, a) })
	return all, err
}

// At returns the folder of a checkpoint.
func (c *Checkpoints) At(number int64) string {
	return filepath.Join(c.Path, strconv.FormatInt(number, 10))
}

// Newest returns the newest checkpoint that is complete, or nil. It passes why it leaves out others to warn.
func (c *Checkpoints) Newest(warn func(why error)) (*Checkpoint, error) {
	numbers, err := c.Numbers()
	if err != nil {
		return nil, fmt.Errorf("look for checkpoints: %w", err)
	}
	for _, n := range numbers {
		found, err := c.Check(n)
		if err == nil {
			return found, nil
		}
		warn(err)
	}
	return nil, nil
}

// An UnusableError says why a checkpoint cannot be used.
type UnusableError struct {
	Number int64
	Err    error
}

func (e *UnusableError) Error() string { return fmt.Sprintf("checkpoint %d %v", e.Number, e.Err) }
func (e *UnusableError) Unwrap() error { return e.Err }

// Check compares a checkpoint with its manifest. The error is an [UnusableError].
func (c *Checkpoints) Check(number int64) (*Checkpoint, error) {
	found, _, err := c.check(number)
	if err != nil {
		return nil, &UnusableError{number, err}
	}
	return found, nil
}

func (c *Checkpoints) manifest(number int64) (m checkpointManifest, err error) {
	b, err := os.ReadFile(filepath.Join(c.At(number), CheckpointFile))
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	return m, err
}

// Outdated reports whether a checkpoint does not count because of who saved it, see [Checkpoints].From.
func (c *Checkpoints) Outdated(number int64) bool {
	if c.From == 0 {
		return false
	}
	m, err := c.manifest(number)
	return err != nil || m.Attempt < c.From || m.Attempt > c.Attempt
}

// RemoveOutdated removes the checkpoints that do not count because of who saved them.
func (c *Checkpoints) RemoveOutdated() error {
	numbers, err := c.Numbers()
	for _, n := range numbers {
		if c.Outdated(n) {
			err = errors.Join(err, c.Discard(n))
		}
	}
	return err
}

func (c *Checkpoints) check(number int64) (*Checkpoint, map[string]checkpointPart, error) {
	dir := c.At(number)
	m, err := c.manifest(number)
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("is not complete: %w", err)
	case m.Version != checkpointVersion:
		return nil, nil, fmt.Errorf("has version %d of the format, and this program knows %d", m.Version, checkpointVersion)
	case m.Key != c.Key:
		return nil, nil, errors.New("was saved by other code, or with other inputs")
	case m.Number != number:
		return nil, nil, fmt.Errorf("is a copy of checkpoint %d", m.Number)
	}
	parts, err := checkpointParts(dir, false)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot be read: %w", err)
	}
	for path, want := range m.Files {
		if got, ok := parts[path]; !ok || got != want {
			return nil, nil, fmt.Errorf("is damaged: %s is not what was saved", path)
		}
	}
	if len(parts) != len(m.Files) {
		return nil, nil, errors.New("is damaged: it has files that were not saved with it")
	}
	return &Checkpoint{Number: number, Attempt: m.Attempt, Path: dir}, parts, nil
}

// Save saves a checkpoint, which save writes to an empty folder, and removes older ones than are kept. Whenever
// the program is killed, the checkpoint is complete or does not exist. number has to grow from one checkpoint to the next.
func (c *Checkpoints) Save(number int64, save func(dir string) error) (err error) {
	if number < 1 {
		return fmt.Errorf("save checkpoint %d: numbers begin at 1", number)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("save checkpoint %d: %w", number, err)
		}
	}()
	tmp, err := os.MkdirTemp(c.Path, files.HalfWritten)
	if err != nil {
		return err
	}
	defer files.RemoveAll(tmp) //nolint:errcheck // its name is not that of a checkpoint
	if err := save(tmp); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(tmp, CheckpointFile)); err == nil {
		return fmt.Errorf("%s is the name of the manifest: choose another name for that file", CheckpointFile)
	}
	m := checkpointManifest{Version: checkpointVersion, Key: c.Key, Number: number, Attempt: c.Attempt}
	if m.Files, err = checkpointParts(tmp, true); err != nil {
		return err
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := files.WriteSynced(filepath.Join(tmp, CheckpointFile), b, 0o644); err != nil {
		return err
	}
	if err := syncFolder(tmp); err != nil {
		return err
	}
	if err := c.Discard(number); err != nil { // a damaged one, which was not resumed from
		return err
	}
	if err := errors.Join(os.Rename(tmp, c.At(number)), syncFolder(c.Path)); err != nil {
		return err
	}
	return c.prune(number)
}

// prune removes the checkpoints that are older than those that are kept, and those with a number above the one that was
// saved last: they were not resumed from, so they are damaged, and would count as the newest ones.
func (c *Checkpoints) prune(last int64) error {
	numbers, err := c.Numbers()
	kept := 0
	for _, n := range numbers {
		if n <= last && kept < c.Keep {
			kept++
			continue
		}
		err = errors.Join(err, c.Discard(n))
	}
	return err
}

// Discard removes a checkpoint if there is one. It is renamed before, so that what is half removed is not a checkpoint.
func (c *Checkpoints) Discard(number int64) error {
	tmp, err := os.MkdirTemp(c.Path, files.HalfWritten)
	if err != nil {
		return err
	}
	err = os.Rename(c.At(number), filepath.Join(tmp, "old"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, files.RemoveAll(tmp))
}

// checkpointParts returns the files of a checkpoint without its manifest. With synced, it flushes all to the disk.
func checkpointParts(dir string, synced bool) (map[string]checkpointPart, error) {
	parts := map[string]checkpointPart{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if synced {
				return syncFolder(path)
			}
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is neither a file nor a folder", path)
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == CheckpointFile {
			return err
		}
		part, err := partOf(path, synced)
		parts[filepath.ToSlash(rel)] = part
		return err
	})
	return parts, err
}

func partOf(path string, synced bool) (p checkpointPart, err error) {
	f, err := os.Open(path)
	if err != nil {
		return p, err
	}
	defer f.Close()
	h := sha256.New()
	if p.Size, err = io.Copy(h, f); err == nil && synced {
		err = f.Sync()
	}
	p.SHA256 = hex.EncodeToString(h.Sum(nil))
	return p, err
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
