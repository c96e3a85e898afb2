package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"cuelang.org/go/mod/modfile"

	"github.com/tenon-ml/tenon/stdlib"
)

// A Kind is the purpose of a component.
type Kind string

// Kinds maps each kind to the library lock that its components start with.
var Kinds = map[Kind]string{"source": "step", "feature": "step", "step": "step", "train": "model"}

// A Request says which component to write.
type Request struct {
	Dir     string // of the module, which is created if there is none
	Package string // "lake"
	Name    string // "kafka"
	Kind    Kind
}

// Written describes what was written.
type Written struct {
	Component string   `json:"component"` // "example.com/acme/lake.kafka"
	Folder    string   `json:"folder"`    // of the component
	Files     []string `json:"files"`     // that were written
	Library   bool     `json:"library"`   // part of the library, which tenon embeds
}

// An existsError names a file that would have been overwritten.
type existsError struct{ Path string }

func (e *existsError) Error() string { return e.Path + " exists" }

//go:embed all:templates
var templates embed.FS

var word = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Valid says why a name is not allowed for a package or a component, or returns nil.
func Valid(name string) error {
	if !word.MatchString(name) {
		return fmt.Errorf("%q is not a valid name: use lower-case letters, digits and underscores, starting with a letter", name)
	}
	return nil
}

// names are the values for the templates.
type names struct {
	Package, Name, Type string
	Component           string // as the definition names it
	Import              string // path of the package
	Base                string // "source.", or "" within that package
	Imports             string // of the definition
	First               bool   // the first component of its package
}

// Component writes a component. It fails if a file exists already.
func Component(r Request) (Written, error) {
	if err := errors.Join(Valid(r.Package), Valid(r.Name)); err != nil {
		return Written{}, err
	}
	module, err := moduleOf(r.Dir)
	if err != nil {
		return Written{}, err
	}
	own, _, _ := strings.Cut(module.path, "@")
	n := names{Package: r.Package, Name: r.Name, Type: typeName(r.Name), Import: path.Join(own, module.below, r.Package)}
	pkg := filepath.Join(r.Dir, r.Package)
	w := Written{Folder: filepath.Join(pkg, r.Name), Library: module.path == stdlib.Module}
	definition := filepath.Join(pkg, r.Name+".cue")
	if w.Library {
		definition = filepath.Join(w.Folder, r.Name+".cue")
	}
	existing, err := filepath.Glob(filepath.Join(pkg, "*.cue"))
	if err != nil {
		return w, err
	}
	n.First = len(existing) == 0
	n.Component, n.Base, n.Imports = n.Import+"."+r.Name, string(r.Kind)+".", fmt.Sprintf("(\n\t\"tenon.dev/%s\"\n\t\"tenon.dev/tenon\"\n)", r.Kind)
	if w.Library {
		n.Component = r.Package + "." + r.Name
		if r.Package == string(r.Kind) {
			n.Base, n.Imports = "", `"tenon.dev/tenon"`
		}
	}
	if r.Kind == "train" {
		n.Imports = `"tenon.dev/train"`
		if n.Base == "" {
			n.Imports = ""
		}
	}
	w.Component = n.Component
	files, err := fill(r.Kind, n, w.Folder, definition)
	if err != nil {
		return w, err
	}
	if err := requirements(files, r.Kind, w); err != nil {
		return w, err
	}
	if module.new != nil {
		files[filepath.Join(r.Dir, "cue.mod", "module.cue")] = module.new
	}
	return w, write(&w, files)
}

// fill executes the templates of a kind.
func fill(kind Kind, n names, folder, definition string) (map[string][]byte, error) {
	files := map[string][]byte{}
	root := "templates/" + string(kind)
	err := fs.WalkDir(templates, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := templates.ReadFile(p)
		if err != nil {
			return err
		}
		t, err := template.New(p).Delims("<<", ">>").Parse(string(b))
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := t.Execute(&out, n); err != nil {
			return err
		}
		rel := strings.TrimPrefix(p, root+"/")
		to := filepath.Join(folder, filepath.FromSlash(rel))
		if rel == "definition.cue" {
			to = definition
		}
		files[to] = bytes.ReplaceAll(out.Bytes(), []byte("import \n\n"), nil)
		return nil
	})
	return files, err
}

// requirements adds the packages of the library that the component starts with, and their
// lock.
func requirements(files map[string][]byte, kind Kind, w Written) error {
	shared := "lib/" + Kinds[kind] + "/"
	lock, err := fs.ReadFile(stdlib.Files(), shared+"requirements.lock")
	if err != nil {
		return err
	}
	in := "-r ../../" + shared + "requirements.in\n"
	if !w.Library {
		packages, err := direct(shared + "requirements.in")
		if err != nil {
			return err
		}
		in = relock + strings.Join(packages, "\n") + "\n"
	}
	files[filepath.Join(w.Folder, "requirements.in")] = []byte(in)
	files[filepath.Join(w.Folder, "requirements.lock")] = lock
	return nil
}

const relock = "# uv pip compile --universal --generate-hashes --python-version " + stdlib.PythonVersion +
	" -o requirements.lock requirements.in\n"

// direct returns the packages in a requirements file of the library, and in those that it
// includes.
func direct(file string) (packages []string, err error) {
	b, err := fs.ReadFile(stdlib.Files(), file)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if included, ok := strings.CutPrefix(line, "-r "); ok {
			more, err := direct(path.Join(path.Dir(file), included))
			if err != nil {
				return nil, err
			}
			packages = append(packages, more...)
		} else if line != "" && line[0] != '#' {
			packages = append(packages, line)
		}
	}
	return packages, nil
}

// write writes the files, if none of them exists.
func write(w *Written, files map[string][]byte) error {
	for name := range files {
		if _, err := os.Lstat(name); err == nil {
			return &existsError{name}
		}
	}
	for name, b := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			return err
		}
		w.Files = append(w.Files, name)
	}
	slices.Sort(w.Files)
	return nil
}

// A module is the CUE module that contains a folder.
type module struct {
	path  string // "example.com/acme@v0"
	below string // path of the folder in it
	new   []byte // its module.cue, if it is still to be written
}

func moduleOf(dir string) (module, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return module{}, err
	}
	for d := abs; ; d = filepath.Dir(d) {
		file := filepath.Join(d, "cue.mod", "module.cue")
		b, err := os.ReadFile(file)
		if err == nil {
			f, err := modfile.ParseNonStrict(b, file)
			if err != nil {
				return module{}, err
			}
			if f.Module != stdlib.Module && f.Deps[stdlib.Module] == nil {
				return module{}, fmt.Errorf("%s does not depend on %s: run tenon init %s to add it", file, stdlib.Module, d)
			}
			rel, err := filepath.Rel(d, abs)
			return module{path: f.Module, below: filepath.ToSlash(rel)}, err
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return module{}, err
		}
		if d == filepath.Dir(d) {
			break
		}
	}
	m := module{path: "example.com/" + lower(filepath.Base(abs)) + "@v0"}
	f := &modfile.File{
		Module: m.path, Language: &modfile.Language{Version: "v0.17.0"}, Source: &modfile.Source{Kind: "self"},
		Deps: map[string]*modfile.Dep{stdlib.Module: {Version: stdlib.Version, Default: true}},
	}
	m.new, err = modfile.Format(f)
	return m, err
}

// lower converts the name of a folder to the last part of a module path.
func lower(name string) string {
	name = strings.Trim(regexp.MustCompile(`[^a-z0-9_-]+`).ReplaceAllString(strings.ToLower(name), "-"), "-_")
	if name == "" {
		return "components"
	}
	return name
}

// typeName returns the name of the definition: #ByTime for by_time.
func typeName(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "_") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}
