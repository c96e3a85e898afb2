package pyenv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// A Portable is an environment that other machines of the same architecture can have. None of its
// files names a folder of this machine.
type Portable struct {
	// Packages is the folder of the environment, without what names the interpreter. Its console
	// scripts begin with [PortableScript].
	Packages artifact.Contents
	// Interpreter is the folder of the interpreter, with bin/pythonX.Y in it. It is nil if the
	// interpreter belongs to the system of this machine and cannot be elsewhere.
	Interpreter *artifact.Contents
	Path        string // of the interpreter on this machine
	Name        string // "python3.11"
	Version     string // "3.11.7"
	// Probe is a script, and Says what the interpreter here prints, except for the first line,
	// which is the version of the C library.
	Probe, Says string
	// Libc is the oldest version of the GNU C library with which all packages work, such as
	// "2.28"; "" is any.
	Libc string
}

// PortableScript is how a console script of a portable environment begins. The receiver replaces it
// with the path of its interpreter.
const PortableScript = "#!/tenon/environment/bin/python\n"

//go:embed probe.py
var probe string

// Portable returns the environment of a lock, which it makes if it does not exist. The first call
// reads all its files, and notes their digests.
func (e *Env) Portable(ctx context.Context, lockText []byte, report func(Progress)) (*Portable, error) {
	if _, err := e.Ensure(ctx, lockText, report); err != nil {
		return nil, err
	}
	p, err := e.portable(ctx, lockText)
	if err != nil {
		return nil, fmt.Errorf("python environment for another machine: %w", err)
	}
	return p, nil
}

func (e *Env) portable(ctx context.Context, lockText []byte) (*Portable, error) {
	in, err := e.interpreter(ctx, true)
	if err != nil {
		return nil, err
	}
	version, err := minor(in.Version)
	if err != nil {
		return nil, err
	}
	p := &Portable{Path: in.Path, Name: "python" + version, Version: strings.Fields(in.Version)[1], Probe: probe}
	said, err := exec.CommandContext(ctx, in.Path, "-I", "-c", probe+"print(sys.base_prefix)\n").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s what it can do: %w", in.Path, err)
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	libc, prefix := strings.TrimPrefix(lines[0], "glibc "), lines[len(lines)-1]
	p.Says = strings.Join(lines[1:len(lines)-1], "\n")

	dir := filepath.Join(e.opts.Dir, key(lockText, in))
	folder := portableFolder{dir: dir, omit: ofEnvironment, python: interpreterIn(dir)}
	if p.Packages, err = folder.contents(ctx, filepath.Join(dir, ".portable.json")); err != nil {
		return nil, err
	}
	if p.Libc, err = oldestLibc(sitePackages(dir), libc); err != nil {
		return nil, err
	}
	if prefix == "/usr" || prefix == "/usr/local" {
		return p, nil
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d\n%s", prefix, in, in.Size, in.ModTime))
	folder = portableFolder{dir: prefix, omit: ofInterpreter(p.Name)}
	own, err := folder.contents(ctx, filepath.Join(e.opts.Dir, "python-"+hex.EncodeToString(sum[:8])+".portable.json"))
	p.Interpreter = &own
	return p, err
}

// A portableFolder is a folder of this machine as others get it.
type portableFolder struct {
	dir    string
	omit   func(rel string, folder bool) bool
	python string // named by console scripts
}

// contents lists the folder, or returns what it has noted before.
func (f portableFolder) contents(ctx context.Context, note string) (artifact.Contents, error) {
	c := artifact.Contents{Open: func(e artifact.Entry) (io.ReadCloser, error) {
		if e.Kind == artifact.Link {
			target, err := os.Readlink(f.at(e.Path))
			return io.NopCloser(strings.NewReader(target)), err
		}
		if changed, err := f.changed(e.Path); changed != nil || err != nil {
			return io.NopCloser(bytes.NewReader(changed)), err
		}
		return os.Open(f.at(e.Path))
	}}
	if b, err := os.ReadFile(note); err == nil && json.Unmarshal(b, &c.Entries) == nil {
		return c, nil
	}
	err := filepath.WalkDir(f.dir, func(at string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(f.dir, at) // it is below
		if err != nil || rel == "." {
			return errors.Join(err, ctx.Err())
		}
		if f.omit(rel, d.IsDir()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		entry, err := f.entry(ctx, rel, d)
		if err == nil && entry != nil {
			c.Entries = append(c.Entries, *entry)
		}
		return err
	})
	if err != nil {
		return c, err
	}
	b, err := json.Marshal(c.Entries)
	if err == nil {
		err = files.Write(note, b, 0o600)
	}
	return c, err
}

func (f portableFolder) at(rel string) string { return filepath.Join(f.dir, filepath.FromSlash(rel)) }

// entry describes a file, or returns nil for one that others do not get.
func (f portableFolder) entry(ctx context.Context, rel string, d fs.DirEntry) (*artifact.Entry, error) {
	e := artifact.Entry{Path: filepath.ToSlash(rel)}
	switch {
	case d.IsDir():
		e.Kind = artifact.Folder
		return &e, nil
	case d.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(f.at(rel))
		if err == nil {
			err = artifact.CheckLink(f.dir, f.at(rel))
		}
		e.Kind, e.Size, e.Digest = artifact.Link, int64(len(target)), artifact.DigestOf([]byte(target))
		return &e, err
	case !d.Type().IsRegular():
		return nil, fmt.Errorf("%s is neither a file nor a folder", f.at(rel))
	}
	info, err := d.Info()
	if err != nil {
		return nil, err
	}
	// A cache also has half-written files. Bytecode elsewhere has no source: it is the module.
	if path.Base(path.Dir(rel)) == "__pycache__" && (path.Ext(rel) != ".pyc" || !f.fresh(rel)) {
		return nil, nil
	}
	if e.Kind = artifact.Plain; info.Mode()&0o111 != 0 {
		e.Kind = artifact.Executable
	}
	changed, err := f.changed(rel)
	switch {
	case err != nil:
	case changed != nil:
		e.Size, e.Digest = int64(len(changed)), artifact.DigestOf(changed)
	default:
		e.Size = info.Size()
		e.Digest, err = artifact.File(ctx, f.at(rel))
	}
	return &e, err
}

// changed returns the content of a file that differs from that on this machine, or nil.
func (f portableFolder) changed(rel string) ([]byte, error) {
	bin := strings.HasPrefix(rel, "bin/")
	if !bin && path.Ext(rel) != ".pyc" {
		return nil, nil
	}
	b, err := os.ReadFile(f.at(rel))
	if err != nil {
		return nil, err
	}
	switch {
	case !bin && len(b) < headerEnd:
		return nil, nil
	case !bin:
		return unchecked(b), nil
	case f.python == "":
		return movable(b, filepath.Join(f.dir, "lib")), nil
	}
	if rest, ok := cutInterpreter(b, f.python); ok {
		return append([]byte(PortableScript), rest...), nil
	}
	return nil, nil
}

// The header of bytecode: the version of Python, flags, and what identifies the source.
const (
	flagsAt, sourceAt, headerEnd = 4, 8, 16
	hashed                       = 1 // flag: not checked by the time of the source
)

// fresh reports whether bytecode belongs to the source that is there.
func (f portableFolder) fresh(rel string) bool {
	b, err := os.ReadFile(f.at(rel))
	dir, name := path.Split(rel)
	module, _, _ := strings.Cut(name, ".cpython-")
	source, failed := os.Stat(f.at(path.Join(path.Dir(path.Clean(dir)), module+".py")))
	if err != nil || failed != nil || len(b) < headerEnd || strings.Contains(name, ".opt-") {
		return false
	}
	if b[flagsAt]&hashed != 0 {
		return true
	}
	return binary.LittleEndian.Uint32(b[sourceAt:]) == uint32(source.ModTime().Unix()) && binary.LittleEndian.Uint32(b[sourceAt+4:]) == uint32(source.Size())
}

// unchecked makes bytecode that Python loads without a look at the source, whose time is another
// one elsewhere.
func unchecked(b []byte) []byte {
	clear(b[flagsAt:headerEnd])
	b[flagsAt] = hashed
	return b
}

// movable makes a program find its libraries beside itself, if it looks for them in the folder
// where it was installed. It returns nil for any other program.
func movable(program []byte, libraries string) []byte {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return nil
	}
	const beside = "$ORIGIN/../lib"
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		found, err := f.DynString(tag)
		names := f.Section(".dynstr")
		if err != nil || names == nil || !slices.Equal(found, []string{libraries}) || len(libraries) < len(beside) {
			continue
		}
		table := program[names.Offset : names.Offset+names.Size]
		at := bytes.Index(table, []byte("\x00"+libraries+"\x00"))
		if at < 0 {
			continue
		}
		clear(table[at+1 : at+1+len(libraries)])
		copy(table[at+1:], beside)
		return program
	}
	return nil
}

// ofVenv are the files in bin that belong to the environment itself: others are of packages.
var ofVenv = regexp.MustCompile(`^(python[0-9.]*t?|(de)?activate(\.\w+|_this\.py)?|pydoc\.bat)$`)

// ofEnvironment reports what of an environment is only for this machine.
func ofEnvironment(rel string, folder bool) bool {
	dir, name := filepath.Split(rel)
	switch dir {
	case "":
		return !folder && name != "lib64"
	case "bin/":
		return ofVenv.MatchString(name)
	}
	return false
}

// ofInterpreter returns a function that reports whether no unit needs a file of an interpreter.
func ofInterpreter(name string) func(rel string, folder bool) bool {
	needless := []string{"site-packages", "test", "tests", "idlelib", "ensurepip", "turtledemo", "lib2to3"}
	return func(rel string, folder bool) bool {
		dir, base := filepath.Split(rel)
		switch {
		case dir == "":
			return base != "bin" && base != "lib"
		case dir == "bin/":
			return base != name
		case dir == "lib/":
			return base != name && !(strings.HasPrefix(base, "lib") && strings.Contains(base, ".so"))
		}
		return folder && (slices.Contains(needless, base) || strings.HasPrefix(base, "config-"))
	}
}
