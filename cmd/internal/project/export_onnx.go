package project

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/internal/bundle"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// FormatONNX is a deployment as one graph, from the columns of a request to predictions.
const FormatONNX = "onnx"

// A Tensor is an input or an output of a graph.
type Tensor struct {
	Name string `json:"name"`
	Type string `json:"type"` // of the elements, as ONNX names it: "double"
}

//go:embed export_onnx.py
var exportONNX []byte

// beside are the parameters of a service, in addition to those that are portable, that say who may
// ask it, and what it does beside its predictions. A graph answers nobody, so it leaves them out,
// with the secrets that they need.
var beside = []string{"audit", "auth", "cors", "limits", "management", "parity", "queries", "tls"}

// graph exports a deployment as a graph.
func (x *exporting) graph(ctx context.Context, o ExportOptions) (*ExportedService, error) {
	if x.Platform != "" || x.Program != "" || x.Sign != "" || x.Push != "" {
		return nil, &RequestError{errors.New("a graph is the same for every platform, and neither signed nor pushed: --platform, --program, --sign and --push are for other formats")}
	}
	if err := x.refused(slices.Concat(bundle.Portable, beside)); err != nil {
		return nil, err
	}
	e := &ExportedService{Unit: x.unit.ID, Format: o.Format, Path: o.To}
	if e.Path == "" {
		_, e.Path, _ = strings.Cut(x.unit.Entity, "/")
		e.Path += ".onnx"
	}
	if info, err := os.Lstat(e.Path); err == nil && (info.IsDir() || !o.Force) {
		return nil, existsError(e.Path)
	}
	return e, inPlace(e.Path, "export to "+e.Path, o.Force, func(made string) error { return x.onnx(ctx, made, e) })
}

// onnx writes the graph of a deployment, once it has predicted rows of training as the service does.
func (x *exporting) onnx(ctx context.Context, to string, e *ExportedService) (err error) {
	dir, err := os.MkdirTemp("", "tenon-onnx-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.RemoveAll(dir)) }()
	s, err := x.service(ctx)
	if err != nil {
		return err
	}
	var given struct {
		Request json.RawMessage `json:"request"`
	}
	if err := json.Unmarshal(s.Params, &given); err != nil {
		return fmt.Errorf("read the parameters of %s: %w", x.unit.ID, err)
	}
	ask := map[string]any{"request": given.Request, "to": filepath.Join(dir, "graph.onnx"), "answer": filepath.Join(dir, "answer.json"), "sample": nil}
	if given.Request != nil {
		if ask["sample"], err = x.sample(ctx, s, dir); err != nil {
			return err
		}
	}
	params, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	lock, err := fs.ReadFile(stdlib.Files(), "train/onnx/requirements.lock")
	if err != nil {
		return err
	}
	env := &Environment{Unit: "tenon export", Requirements: lock, Packages: pyenv.Requirements(lock)}
	python, err := x.interpreter(ctx, env)
	if err != nil {
		return err
	}
	var answer struct {
		Refused *unfit   `json:"refused"`
		Rows    int      `json:"rows"`
		Inputs  []Tensor `json:"inputs"`
		Outputs []Tensor `json:"outputs"`
	}
	t := executors.Task{Unit: ir.Unit{ID: x.unit.ID, Component: "export.onnx", Params: params}, Inputs: map[string]step.Port{"model": s.Inputs["model"]}}
	err = question{entity: x.unit.ID}.run(ctx, x.set.Environ, python, exportONNX, t, func(string) error {
		b, err := os.ReadFile(filepath.Join(dir, "answer.json"))
		if err == nil {
			err = json.Unmarshal(b, &answer)
		}
		return err
	})
	if err != nil {
		return err
	}
	if r := answer.Refused; r != nil {
		return &RequestError{fmt.Errorf("%s does not fit into a graph: %s%s", x.unit.ID, r.Says, x.place(r))}
	}
	e.Rows, e.Inputs, e.Outputs, e.Tested = answer.Rows, answer.Inputs, answer.Outputs, true
	if e.Digest, err = files.SHA256(filepath.Join(dir, "graph.onnx")); err != nil {
		return err
	}
	e.Digest = "sha256:" + e.Digest
	return files.CopyTree(ctx, filepath.Join(dir, "graph.onnx"), to, 0o755, 0o644)
}

// sample writes rows of training with what the service computes of them, and returns the file.
func (x *exporting) sample(ctx context.Context, s step.Step, dir string) (string, error) {
	if x.unit.Code.Runtime == ir.PlaneDuckDB {
		return "", &RequestError{fmt.Errorf("%s cannot be exported as a graph: its features are computed from a request, and its model needs ONNX Runtime or DuckDB", x.unit.ID)}
	}
	s.Inputs = maps.Clone(s.Inputs)
	maps.DeleteFunc(s.Inputs, func(port string, _ step.Port) bool { return strings.HasPrefix(port, "queries_") }) // of checks
	q := bundle.Question{Service: s, Rows: x.Rows, Dir: filepath.Join(dir, "bundle")}
	if err := os.Mkdir(q.Dir, 0o755); err != nil {
		return "", err
	}
	var err error
	if q.Features, q.Source, err = x.training(ctx); err != nil {
		return "", err
	}
	serve, err := x.set.Programs.Serve(ctx)
	if err != nil {
		return "", err
	}
	_, err = x.ask(ctx, serve, q, "bundle")
	return filepath.Join(q.Dir, bundle.Selftest), err
}

// An unfit part of a deployment is why there is no graph of it.
type unfit struct {
	Says   string `json:"says"`
	Plan   int    `json:"plan"`   // the index of the query, or -1
	Column string `json:"column"` // of the query, or ""
	Word   string `json:"word"`   // the function in its text, or ""
}

// place says where an unfit part is, as ", in the column hour of features/rows (line 3, column 8 of
// its query)". The line is only known of a function that the query has once: plans keep no places.
func (x *exporting) place(r *unfit) string {
	check := x.units[x.unit.Entity+"/parity"]
	var given struct {
		Request struct {
			Plans []struct {
				Request struct {
					Name string `json:"name"`
				} `json:"request"`
			} `json:"plans"`
		} `json:"request"`
	}
	if check == nil || r.Plan < 0 || json.Unmarshal(x.unit.Params, &given) != nil {
		return ""
	}
	from := func(u *ir.Unit, port string) *ir.Unit {
		i := slices.IndexFunc(u.Inputs, func(in ir.Input) bool { return in.Port == port })
		if i < 0 {
			return nil
		}
		return x.units[u.Inputs[i].Unit]
	}
	u := from(check, "features")
	for i := len(given.Request.Plans) - 1; i > r.Plan && u != nil; i-- {
		u = from(u, given.Request.Plans[i].Request.Name)
	}
	if u == nil {
		return ""
	}
	says := ", in " + u.Entity
	if r.Column != "" {
		says = fmt.Sprintf(", in the column %s of %s", r.Column, u.Entity)
	}
	var params struct {
		SQL string `json:"sql"`
	}
	if r.Word == "" || json.Unmarshal(u.Params, &params) != nil {
		return says
	}
	found := regexp.MustCompile(`(?i)\b`+regexp.QuoteMeta(r.Word)+`\s*\(`).FindAllStringIndex(params.SQL, -1)
	if len(found) != 1 {
		return says
	}
	before := params.SQL[:found[0][0]]
	return fmt.Sprintf("%s (line %d, column %d of its query)", says, strings.Count(before, "\n")+1, len(before)-strings.LastIndex(before, "\n"))
}
