package compiler

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	cueerrors "cuelang.org/go/cue/errors"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/lang"
)

// A component is what the package of a definition states under `components`; see
// tenon.#Component for the fields.
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
	Divides     *divides               `json:"divides"`
	Unavailable *unavailable           `json:"unavailable"`
	Serves      *serves                `json:"serves"`
	Edge        *edge                  `json:"edge"`
	SQL         string                 `json:"sql"`
	Distributed bool                   `json:"distributed"`
	Limits      []string               `json:"limits"`

	fault  error   // of the component itself
	stages []stage // in the order of the definition; the unit comes first, without a name
	code   *codeOf // set by the first request
}

type columnField struct {
	Of   string `json:"of"`
	Type string `json:"type"`
}

type divides struct {
	By     string `json:"by"`
	Column string `json:"column"`
}

type unavailable struct {
	Field string `json:"field"`
	Model string `json:"model"`
}

type serves struct {
	Model   string `json:"model"`
	Table   string `json:"table"`
	Request string `json:"request"`
	Lookup  string `json:"lookup"`
	Returns string `json:"returns"`
	History string `json:"history"`
	Events  string `json:"events"`
	Engine  string `json:"engine"`
	Parity  string `json:"parity"`
	Log     string `json:"log"`
}

type edge struct {
	ir.EdgeFields
	Scopes map[string]string `json:"scopes"`
}

type predicts struct {
	Model string   `json:"model"`
	Table string   `json:"table"`
	Adds  []string `json:"adds"`
}

// A stage becomes one unit of an entity.
type stage struct {
	name string // "" for a single stage

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
	Loaded      loaded            `json:"loaded"`
	Params      []string          `json:"params"`
	Document    string            `json:"document"`
	Names       map[string]string `json:"names"`
	Computed    bool              `json:"computed"`
	Request     bool              `json:"request"`
	Private     bool              `json:"private"`
	Queries     string            `json:"queries"`
	Keeps       []string          `json:"keeps"`
	Ships       map[string]ships  `json:"ships"`
	// MachineFiles are fields that may have the path of a file of the machine that runs it.
	MachineFiles []string        `json:"machine_files"`
	Release      string          `json:"release"`
	Files        []string        `json:"files"`
	Reads        string          `json:"reads"`
	Looks        string          `json:"looks"`
	Code         []string        `json:"code"`
	Calls        *call           `json:"calls"`
	ONNX         *onnxFields     `json:"onnx"`
	Makes        []made          `json:"makes"`
	Image        string          `json:"image"`
	Command      string          `json:"command"`
	Secrets      secretFields    `json:"secrets"`
	Seed         string          `json:"seed"`
	Checkpoints  string          `json:"checkpoints"`
	Network      string          `json:"network"`
	Reaches      []string        `json:"reaches"`
	Endpoint     *endpointFields `json:"endpoint"`
	Light        bool            `json:"light"`
	Alone        bool            `json:"alone"`
	Expands      *expansion      `json:"expands"`

	inputs  []stageInput  // nil means those of the entity
	outputs []stageOutput // nil means those of the entity
}

// ships are the files that a service writes because of a field in Keeps.
type ships struct {
	Folder string `json:"folder"`
	Most   string `json:"most"` // field with the size of all of them
}

// environment selects the lock of Python packages of a stage; the zero value is the one
// beside the component's script.
type environment struct {
	Shared string `json:"shared"`
	Stage  string `json:"stage"`
	Model  string `json:"model"`
}

// loaded says how others load the model that a stage makes; the zero value is as the stage
// itself.
type loaded struct {
	Shared string `json:"shared"`
	Native bool   `json:"native"`
}

// secretFields lists fields with a secret by variable, or one field with secrets by
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
	TLS      string `json:"tls"`
	// Management is the field with another host and port.
	Management string `json:"management"`
}

type stageInput struct {
	port      string
	From      string `json:"from"`
	Model     string `json:"model"`
	Kind      string `json:"kind"`
	If        string `json:"if"`
	Incumbent bool   `json:"incumbent"`
	Advisory  bool   `json:"advisory"`
}

type stageOutput struct {
	port      string
	Like      string `json:"like"`
	Out       string `json:"out"`
	Kind      string `json:"kind"`
	KeysFirst bool   `json:"keys_first"`
}

// A noComponentError means that the package of a definition does not state its component.
type noComponentError struct{ found, hint string }

func (e *noComponentError) Error() string { return e.found }

// A componentError is a fault of a component, which its author has to fix.
type componentError struct {
	of      *component
	field   []string // within the statement; "" for all of it
	message string   // after "the component NAME"
	found   string
	hint    string
}

func (e *componentError) Error() string { return "the component " + e.of.name + " " + e.message }

// component returns what a package states about a component. The last part of the name
// belongs to the component, the rest to the package; a name without a domain belongs to
// the library.
func (c *program) component(name string) (*component, error) {
	if k, ok := c.components[name]; ok {
		return k, k.fault
	}
	at := strings.LastIndex(name, ".")
	if at < 0 || strings.Contains(name[at:], "/") {
		return nil, &noComponentError{found: fmt.Sprintf("%q, which is not of the form PACKAGE.NAME", name)}
	}
	pkgPath, own := name[:at], name[at+1:]
	if first, _, _ := strings.Cut(pkgPath, "/"); !strings.Contains(first, ".") {
		pkgPath = "tenon.dev/" + pkgPath
	}
	pkg, err := c.sys.Package(pkgPath)
	if err != nil {
		return nil, &noComponentError{found: err.Error(), hint: "the name of a component is the path of its package, a dot, and its name under `components`"}
	}
	v := pkg.Value.LookupPath(cue.MakePath(cue.Str("components"), cue.Str(own)))
	if !v.Exists() {
		return nil, &noComponentError{found: fmt.Sprintf("%s does not define components: %s", pkgPath, own), hint: diag.DidYouMean(own, componentNames(pkg))}
	}
	k := &component{name: name, folder: own, pkg: pkg}
	c.components[name] = k
	if k.fault = c.decodeComponent(k, v); k.fault == nil {
		k.fault = k.check()
	}
	return k, k.fault
}

func componentNames(pkg lang.Package) []string {
	var names []string
	if it, err := at(pkg.Value, "components").Fields(); err == nil {
		for it.Next() {
			names = append(names, it.Selector().Unquoted())
		}
	}
	return names
}

// decodeComponent decodes what a package states about a component. The library's
// statements are known to be a tenon.#Component; any other is checked here.
func (c *program) decodeComponent(k *component, v cue.Value) error {
	if !k.pkg.Library() {
		tenon, err := c.sys.Package("tenon.dev/tenon")
		if err != nil {
			return &componentError{of: k, message: "cannot be checked against tenon.#Component: " + err.Error()}
		}
		v = v.Unify(tenon.Value.LookupPath(cue.ParsePath("#Component")))
	}
	if err := v.Validate(cue.Concrete(true), cue.Final()); err != nil {
		return k.invalid(err)
	}
	if err := k.decode(v); err != nil {
		return &componentError{of: k, message: "cannot be read: " + err.Error()}
	}
	return nil
}

// invalid returns the first of the errors that CUE finds.
func (k *component) invalid(err error) error {
	var said []string
	var field []string
	for _, e := range cueerrors.Errors(err) {
		format, args := e.Msg()
		text := fmt.Sprintf(format, args...)
		switch {
		case said == nil:
			field = e.Path()
		case !slices.Equal(e.Path(), field) || slices.Contains(said, text):
			continue
		}
		said = append(said, text)
	}
	if len(said) > 1 {
		said = said[1:] // the first message only counts the others
	}
	if len(field) > 2 && field[0] == "components" {
		field = field[2:]
	}
	return &componentError{
		of: k, field: field, message: fmt.Sprintf("is not a valid tenon.#Component: see %s", strings.Join(field, ".")),
		found: strings.Join(said, "\n"), hint: "docs/components.md describes the fields of a component",
	}
}

// check checks what the schema cannot express: references between stages, and what only
// the library may use.
func (k *component) check() error {
	fault := func(s *stage, field, message, hint string) error {
		return &componentError{of: k, field: s.at(field), message: message, hint: hint}
	}
	ownCode := !k.pkg.Library()
	if ownCode && len(k.stages) == 0 {
		return &componentError{of: k, message: "has neither a unit nor stages", hint: "for example, write unit: {runtime: \"python\"}"}
	}
	for port, name := range k.Gives {
		if k.stage(name) == nil {
			return &componentError{of: k, field: []string{"gives", port}, message: fmt.Sprintf("has no stage %q, which writes %s", name, port), hint: diag.DidYouMean(name, k.stageNames())}
		}
	}
	for i := range k.stages {
		s := &k.stages[i]
		if name, in := s.twice(); name != "" {
			return fault(s, in, fmt.Sprintf("has two parameters %q", name), "the name of a parameter is the last part of the path of its field")
		}
		runs := s.Part == "" && s.Use == "" && s.As == ""
		switch {
		case ownCode && runs && s.Kind == string(ir.Record):
			return fault(s, "kind", "is a record; only the library has records", "make it a job")
		case ownCode && (s.Runtime == string(ir.Builtin) || s.Runtime == string(ir.Plane)):
			return fault(s, "runtime", fmt.Sprintf("has the runtime %q, which runs code of tenon", s.Runtime), "use the runtime \"python\" or \"command\"")
		case ownCode && s.Reads != "":
			return fault(s, "reads", "reads a format of the library, which only components of the library do", "leave it out: its program checks its files")
		case s.Looks != "" && (slices.ContainsFunc(s.Params, func(p string) bool { return lastOf(p) == "look" }) || s.Document != "" || s.Kind != string(ir.Job)):
			return fault(s, "looks", "looks at data, but is no job with single parameters, or has a parameter \"look\" already", "make it a job, and give that parameter another name")
		case ownCode && s.Computed:
			return fault(s, "computed", "has computed parameters, which need code inside tenon", "declare the parameters as fields")
		case runs && s.Runtime == "" && s.Kind != string(ir.Record):
			return fault(s, "runtime", "has no runtime", `write runtime: "python" or "command"`)
		case s.Runtime == string(ir.Command) && s.Command == "":
			return fault(s, "command", "has the runtime \"command\" but no field with the command", `write command: "command"`)
		case s.Endpoint != nil && s.Kind != string(ir.Service):
			return fault(s, "endpoint", "has an endpoint, but only a service can listen", `make it a service: kind: "service"`)
		case s.Document != "" && len(s.Params)+len(s.Names) > 0:
			return fault(s, "document", "binds both a document and single parameters", "bind either one field with all parameters, or each of them")
		case slices.ContainsFunc(s.Makes, func(m made) bool { return (m.Path == "") == (m.Is == "") }):
			return fault(s, "makes", "has an entry in makes without an import path, or with two", "write path or is")
		case s.Environment.Stage != "" && k.stage(s.Environment.Stage) == nil:
			return fault(s, "environment.stage", fmt.Sprintf("uses the environment of a stage %q, which does not exist", s.Environment.Stage), diag.DidYouMean(s.Environment.Stage, k.stageNames()))
		}
		for _, in := range s.inputs {
			from, port := cutPath(in.From)
			if from == "request" {
				if k.Serves == nil || !slices.Contains([]string{"row", "lookups", "stored", "history", "queries"}, port) {
					return fault(s, "inputs."+in.port, fmt.Sprintf("has no %q, which an input refers to", in.From), `"request.row", "request.lookups", "request.stored", "request.history" and "request.queries" belong to serves`)
				}
				continue
			}
			if from == "in" || in.Model != "" {
				continue
			}
			of := k.stage(from)
			if of == nil || of.outputs != nil && !slices.ContainsFunc(of.outputs, func(o stageOutput) bool { return o.port == port }) {
				return fault(s, "inputs."+in.port, fmt.Sprintf("has no %q, which an input refers to", in.From), "an input is in.PORT of the entity, or STAGE.PORT")
			}
		}
		for _, out := range s.outputs {
			if out.Like == "" && out.Out == "" && out.Kind == "" {
				return fault(s, "outputs."+out.port, fmt.Sprintf("does not declare its output %s", out.port), "write like, out or kind")
			}
		}
	}
	return nil
}

// twice returns the name that two parameters of the stage share, and where the second one
// is stated, or "".
func (s *stage) twice() (name, in string) {
	seen := map[string]bool{}
	for _, p := range s.Params {
		if seen[lastOf(p)] {
			return lastOf(p), "params"
		}
		seen[lastOf(p)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(s.Names)) {
		if seen[name] {
			return name, "names." + name
		}
	}
	return "", ""
}

// at returns the path of a field of the stage within what states the component.
func (s *stage) at(field string) []string {
	at := []string{"unit"}
	if s.name != "" {
		at = []string{"stages", s.name}
	}
	return append(at, strings.Split(field, ".")...)
}

func (k *component) stageNames() []string {
	var names []string
	for i := range k.stages {
		names = append(names, k.stages[i].name)
	}
	return names
}

// decode decodes a valid statement.
func (k *component) decode(v cue.Value) error {
	tree, err := decode(v)
	if err != nil {
		return err
	}
	o, _ := tree.(object)
	if err := json.Unmarshal(o.json(), k); err != nil {
		return err
	}
	var stages object
	if unit, ok := o.get("unit").(object); ok {
		stages = object{{"", unit}}
	}
	others, _ := o.get("stages").(object)
	for _, f := range append(stages, others...) {
		s, _ := f.value.(object)
		st, err := decodeStage(f.name, s)
		if err != nil {
			return fmt.Errorf("stage %q: %w", f.name, err)
		}
		k.stages = append(k.stages, st)
	}
	return nil
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

// missing reports whether a stage is left out because the entity lacks the part that it runs.
func (s *stage) missing(e *entity) bool {
	return s.Part != "" && s.If != "" && !present(e.fields, s.If)
}

// unit returns the id of the unit behind an output that others read.
func (k *component) unit(entity, port string) string {
	if s := k.Gives[port]; s != "" {
		return entity + "/" + s
	}
	return entity
}
