package project

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// PredictOptions say what to predict for, and where the predictions go.
type PredictOptions struct {
	Data     string // path of a table (.parquet) or of a request (.json); "" only describes the model
	To       string // path of the table of predictions
	Revision int    // whose model predicts; 0 is what is deployed
	Force    bool   // replace what is at To
	// Probabilities asks a classifier for the probability of every class.
	Probabilities bool
}

// A Predicted is a model and what it predicted.
type Predicted struct {
	Unit      string       `json:"unit"`
	Port      string       `json:"port"`
	Digest    string       `json:"digest"` // of the model
	Version   int          `json:"version,omitempty"`
	Signature ir.Signature `json:"signature"`
	// Answer is that of the service to the request, Path the table of predictions.
	Answer json.RawMessage `json:"answer,omitempty"`
	Path   string          `json:"path,omitempty"`
}

// Predict asks a model in the environment that it was trained in. A table gets what
// serve.#Batch would write, without keys, and a request what serve.#HTTP would answer:
// the code that runs is that of these components.
func (w *Workspace) Predict(ctx context.Context, name string, o PredictOptions) (*Predicted, error) {
	found, err := w.exportable(ctx, o.Revision)
	if err != nil {
		return nil, err
	}
	e, err := found.choose(name)
	if err != nil {
		return nil, err
	}
	if e.Kind != string(ir.Model) {
		return nil, &RequestError{fmt.Errorf("%s.%s is a %s, not a model", e.Unit, e.Port, e.Kind)}
	}
	if err := w.check(ctx, e); err != nil {
		return nil, fmt.Errorf("read the model %s.%s: %w", e.Unit, e.Port, err)
	}
	p := &Predicted{Unit: e.Unit, Port: e.Port, Digest: e.Digest}
	b, err := os.ReadFile(filepath.Join(w.artifacts.Path(e.Digest), "signature.json"))
	if err == nil {
		err = json.Unmarshal(b, &p.Signature)
	}
	if err != nil {
		return nil, fmt.Errorf("read the signature of the model %s.%s: %w", e.Unit, e.Port, err)
	}
	entity, _ := ir.SplitID(found.now(e.Unit))
	versions, err := w.store.ModelVersions(ctx, entity)
	if err != nil {
		return nil, err
	}
	q := question{
		entity: entity, model: step.Port{Kind: ir.Model, Path: w.artifacts.Path(e.Digest), Digest: e.Digest}, signature: p.Signature,
		probabilities: o.Probabilities,
	}
	for _, v := range versions {
		if v.Digest == e.Digest {
			p.Version, q.model.Version, q.model.Created = v.Version, v.Version, v.Created.UTC().Format(time.RFC3339Nano)
		}
	}
	if o.Data == "" {
		return p, nil
	}
	if q.data, err = filepath.Abs(o.Data); err != nil {
		return nil, err
	}
	if _, err := os.Stat(q.data); err != nil {
		return nil, fmt.Errorf("read the data: %w", err)
	}
	table := strings.EqualFold(filepath.Ext(o.Data), ".parquet")
	switch {
	case !table && !strings.EqualFold(filepath.Ext(o.Data), ".json"):
		return nil, &RequestError{fmt.Errorf("%s is neither a table, FILE.parquet, nor a request, FILE.json", o.Data)}
	case table && o.To == "":
		return nil, &RequestError{errors.New("name a file for the predictions, with --to predictions.parquet")}
	case !table && o.To != "":
		return nil, &RequestError{errors.New("--to is for tables: the answer to a request is printed")}
	case table && !o.Force && exists(o.To):
		return nil, existsError(o.To)
	case o.Probabilities && p.Signature.Task != "classification":
		return nil, &RequestError{fmt.Errorf("--probabilities is for classifiers: %s.%s is a %s", e.Unit, e.Port, p.Signature.Task)}
	}
	env, err := w.environment(ctx, found, e)
	if err != nil {
		return nil, err
	}
	python, err := w.interpreter(ctx, env)
	if err != nil {
		return nil, err
	}
	if !table {
		p.Answer, err = q.request(ctx, w.set.Environ, python)
		return p, err
	}
	p.Path = o.To
	return p, inPlace(o.To, "predict to "+o.To, o.Force, func(made string) error {
		return q.table(ctx, w.set.Environ, python, made)
	})
}

// interpreter returns the interpreter of an environment, which it makes if it is missing.
func (w *Workspace) interpreter(ctx context.Context, env *Environment) (string, error) {
	reported := false
	return w.environments().Ensure(ctx, env.Requirements, func(at pyenv.Progress) {
		if at.Stage == pyenv.Fetching && !reported {
			reported = true
			w.set.notify(Notice{Text: fmt.Sprintf("making the Python environment of %s: %d packages", env.Unit, len(env.Packages))})
		}
	})
}

// A question is what a model is asked, in a process of its own.
type question struct {
	entity    string // of the model
	model     step.Port
	signature ir.Signature
	data      string // path
	// probabilities asks for that of every class.
	probabilities bool
	copied        ir.Schema // columns of the data that the predictions have, too
}

// classes returns the names of a classifier's classes, as predictions have them.
func (q question) classes() ([]string, error) {
	var info struct {
		Classes []json.RawMessage `json:"classes"`
	}
	b, err := os.ReadFile(filepath.Join(q.model.Path, "model.json"))
	if err == nil {
		err = json.Unmarshal(b, &info)
	}
	if err != nil {
		return nil, fmt.Errorf("read the classes of the model: %w", err)
	}
	var names []string
	for _, c := range info.Classes {
		name := string(c) // of a number, true or false
		if c[0] == '"' {
			if err := json.Unmarshal(c, &name); err != nil {
				return nil, fmt.Errorf("read the classes of the model: %w", err)
			}
		}
		names = append(names, name)
	}
	return names, nil
}

// table writes the predictions for the rows of a table.
func (q question) table(ctx context.Context, environ []string, python, to string) error {
	label := q.signature.Output
	schema := append(slices.Clone(q.copied), ir.Column{Name: "prediction", Type: label.Type})
	if q.signature.Task == "classification" {
		schema = append(schema, ir.Column{Name: "probability", Type: "float64", Nullable: true})
	}
	if q.probabilities {
		classes, err := q.classes()
		if err != nil {
			return err
		}
		for _, name := range classes {
			schema = append(schema, ir.Column{Name: "probability_" + name, Type: "float64", Nullable: true})
		}
	}
	params, err := json.Marshal(map[string]any{"probabilities": q.probabilities})
	if err != nil {
		return err
	}
	main, err := fs.ReadFile(stdlib.Files(), "serve/batch/main.py")
	if err != nil {
		return err
	}
	return q.run(ctx, environ, python, main, executors.Task{
		Unit: ir.Unit{ID: q.entity, Component: "serve.batch", Params: params, Outputs: []ir.Output{{Port: "out", Kind: ir.Table, Schema: schema}}},
		Inputs: map[string]step.Port{
			"model": q.model,
			"table": {Kind: ir.Table, Format: "parquet", Path: q.data, Schema: q.signature.Input},
		},
	}, func(dir string) error { return files.CopyTree(ctx, filepath.Join(dir, "out", "out"), to, 0o755, 0o644) })
}

//go:embed predict_rows.py
var predictRows []byte

// request returns the answer to a request.
func (q question) request(ctx context.Context, environ []string, python string) (answer []byte, err error) {
	dir, err := os.MkdirTemp("", "tenon-answer-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	at := filepath.Join(dir, "answer.json")
	_, name, _ := strings.Cut(q.entity, "/")
	query := ""
	if q.probabilities {
		query = "probabilities=true"
	}
	params, err := json.Marshal(map[string]any{
		"model": name, "request": q.data, "query": query, "answer": at, "max_instances": math.MaxInt32, "max_bytes": math.MaxInt32,
	})
	if err != nil {
		return nil, err
	}
	err = q.run(ctx, environ, python, predictRows, executors.Task{
		Unit:   ir.Unit{ID: q.entity, Component: "serve.http", Params: params},
		Inputs: map[string]step.Port{"model": q.model},
	}, func(string) error {
		answer, err = os.ReadFile(at)
		return err
	})
	return answer, err
}

// run runs a program beside the code of the library that it imports. done gets the folder
// of the run.
func (q question) run(ctx context.Context, environ []string, python string, main []byte, t executors.Task, done func(dir string) error) (err error) {
	if t.Dir, err = os.MkdirTemp("", "tenon-predict-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.RemoveAll(t.Dir)) }()
	t.Code = filepath.Join(t.Dir, "code")
	if err := layLibrary(t.Code); err != nil {
		return err
	}
	program := filepath.Join(t.Code, "main.py")
	if err := os.WriteFile(program, main, 0o644); err != nil {
		return err
	}
	doc := local.Document(t)
	if err := local.WriteDocument(t, doc); err != nil {
		return err
	}
	env := local.Inherited(environ)
	maps.Copy(env, local.Variables(t.Unit))
	env["TMPDIR"], env[step.Env] = doc.Scratch, local.DocumentPath(t.Dir)
	cmd := exec.CommandContext(ctx, python, program)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	var log bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.Code, &log, &log
	// A model may start processes, which end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%s: %w", q.entity, explained(err, log.String()))
	}
	return done(t.Dir)
}

// explained returns the error that a program printed, or everything that it printed.
func explained(err error, log string) error {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if text, ok := strings.CutPrefix(lines[len(lines)-1], "error: "); ok {
		return errors.New(text)
	}
	return fmt.Errorf("the prediction failed: %w\n%s", err, strings.TrimSpace(log))
}

// layLibrary writes the modules of the library that predict to a folder.
func layLibrary(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	lib, err := fs.Glob(stdlib.Files(), "lib/*/tenon_*.py")
	if err != nil {
		return err
	}
	service, err := fs.Glob(stdlib.Files(), "serve/http/tenon_*.py")
	if err != nil {
		return err
	}
	for _, file := range append(lib, service...) {
		b, err := fs.ReadFile(stdlib.Files(), file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, path.Base(file)), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
