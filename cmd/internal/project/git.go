package project

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/planner"
)

// gitVersion compiles the system as it is in a git revision.
func (p *Project) gitVersion(ctx context.Context, name string) (v Version, err error) {
	top, place, err := gitPlace(ctx, p.set.Dir)
	if err != nil {
		return v, noVersion(name, nil, err.Error())
	}
	commit, err := git(ctx, top, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	if err != nil {
		refs, _ := git(ctx, top, "for-each-ref", "--format=%(refname:short)")
		why := "no such revision in " + top
		if shallow, _ := git(ctx, top, "rev-parse", "--is-shallow-repository"); shallow == "true" {
			why += ", a shallow clone (git fetch --unshallow)"
		}
		return v, noVersion(name, strings.Fields(refs), why)
	}
	tmp, err := os.MkdirTemp("", "tenon-diff-")
	if err != nil {
		return v, fmt.Errorf("read %s from git: %w", name, err)
	}
	made := tmp
	defer func() { err = errors.Join(err, os.RemoveAll(made)) }()
	if tmp, err = filepath.EvalSymlinks(made); err != nil {
		return v, fmt.Errorf("read %s from git: %w", name, err)
	}
	if err := checkOut(ctx, top, commit, gitModule(ctx, top, commit, place), tmp); err != nil {
		return v, fmt.Errorf("read %s from git: %w", name, err)
	}
	system := filepath.Join(tmp, filepath.FromSlash(place))
	if files, _ := filepath.Glob(filepath.Join(system, "*.cue")); len(files) == 0 {
		return v, fmt.Errorf("no system in %s: it contains no .cue file; use -C FOLDER to name the system's folder", strings.TrimSuffix(name+":"+place, ":."))
	}
	r, err := p.in(system).compilation(p.set.Tags, p.resolve).run(ctx)
	if err != nil {
		return v, placedIn(err, name, tmp, place)
	}
	return Version{Kind: "git", Name: name, Commit: commit, System: r.System.Name, side: planner.Side{System: r.System, Blobs: r.Blobs}}, nil
}

// Dirty marks a commit whose tree was changed when it was recorded.
const Dirty = "+dirty"

// gitCommit returns the commit of the system's folder, or "". It is marked as [Dirty] if
// the module of the system has changes or new files that the commit lacks and git does
// not ignore.
func (p *Project) gitCommit(dir string) string {
	run := func(args ...string) (string, error) {
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(slices.Clone(p.set.Environ), "GIT_OPTIONAL_LOCKS=0")
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	commit, err := run("rev-parse", "HEAD")
	if err != nil {
		return ""
	}
	paths := []string{moduleOf(dir)}
	if state, err := p.stateDir(); err == nil && within(paths[0], state) {
		paths = append(paths, ":(exclude)"+state)
	}
	if changes, err := run(append([]string{"status", "--porcelain", "--"}, paths...)...); err != nil || changes != "" {
		commit += Dirty
	}
	return commit
}

// moduleOf returns the folder of the CUE module that contains a folder, or the folder.
func moduleOf(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		if exists(filepath.Join(at, "cue.mod")) {
			return at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// noVersion returns the error for an argument that names nothing.
func noVersion(name string, refs []string, why string) error {
	if info, err := os.Stat(name); err == nil && !info.IsDir() {
		return fmt.Errorf("%s is a file: give the system's folder, an applied revision such as @3, or a git revision such as main", name)
	}
	hint := ""
	if near := diag.Nearest(name, append(refs, foldersHere()...)); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	return fmt.Errorf("%q is not an applied revision (such as @3), a folder or a git revision: %s%s", name, why, hint)
}

func foldersHere() []string {
	entries, _ := os.ReadDir(".")
	var out []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	return out
}

// git runs git in a folder and returns what it prints.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("git is not in PATH")
	}
	if err != nil {
		if line, _, _ := strings.Cut(said.String(), "\n"); line != "" {
			return "", errors.New(strings.TrimPrefix(line, "fatal: "))
		}
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// gitPlace finds the repository of a folder, and the folder's path in it.
func gitPlace(ctx context.Context, dir string) (top, place string, err error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", "", fmt.Errorf("no such folder: %s", dir)
	}
	out, err := git(ctx, dir, "rev-parse", "--show-toplevel", "--show-prefix")
	if err != nil {
		if strings.Contains(err.Error(), "not a git repository") {
			err = fmt.Errorf("%s is not in a git repository", shownFolder(dir))
		}
		return "", "", err
	}
	top, place, _ = strings.Cut(out, "\n")
	return top, path.Clean(place), nil
}

func shownFolder(dir string) string {
	if dir == "." {
		return "this folder"
	}
	return dir
}

// gitModule returns the folder with cue.mod at or above a place in a revision: compiling
// the place reads nothing outside of it.
func gitModule(ctx context.Context, top, commit, place string) string {
	for at := place; ; at = path.Dir(at) {
		if _, err := git(ctx, top, "cat-file", "-e", commit+":"+path.Join(at, "cue.mod/module.cue")); err == nil {
			return at
		}
		if at == "." {
			return place // it is not part of a module, which compiling it reports
		}
	}
}

// checkOut writes a folder of a revision below dir, at its path in the repository. It
// skips a folder that does not exist.
func checkOut(ctx context.Context, top, commit, folder, dir string) error {
	tree := commit + ":"
	if folder != "." {
		tree += folder
	}
	if kind, err := git(ctx, top, "cat-file", "-t", tree); err != nil || kind != "tree" {
		return nil
	}
	cmd := exec.CommandContext(ctx, "git", "-C", top, "archive", "--format=tar", commit, "--", folder)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = unpack(tar.NewReader(out), dir)
	_, _ = io.Copy(io.Discard, out) // otherwise git would not end
	if ended := cmd.Wait(); ended != nil && err == nil {
		err = fmt.Errorf("git archive: %w: %s", ended, strings.TrimSpace(said.String()))
	}
	return err
}

// unpack writes an archive below dir and nowhere else. It skips links that point outside.
func unpack(archive *tar.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.FromSlash(path.Clean(h.Name))
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if !filepath.IsLocal(name) {
			return fmt.Errorf("%q is not a path in a repository", h.Name)
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			err = write(root, name, archive)
		case tar.TypeSymlink:
			if !filepath.IsAbs(h.Linkname) && filepath.IsLocal(filepath.Join(filepath.Dir(name), h.Linkname)) {
				err = root.Symlink(h.Linkname, name)
			}
		}
		if err != nil {
			return err
		}
	}
}

func write(root *os.Root, name string, from io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// placedIn changes the places in an error to those in a git revision, in git's own
// notation: main:shop/shop.cue.
func placedIn(err error, name, tmp, place string) error {
	text := strings.NewReplacer(tmp+string(filepath.Separator), name+":", tmp, name+":")
	var sources *SourceError
	if !errors.As(err, &sources) {
		return errors.New(text.Replace(err.Error()))
	}
	files := map[string]string{}
	faults := slices.Clone(sources.Faults)
	for i := range faults {
		d := &faults[i]
		d.Message, d.Wanted, d.Found, d.Hint = text.Replace(d.Message), text.Replace(d.Wanted), text.Replace(d.Found), text.Replace(d.Hint)
		if strings.Contains(d.Hint, "tenon init") { // nothing can be created there
			d.Hint = ""
		}
		d.Spans = slices.Clone(d.Spans)
		for j := range d.Spans {
			file := d.Spans[j].File
			shown := file
			switch {
			case file == "" || strings.HasPrefix(file, "tenon.dev/"):
			case filepath.IsAbs(file):
				shown = text.Replace(file)
			default:
				shown = name + ":" + path.Join(place, file)
			}
			d.Spans[j].File = shown
			files[shown] = file
		}
	}
	return &SourceError{Faults: faults, Source: func(file string) []byte { return sources.Source(files[file]) }}
}
