package compiler

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"cuelang.org/go/cue"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/stdlib"
)

// A component is what the package of a definition states under `components`; see
// tenon.#Component for what the fields mean.
type component struct {
	name   string // "source.csv"
	folder string // of its code, in the package
	pkg    lang.Package

	Section     string                 `json:"section"`
	Gives       map[string]string      `json:"gives"`
	Declares    []string               `json:"declares"`
	Columns     map[string]columnField `json:"columns"`
	Times       []string               `json:"times"`
	ImportPaths []string               `json:"import_paths"`
	Predicts    *predicts              `json:"predicts"`
	SQL         string                 `json:"sql"`
	Distributed bool                   `json:"distributed"`
	Limits      []string               `json:"limits"`

	stages []stage // in the order of the definition; one without a name is the only one
	code   *codeOf // once it is asked for
}

type columnField struct {
	Of   string `json:"of"`
	Type string `json:"type"`
}

type predicts struct {
	Model string   `json:"model"`
	Table string   `json:"table"`
	Adds  []string `json:"adds"`
}

// A stage is one unit that an entity becomes.
type stage struct {
	name string // "" for the only one

	Part string `json:"part"`
	Use  string `json:"use"`
	Of   string `json:"of"`
	As   string `json:"as"`
	If   string `json:"if"`

	Kind        string            `json:"kind"`
	Runtime     string            `json:"runtime"`
	Main        string            `json:"main"`
	Environment environment       `json:"environment"`
	Packages    string            `json:"packages"`
	Params      []string          `json:"params"`
	Document    string            `json:"document"`
	Names       map[string]string `json:"names"`
	Computed    bool              `json:"computed"`
	Files       []string          `json:"files"`
	Code        []string          `json:"code"`
	Image       string            `json:"image"`
	Command     string            `json:"command"`
	Secrets     secretFields      `json:"secrets"`
	Seed        string            `json:"seed"`
	Network     string            `json:"network"`
	Endpoint    *endpointFields   `json:"endpoint"`
	Light       bool              `json:"light"`
	Alone       bool              `json:"alone"`

	inputs  []stageInput  // nil for those of the entity
	outputs []stageOutput // nil for those of the entity
}

// environment says which lock of Python packages a stage has; the zero value is
// the one beside the component's script.
type environment struct {
	Shared string `json:"shared"`
	Stage  string `json:"stage"`
	Model  string `json:"model"`
}

// secretFields are fields with a secret by variable, or one field with secrets by
// variable.
type secretFields struct {
	field  string
	byName map[string]string
}

func (s *secretFields) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &s.field) == nil {
		return nil
	}
	return json.Unmarshal(b, &s.byName)
}

type endpointFields struct {
	Host     string `json:"host"`
	Port     string `json:"port"`
	Replicas string `json:"replicas"`
	Ready    string `json:"ready"`
}

type stageInput struct {
	port      string
	From      string `json:"from"`
	Model     string `json:"model"`
	Kind      string `json:"kind"`
	If        string `json:"if"`
	Incumbent bool   `json:"incumbent"`
}

type stageOutput struct {
	port      string
	Like      string `json:"like"`
	Out       string `json:"out"`
	Kind      string `json:"kind"`
	KeysFirst bool   `json:"keys_first"`
}

// errNoComponent is the fault of a definition whose package does not state what
// its component is.
var errNoComponent = errors.New("no such component")

// component returns what a package states of a component. The last part of the
// name is its own, the rest that of the package; one without a domain is of the
// library.
func (c *compilation) component(name string) (*component, error) {
	if k, ok := c.components[name]; ok {
		return k, nil
	}
	at := strings.LastIndex(name, ".")
	if at < 0 {
		return nil, fmt.Errorf("%w: %q has no package", errNoComponent, name)
	}
	pkgPath, own := name[:at], name[at+1:]
	if first, _, _ := strings.Cut(pkgPath, "/"); !strings.Contains(first, ".") {
		pkgPath = "tenon.dev/" + pkgPath
	}
	pkg, ok := c.sys.Package(pkgPath)
	if !ok {
		return nil, fmt.Errorf("%w: the package %s is not imported", errNoComponent, pkgPath)
	}
	v := pkg.Value.LookupPath(cue.MakePath(cue.Str("components"), cue.Str(own)))
	if !v.Exists() {
		return nil, fmt.Errorf("%w: %s states no components: %s", errNoComponent, pkgPath, own)
	}
	k, err := decodeComponent(v)
	if err != nil {
		return nil, fmt.Errorf("the component %s: %w", name, err)
	}
	k.name, k.folder, k.pkg = name, own, pkg
	c.components[name] = k
	return k, nil
}

func decodeComponent(v cue.Value) (*component, error) {
	if err := v.Validate(cue.Concrete(true), cue.Final()); err != nil {
		return nil, err
	}
	tree, err := decode(v, false)
	if err != nil {
		return nil, err
	}
	o, _ := tree.(object)
	k := &component{}
	if err := json.Unmarshal(o.json(), k); err != nil {
		return nil, err
	}
	if unit, ok := o.get("unit").(object); ok {
		o = append(o, field{"stages", object{{"", unit}}})
	}
	stages, _ := o.get("stages").(object)
	for _, f := range stages {
		s, _ := f.value.(object)
		st, err := decodeStage(f.name, s)
		if err != nil {
			return nil, fmt.Errorf("stage %q: %w", f.name, err)
		}
		k.stages = append(k.stages, st)
	}
	return k, nil
}

func decodeStage(name string, o object) (stage, error) {
	st := stage{name: name}
	wiring := o.only("inputs", "outputs")
	for _, n := range []string{"inputs", "outputs"} {
		o = o.without(n)
	}
	if err := json.Unmarshal(o.json(), &st); err != nil {
		return st, err
	}
	if inputs, ok := wiring.get("inputs").(object); ok {
		st.inputs = []stageInput{}
		for _, f := range inputs {
			in := stageInput{port: f.name}
			if from, short := f.value.(string); short {
				in.From = from
			} else if err := unmarshal(f.value, &in); err != nil {
				return st, err
			}
			st.inputs = append(st.inputs, in)
		}
	}
	if outputs, ok := wiring.get("outputs").(object); ok {
		st.outputs = []stageOutput{}
		for _, f := range outputs {
			out := stageOutput{port: f.name}
			if err := unmarshal(f.value, &out); err != nil {
				return st, err
			}
			st.outputs = append(st.outputs, out)
		}
	}
	return st, nil
}

func unmarshal(v, to any) error {
	b, err := json.Marshal(plain(v))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}

// stage returns the stage of a name, or nil.
func (k *component) stage(name string) *stage {
	for i := range k.stages {
		if k.stages[i].name == name {
			return &k.stages[i]
		}
	}
	return nil
}

// unit is the id of the unit behind an output that others read.
func (k *component) unit(entity, port string) string {
	if s := k.Gives[port]; s != "" {
		return entity + "/" + s
	}
	return entity
}

// A codeOf is the code of a component: its own files and those of the library that
// they import, directly or not. Tests, examples and documentation are left out.
type codeOf struct {
	files map[string][]byte // by path in the unit's library folder
	lock  []byte            // of its own environment, nil without one
	err   error
}

var (
	pythonImport = regexp.MustCompile(`(?m)^\s*(?:import|from) (tenon_\w+)`)
	goImport     = regexp.MustCompile(`(?m)^\s*(?:\w+ )?"github\.com/tenon-ml/tenon/stdlib/([\w/]+)"`)
)

// sources returns the code of the component: files in Go for one that Tenon runs
// itself, and all others for one in Python.
func (c *compilation) sources(k *component, runtime string) (*codeOf, error) {
	if k.code == nil {
		k.code = c.collect(k, runtime)
	}
	return k.code, k.code.err
}

func (c *compilation) collect(k *component, runtime string) *codeOf {
	code := &codeOf{files: map[string][]byte{}}
	code.err = c.addFolder(code, k.pkg.Files, k.pkg.Dir, k.folder)
	code.lock = code.files["requirements.lock"]
	maps.DeleteFunc(code.files, func(name string, _ []byte) bool {
		return name == "requirements.lock" || runtime == string(ir.Builtin) != (path.Ext(name) == ".go")
	})
	if code.err == nil && len(code.files) == 0 {
		code.err = fmt.Errorf("there is no code in its folder %s", k.folder)
	}
	if code.err == nil {
		code.err = code.addImports()
	}
	return code
}

// addFolder adds the files of a folder by their paths below it. dir is where its
// file system is on disk, or "".
func (c *compilation) addFolder(code *codeOf, fsys fs.FS, dir, folder string) error {
	return fs.WalkDir(fsys, folder, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != folder && !isCodeFolder(d.Name()) {
				return fs.SkipDir
			}
			c.recordNames(fsys, dir, p)
			return nil
		}
		if !isCode(d.Name()) {
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file", p)
		}
		b, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		c.recordFile(dir, p, b)
		code.files[strings.TrimPrefix(p, folder+"/")] = b
		return nil
	})
}

func isCodeFolder(name string) bool {
	return name != "testdata" && name != "tests" && name != "example" && name != "__pycache__" && name[0] != '.'
}

// isCode reports whether a file of a component's folder is part of its code.
func isCode(name string) bool {
	switch ext := path.Ext(name); {
	case strings.HasPrefix(name, "."), strings.HasPrefix(name, "test_"), strings.HasSuffix(name, "_test.go"), name == "conftest.py":
		return false
	case ext == ".cue", ext == ".md", ext == ".in", ext == ".pyc":
		return false
	}
	return true
}

// addImports adds files of the library until all that is imported is there.
func (code *codeOf) addImports() error {
	library := stdlib.Files()
	for added := true; added; {
		added = false
		for _, name := range code.names() {
			var patterns []string
			switch path.Ext(name) {
			case ".py":
				for _, m := range pythonImport.FindAllSubmatch(code.files[name], -1) {
					if file := string(m[1]) + ".py"; code.files[file] == nil {
						patterns = append(patterns, "lib/*/"+file)
					}
				}
			case ".go":
				for _, m := range goImport.FindAllSubmatch(code.files[name], -1) {
					patterns = append(patterns, string(m[1])+"/*.go")
				}
			}
			for _, pattern := range patterns {
				found, err := fs.Glob(library, pattern)
				if err != nil {
					return err
				}
				if len(found) == 0 {
					return fmt.Errorf("%s imports %s, which is not in the library", name, strings.TrimPrefix(pattern, "lib/*/"))
				}
				for _, f := range found {
					key := f
					if path.Ext(f) == ".py" {
						key = path.Base(f)
					}
					if !isCode(path.Base(f)) || code.files[key] != nil {
						continue
					}
					if code.files[key], err = fs.ReadFile(library, f); err != nil {
						return err
					}
					added = true
				}
			}
		}
	}
	return nil
}

func (code *codeOf) names() []string {
	names := make([]string, 0, len(code.files))
	for n := range code.files {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// digest names all the code by its content.
func (code *codeOf) digest() string {
	h := sha256.New()
	for _, n := range code.names() {
		sum := sha256.Sum256(code.files[n])
		fmt.Fprintf(h, "%q %x\n", n, sum)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// recordFile and recordNames tell the record of a compilation what was read of a
// component that is not embedded.
func (c *compilation) recordFile(dir, name string, b []byte) {
	if dir != "" {
		c.options.Record.File(filepath.Join(dir, filepath.FromSlash(name)), b)
	}
}

func (c *compilation) recordNames(fsys fs.FS, dir, folder string) {
	if dir == "" {
		return
	}
	entries, err := fs.ReadDir(fsys, folder)
	if err != nil {
		return // said by the walk
	}
	var names []string
	for _, e := range entries {
		if fingerprint.Counts(e.Name()) {
			names = append(names, e.Name())
		}
	}
	c.options.Record.Names(filepath.Join(dir, filepath.FromSlash(folder)), names)
}
