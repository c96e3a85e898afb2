package pyenv

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// share links files that other complete environments have as well, and the bytecode of
// their modules. Python corrects the path in bytecode when it loads it.
//
// Files are equal if the packages list them with the same digest.
func (b *build) share(ctx context.Context) error {
	site := sitePackages(b.dir)
	wanted, err := installed(site)
	if err != nil {
		return fmt.Errorf("read the lists of installed files: %w", err)
	}
	for _, other := range b.env.siblings(b.dir, b.in) {
		if len(wanted) == 0 || ctx.Err() != nil {
			break
		}
		from := sitePackages(other)
		theirs, err := installed(from)
		if err != nil {
			continue // damaged: it cannot be shared
		}
		for name, file := range wanted {
			if theirs[name] != file {
				continue
			}
			if !link(filepath.Join(from, name), filepath.Join(site, name), file.digest) {
				continue // another environment may have it
			}
			delete(wanted, name)
			if filepath.Ext(name) == ".py" {
				shareBytecode(filepath.Join(from, name), filepath.Join(site, name), b.in.cacheTag())
			}
		}
	}
	return context.Cause(ctx)
}

// siblings returns the other complete environments of the interpreter, the last used
// first.
func (e *Env) siblings(dir string, in *interpreter) []string {
	type found struct {
		dir  string
		used int64
	}
	var all []found
	markers, _ := filepath.Glob(filepath.Join(e.opts.Dir, "*", marker))
	for _, m := range markers {
		made, err := os.ReadFile(m)
		other := filepath.Dir(m)
		if err != nil || strings.TrimSpace(string(made)) != in.String() || other == dir || !complete(other) {
			continue
		}
		if info, err := os.Stat(m); err == nil {
			all = append(all, found{other, info.ModTime().UnixNano()})
		}
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(b.used, a.used) })
	dirs := make([]string, len(all))
	for i, f := range all {
		dirs[i] = f.dir
	}
	return dirs
}

// A listed file is an entry in a package's list of its files.
type listed struct{ digest, size string }

// installed returns the files of all packages, as the packages list them, by path. It
// omits scripts: they name the interpreter of their environment.
func installed(site string) (map[string]listed, error) {
	lists, err := filepath.Glob(filepath.Join(site, "*.dist-info", "RECORD"))
	if err != nil {
		return nil, err
	}
	all := map[string]listed{}
	for _, list := range lists {
		f, err := os.Open(list)
		if err != nil {
			return nil, err
		}
		r := csv.NewReader(f)
		r.FieldsPerRecord, r.LazyQuotes = -1, true
		entries, err := r.ReadAll()
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", list, err)
		}
		for _, e := range entries {
			if len(e) > 2 && e[1] != "" && filepath.IsLocal(e[0]) {
				all[e[0]] = listed{e[1], e[2]}
			}
		}
	}
	return all, nil
}

// link makes to a hard link of from, unless it is one already. If it cannot, it returns
// false and leaves to unchanged: on another file system, or if from does not match the
// list of its package.
func link(from, to, digest string) bool {
	a, errA := os.Lstat(from)
	b, errB := os.Lstat(to)
	switch {
	case errA != nil || errB != nil || !a.Mode().IsRegular() || !b.Mode().IsRegular() || a.Size() != b.Size() || a.Mode() != b.Mode():
		return false
	case os.SameFile(a, b):
		return true
	case !holds(from, digest):
		return false
	}
	half := to + ".shared"
	if err := os.Link(from, half); err != nil {
		return false
	}
	if err := os.Rename(half, to); err != nil {
		_ = os.Remove(half)
		return false
	}
	return true
}

// holds reports whether a file has the digest, in the notation of packages.
func holds(path, digest string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return err == nil && digest == "sha256="+base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// shareBytecode links the bytecode of a module. Both names of the module are the same
// file, so it fits. Bytecode that is not shared is compiled again.
func shareBytecode(from, to, tag string) {
	name := filepath.Join("__pycache__", strings.TrimSuffix(filepath.Base(from), ".py")+"."+tag+".pyc")
	compiled := filepath.Join(filepath.Dir(from), name)
	if _, err := os.Lstat(compiled); err != nil {
		return
	}
	target := filepath.Join(filepath.Dir(to), name)
	if err := os.Mkdir(filepath.Dir(target), 0o755); err == nil || errors.Is(err, fs.ErrExist) {
		_ = os.Link(compiled, target)
	}
}
