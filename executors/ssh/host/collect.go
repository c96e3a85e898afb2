package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// Collecting asks what a host has that is no longer needed. What every state may use is
// garbage if none has used it for that long, and an artifact that only one state has used also if
// that state does not need it.
type Collecting struct {
	State   string          `json:"state"`   // lineage of the state that asks
	Tasks   map[string]bool `json:"tasks"`   // of that state, whose folders are kept, by name
	Keys    map[string]bool `json:"keys"`    // of runs of that state whose checkpoints are kept
	Digests map[string]bool `json:"digests"` // of artifacts that the state needs
	Age     time.Duration   `json:"age"`     // since the last use of what states share; zero keeps that
	Dry     bool            `json:"dry"`     // remove nothing
}

// Collected is what was found. Sizes are in bytes; of files with several names, one counts.
type Collected struct {
	Garbage []executors.Garbage `json:"garbage"`
}

// Marks say who has used something, and their times when. They are named after a digest, or the name
// of an environment, and end in a state or in others.
const others = "others"

// markEvery is how often a mark is renewed at most.
const markEvery = time.Hour

// markOf is the end of the marks of a state.
func markOf(lineage string) string {
	sum := sha256.Sum256([]byte(lineage))
	return hex.EncodeToString(sum[:8])
}

// mark notes that things are used: by a state, if its garbage collection knows them, or by others.
func (s *server) mark(by string, names ...string) error {
	dir := filepath.Join(s.dir, "used")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(dir, strings.TrimPrefix(name, "sha256:")+"-"+by)
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) < markEvery {
			continue
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return err
		}
		now := time.Now()
		if err := os.Chtimes(path, now, now); err != nil {
			return err
		}
		if err := os.Chtimes(dir, now, now); err != nil { // a collector reads the folder again then
			return err
		}
	}
	return nil
}

// uses returns the names of all that a start uses, and marks them.
func (s *server) uses(in Start) ([]string, error) {
	var ports, rest []string
	for _, p := range in.parts() {
		for _, ref := range p.Inputs {
			ports = append(ports, ref.Digest)
		}
	}
	for _, name := range []string{s.runner, in.Duck, in.Serve} {
		if name != "" {
			rest = append(rest, name)
		}
	}
	for _, ref := range in.refs() {
		if !slices.Contains(ports, ref.Digest) {
			rest = append(rest, ref.Digest)
		}
	}
	for _, e := range in.Environments {
		rest = append(rest, e.Packages, environmentName(e))
		if e.Interpreter != "" {
			rest = append(rest, e.Interpreter)
		}
	}
	if err := errors.Join(s.mark(markOf(in.Task.State), ports...), s.mark(others, rest...)); err != nil {
		return nil, fmt.Errorf("note what is used: %w", err)
	}
	return append(ports, rest...), nil
}

// A collector looks for garbage. It holds the lock of the folder for short times, between which tasks
// can be started.
type collector struct {
	*server
	Collecting
	locked *os.File
	at     time.Time                       // when it got the lock
	inUse  map[string]bool                 // names that runs use, without "sha256:"
	marks  map[string]map[string]time.Time // by name and by who has used it
	marked time.Time                       // when a mark was last made, of those in marks
	seen   map[uint64]bool                 // inodes that were counted
	since  time.Time                       // what was used before is garbage
	lives  map[string]bool                 // runs whose programs have not ended
	away   []string                        // folders that are left to remove
	found  []executors.Garbage
}

func (s *server) collect(ctx context.Context, in Collecting) (Collected, error) {
	c := &collector{server: s, Collecting: in, seen: map[uint64]bool{}}
	if in.Age > 0 {
		c.since = time.Now().Add(-in.Age)
	}
	defer c.release()
	if err := c.look(ctx); err != nil {
		return Collected{}, err
	}
	return Collected{c.found}, nil
}

// lockTime is how long a collector holds the lock before it lets others have it.
const lockTime = 200 * time.Millisecond

func (c *collector) release() {
	if c.locked != nil {
		c.locked.Close()
		c.locked = nil
	}
}

// hold makes sure that the lock is held, and lets others have it now and then. It reports false if it
// is not known what a run uses.
func (c *collector) hold(ctx context.Context) (known bool, err error) {
	if c.locked != nil && time.Since(c.at) < lockTime {
		return true, nil
	}
	if c.locked != nil {
		c.release()
		time.Sleep(lockTime / 4) // whoever waits looks every 20 ms
	}
	if c.locked, err = c.lock(ctx); err != nil {
		return false, err
	}
	c.at = time.Now()
	return c.note(ctx)
}

// note finds out what runs, what all runs use, and who has used what.
func (c *collector) note(ctx context.Context) (known bool, err error) {
	if err := c.readMarks(); err != nil {
		return false, err
	}
	c.inUse, c.lives = map[string]bool{}, map[string]bool{}
	c.each(ctx, func(rec record) { c.lives[rec.Run] = true })
	entries, err := os.ReadDir(filepath.Join(c.dir, "runs"))
	if err != nil {
		return false, err
	}
	known = true
	for _, e := range entries {
		var rec record
		if err := readRecord(c.run(e.Name()), &rec); errors.Is(err, fs.ErrNotExist) {
			continue // a start that did not get that far, which the next one replaces
		} else if err != nil {
			return false, err
		}
		if c.ended(rec) {
			continue
		}
		known = known && rec.Uses != nil
		for _, name := range rec.Uses {
			c.inUse[strings.TrimPrefix(name, "sha256:")] = true
		}
	}
	return known, nil
}

// readMarks finds out who has used what.
func (c *collector) readMarks() error {
	dir := filepath.Join(c.dir, "used")
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.ModTime().Equal(c.marked) {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	c.marked, c.marks = info.ModTime(), map[string]map[string]time.Time{}
	for _, e := range entries {
		name, by, ok := strings.Cut(e.Name(), "-")
		info, err := e.Info()
		if !ok || err != nil {
			continue
		}
		if c.marks[name] == nil {
			c.marks[name] = map[string]time.Time{}
		}
		c.marks[name][by] = info.ModTime()
	}
	return nil
}

// ended reports whether nothing runs in the folder of a run, which the state does not need.
func (c *collector) ended(rec record) bool {
	return rec.Service.State == c.State && !c.Tasks[rec.Name] && !c.lives[rec.Run]
}

func (c *collector) look(ctx context.Context) error {
	known, err := c.hold(ctx)
	if err == nil {
		err = c.runs(ctx)
	}
	if err != nil || !known {
		return err
	}
	if err := c.checkpoints(); err != nil {
		return err
	}
	all, err := c.artifacts.All()
	if err != nil {
		return err
	}
	for _, digest := range all {
		if err := c.item(ctx, "host artifact", digest, c.artifacts.Path(digest), func(string) error { return c.artifacts.Remove(digest) }); err != nil {
			return err
		}
	}
	for _, kind := range []struct{ folder, name string }{{"environments", "host environment"}, {"trees", "host tree"}, {"programs", "host program"}} {
		entries, err := os.ReadDir(filepath.Join(c.dir, kind.folder))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := c.item(ctx, kind.name, e.Name(), filepath.Join(c.dir, kind.folder, e.Name()), c.discard); err != nil {
				return err
			}
		}
	}
	c.release() // what follows is in nobody's way, or found missing and sent again
	if err := c.images(ctx); err != nil || c.Dry {
		return err
	}
	for _, path := range c.away {
		err = errors.Join(err, files.RemoveAll(path))
	}
	return errors.Join(err, c.nameless(), c.removeOldBlobs(), files.SweepOlder(c.dir, halfWrittenAge))
}

// item removes what has a name if no state needs it.
func (c *collector) item(ctx context.Context, kind, name, path string, do func(path string) error) error {
	known, err := c.hold(ctx)
	if err != nil || !known || !c.unused(name, path) {
		return err
	}
	return c.remove(kind, name, path, do)
}

// checkpoints removes those of runs that the state does not need.
func (c *collector) checkpoints() error {
	dir := filepath.Join(c.dir, checkpointsFolder, markOf(c.State))
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !c.Keys[e.Name()] {
			if err := c.remove("host checkpoint folder", e.Name(), filepath.Join(dir, e.Name()), files.RemoveAll); err != nil {
				return err
			}
		}
	}
	return err
}

// images lets containerd find what has not been used, if this host runs containers.
func (c *collector) images(ctx context.Context) error {
	if c.since.IsZero() || c.containerless(ctx) != "" {
		return nil
	}
	found, err := c.containers.Collect(ctx, executors.Needed{Since: c.since}, c.Dry)
	for _, g := range found {
		g.Kind = "host " + g.Kind
		c.found = append(c.found, g)
	}
	return err
}

// halfWrittenAge is how long it may take to receive something.
const halfWrittenAge = 24 * time.Hour

// runs removes the folders of runs that the state does not need and in which nothing runs.
func (c *collector) runs(ctx context.Context) error {
	entries, err := os.ReadDir(filepath.Join(c.dir, "runs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := c.hold(ctx); err != nil {
			return err
		}
		dir := c.run(e.Name())
		var rec record
		if err := readRecord(dir, &rec); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if !c.ended(rec) {
			continue
		}
		if err := c.remove("host run folder", rec.Name, dir, func(string) error { return c.end(ctx, rec) }); err != nil {
			return err
		}
	}
	return nil
}

// end removes what is left of a run that has ended.
func (c *collector) end(ctx context.Context, rec record) error {
	_, h, err := c.of(ctx, Named{Run: rec.Run, UID: rec.UID})
	if err == nil && h != nil {
		err = c.runnerOf(&rec).Destroy(ctx, *h)
	}
	return errors.Join(err, files.RemoveAll(c.run(rec.Run)))
}

// unused reports whether no state needs what has a name, a digest or that of an environment.
func (c *collector) unused(name, path string) bool {
	name = strings.TrimPrefix(name, "sha256:")
	if c.inUse[name] || strings.HasPrefix(name, ".") {
		return false
	}
	marks := c.marks[name]
	if len(marks) == 0 { // it came with an earlier version of Tenon, or just now
		info, err := os.Lstat(path)
		return err == nil && info.ModTime().Before(c.since)
	}
	_, mine := marks[markOf(c.State)]
	if mine && len(marks) == 1 && !c.Digests["sha256:"+name] {
		return true
	}
	for _, at := range marks {
		if !at.Before(c.since) {
			return false
		}
	}
	return true
}

// remove notes garbage, and removes it with its marks.
func (c *collector) remove(kind, name, path string, do func(path string) error) error {
	c.found = append(c.found, executors.Garbage{Kind: kind, Name: name, Size: c.size(path)})
	if c.Dry {
		return nil
	}
	if err := do(path); err != nil {
		return err
	}
	of := strings.TrimPrefix(name, "sha256:")
	for by := range c.marks[of] {
		if err := os.Remove(filepath.Join(c.dir, "used", of+"-"+by)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// discard moves a folder or a file away, to be removed without the lock. Wherever it is killed, no part of a
// folder is left in its place, where a start would take it for the whole.
func (c *collector) discard(path string) error {
	away, err := os.MkdirTemp(c.dir, files.HalfWritten)
	if err != nil {
		return err
	}
	c.away = append(c.away, away)
	return os.Rename(path, filepath.Join(away, "old"))
}

// size adds up the files below a path that were not counted yet, as far as they can be read.
func (c *collector) size(path string) (sum int64) {
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // it does not count
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // it has just gone
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			if c.seen[st.Ino] {
				return nil
			}
			c.seen[st.Ino] = true
		}
		sum += info.Size()
		return nil
	})
	return sum
}

// nameless removes the names of files in [server.filePath] that are in no folder any longer. Another
// connection may remove some at the same time.
func (c *collector) nameless() (err error) {
	for _, of := range []string{ofArtifacts, ofTrees} {
		err = errors.Join(err, filepath.WalkDir(filepath.Join(c.dir, of), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			var st unix.Stat_t
			if err = unix.Lstat(path, &st); err == nil && st.Nlink == 1 {
				err = os.Remove(path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}))
	}
	return err
}

// parts are what all versions in a start read.
func (in *Start) parts() []Part {
	all := []Part{in.Part}
	for _, p := range in.Beside {
		all = append(all, p)
	}
	return all
}

// took marks what a job of a state has made, so that no collection for another state takes it for garbage.
// It reports whether the host still has all of it.
func (s *server) took(ctx context.Context, rec *record, refs map[string]artifact.Ref) (there bool, err error) {
	locked, err := s.lock(ctx)
	if err != nil {
		return false, err
	}
	defer locked.Close()
	for _, ref := range refs {
		if !s.artifacts.Has(ref.Digest) {
			return false, nil
		}
		if err := s.mark(markOf(rec.Service.State), ref.Digest); err != nil {
			return false, err
		}
	}
	return true, nil
}
