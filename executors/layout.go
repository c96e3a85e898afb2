package executors

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

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
)

// A layout is the folder structure below the state folder:
//
//	kept/<unit>/     what a service keeps for its later versions; kept/@<env>/<unit>/ in an
//	                 environment with a name
//	checkpoints/<key>/  what attempts of a job with that key resume from
//	runs/<task>/     one attempt: log, step.json, out/, scratch/, notes/
//	code/<digest>/   a unit's files, read-only
//	code/<digest>.lock
type layout struct{ dir string }

func (l layout) run(task string) string { return filepath.Join(l.dir, "runs", task) }

// slugLen limits the readable part of a task's name. With key and attempt the name stays
// below the 63 characters of a DNS label.
const slugLen = 40

// TaskName returns the name of one attempt of a unit in an environment: short, safe in a path
// and as a DNS label, and deterministic.
func TaskName(env, unit, key string, attempt int) string {
	if env != "" {
		unit = env + "/" + unit
	}
	return fmt.Sprintf("%s-%s-%d", slug(unit), key[:min(keyLen, len(key))], attempt)
}

// keyLen is how many characters of a key are in the name of a task.
const keyLen = 12

// taskOf returns the name of a run.
func taskOf(r state.Run) string { return TaskName(r.Env, r.Unit, r.Key, r.Attempt) }

// slug keeps the end of a long id, which distinguishes stages, behind a digest that
// distinguishes ids. Two ids may still share a slug. That is harmless: two units with the
// same key never run at once, and each attempt has its own folder.
func slug(unit string) string {
	s := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, unit)
	s = strings.Trim(s, "-")
	if s != "" && len(s) <= slugLen {
		return s
	}
	sum := sha256.Sum256([]byte(unit))
	s = s[max(0, len(s)-(slugLen-9)):]
	return "u" + hex.EncodeToString(sum[:])[:7] + "-" + strings.TrimLeft(s, "-")
}

// makeRun creates the folder of a run, or finds the one of an earlier apply.
func (l layout) makeRun(task string) (string, error) {
	dir := l.run(task)
	for _, sub := range []string{"out", "scratch", "notes"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return "", fmt.Errorf("make the folder of run %s: %w", task, err)
		}
	}
	return dir, nil
}

// KeptDir returns the folder in a state folder in which a service of an environment keeps files
// for its later versions.
func KeptDir(state, env, unit string) string {
	dir := filepath.Join(state, "kept")
	if env != "" {
		dir = filepath.Join(dir, "@"+env)
	}
	return filepath.Join(dir, filepath.FromSlash(unit))
}

// makeKept creates the folder in which a service keeps files.
func (l layout) makeKept(env, unit string) (string, error) {
	dir, err := filepath.Abs(KeptDir(l.dir, env, unit))
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("make the folder that %s keeps files in: %w", unit, err)
	}
	return dir, nil
}

// sweepRun removes what a finished run leaves behind, and keeps the log, the document,
// metrics and progress. The folder of outputs goes last: while it exists, the run is not
// swept.
func (l layout) sweepRun(task string) error {
	dir := l.run(task)
	if err := errors.Join(files.Sweep(dir), files.RemoveAll(filepath.Join(dir, "scratch"))); err != nil {
		return err
	}
	return files.RemoveAll(filepath.Join(dir, "out"))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// sweep removes partial files, see [files.Sweep].
func (l layout) sweep() error {
	return files.Sweep(filepath.Join(l.dir, "code"))
}

// logPath returns the path of a task's log, relative to the state folder.
func (l layout) logPath(task string) string {
	return filepath.ToSlash(filepath.Join("runs", task, "log"))
}

// code returns the folder of a list of files, in any order.
func (l layout) code(code []ir.CodeFile) string {
	code = slices.Clone(code)
	slices.SortFunc(code, func(a, b ir.CodeFile) int { return strings.Compare(a.Path, b.Path) })
	var list strings.Builder
	for _, f := range code {
		fmt.Fprintf(&list, "%q %s\n", f.Path, f.Digest)
	}
	return filepath.Join(l.dir, "code", strings.TrimPrefix(ir.Sum([]byte(list.String())), "sha256:")[:32])
}

// lock returns the file of the lock with that digest.
func (l layout) lock(digest string) string {
	return filepath.Join(l.dir, "code", strings.TrimPrefix(digest, "sha256:")+".lock")
}

// makeCode writes the unit's files once per list of files and returns the folder, which
// is read-only. It rewrites a folder that was changed nevertheless; so only one call may
// run at a time, also of the applies of other environments.
func (l layout) makeCode(code []ir.CodeFile, blobs map[string][]byte) (string, error) {
	dir := l.code(code)
	if holds(dir, code) {
		return dir, nil
	}
	locked, err := files.Lock(context.Background(), filepath.Join(l.dir, "code.lock"))
	if err != nil {
		return "", fmt.Errorf("lay out code: %w", err)
	}
	defer locked.Close()
	if holds(dir, code) {
		return dir, nil
	}
	if err := files.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("lay out code: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("lay out code: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), files.HalfWritten)
	if err != nil {
		return "", fmt.Errorf("lay out code: %w", err)
	}
	defer files.RemoveAll(tmp)
	for _, f := range code {
		if err := writeCode(tmp, f, blobs); err != nil {
			return "", fmt.Errorf("lay out code: %w", err)
		}
	}
	if err := readOnly(tmp); err != nil {
		return "", fmt.Errorf("lay out code: %w", err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil { // some systems cannot move a read-only folder
		return "", fmt.Errorf("lay out code: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", fmt.Errorf("lay out code: %w", err)
	}
	return dir, os.Chmod(dir, 0o555)
}

// holds reports whether the folder has the right files.
func holds(dir string, files []ir.CodeFile) bool {
	if _, err := os.Stat(dir); err != nil {
		return false
	}
	return !slices.ContainsFunc(files, func(f ir.CodeFile) bool {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Path)))
		return err != nil || ir.Sum(b) != f.Digest
	})
}

func writeCode(dir string, f ir.CodeFile, blobs map[string][]byte) error {
	if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
		return fmt.Errorf("%q is outside the code folder", f.Path)
	}
	b, err := blob(blobs, f.Digest)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	path := filepath.Join(dir, filepath.FromSlash(f.Path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

// makeLock writes the file that locks a Python environment.
func (l layout) makeLock(digest string, blobs map[string][]byte) (string, error) {
	if digest == "" {
		return "", nil
	}
	b, err := blob(blobs, digest)
	if err != nil {
		return "", fmt.Errorf("lay out the lock: %w", err)
	}
	path := l.lock(digest)
	if exists(path) {
		return path, nil
	}
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = files.WriteSynced(path, b, 0o444)
	}
	if err != nil {
		return "", fmt.Errorf("lay out the lock: %w", err)
	}
	return path, nil
}

func blob(blobs map[string][]byte, digest string) ([]byte, error) {
	b, ok := blobs[digest]
	if !ok {
		return nil, fmt.Errorf("the plan has no blob %s", digest)
	}
	if got := ir.Sum(b); got != digest {
		return nil, fmt.Errorf("the plan is damaged: blob %s has the digest %s", digest, got)
	}
	return b, nil
}

// readOnly removes write permission, and makes every file executable: a command may be
// one of the unit's own files.
func readOnly(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, 0o555)
	})
}
