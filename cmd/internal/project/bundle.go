package project

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/internal/bundle"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// BundleOptions say how a deployment is exported.
type BundleOptions struct {
	Platform string // "linux/arm64"; "" is that of this machine
	Program  string // tenon-serve for it; "" is the one beside tenon
	Sign     string // file with a private key, or "env:NAME"; "" is not signed
	Private  bool   // values of private columns may leave
	Rows     int    // of training in the selftest
	Push     string // image: the name to push to, or ""
}

// Formats of a deployment.
const (
	FormatBundle = "bundle"
	FormatImage  = "image"
	FormatLambda = "lambda"
)

// ExportedService is what the export of a deployment wrote.
type ExportedService struct {
	Unit     string `json:"unit"`
	Format   string `json:"format"`
	Platform string `json:"platform,omitempty"`
	Path     string `json:"path"`
	Digest   string `json:"digest"` // of the manifest, or of the image
	Key      string `json:"key,omitempty"`
	Pushed   string `json:"pushed,omitempty"` // name of the image by its digest
	bundle.Answer
	Tested bool     `json:"tested"` // the selftest ran here
	Notes  []string `json:"notes,omitempty"`
	// Rows are those of training that a graph was compared with, Inputs and Outputs its tensors.
	Rows    int      `json:"rows,omitempty"`
	Inputs  []Tensor `json:"inputs,omitempty"`
	Outputs []Tensor `json:"outputs,omitempty"`
}

// ExportService writes a deployment for another place to run, which then is complete or absent.
func (w *Workspace) ExportService(ctx context.Context, name string, o ExportOptions, b BundleOptions) (*ExportedService, error) {
	x, err := w.exportedService(ctx, name, o.Revision)
	if err != nil {
		return nil, err
	}
	x.BundleOptions = b
	if o.Format == FormatONNX {
		return x.graph(ctx, o)
	}
	x.Platform = cmp.Or(b.Platform, runtime.GOOS+"/"+runtime.GOARCH)
	goos, goarch, ok := strings.Cut(x.Platform, "/")
	switch {
	case !ok || goos == "" || goarch == "" || strings.ContainsAny(goarch, "/.") || strings.ContainsAny(goos, "."):
		return nil, &RequestError{fmt.Errorf("%q is no platform, such as linux/arm64", x.Platform)}
	case o.Format != FormatBundle && goos != "linux", o.Format == FormatLambda && goarch != "amd64" && goarch != "arm64":
		return nil, &RequestError{fmt.Errorf("nothing runs --format %s on %s: take linux/amd64 or linux/arm64", o.Format, x.Platform)}
	case b.Push != "" && o.Format != FormatImage:
		return nil, &RequestError{errors.New("--push is for --format image")}
	}
	if err := x.refused(bundle.Portable); err != nil {
		return nil, err
	}
	if len(x.unit.Secrets) > 0 {
		return nil, &RequestError{fmt.Errorf("%s cannot be exported: it needs secrets: %s", x.unit.ID, x.unit.Secrets[0].Name)}
	}
	if x.unit.Code.Runtime == ir.PlaneDuckDB {
		return nil, &RequestError{fmt.Errorf(`%s cannot be exported: a part of its features is left to DuckDB (engine: "duckdb"), or its model needs ONNX Runtime`, x.unit.ID)}
	}
	if x.program, err = x.programFor(ctx, goos, goarch); err != nil {
		return nil, err
	}
	var key bundle.Private
	if b.Sign != "" {
		if key, err = w.PrivateKey(b.Sign); err != nil {
			return nil, err
		}
	}
	e := &ExportedService{Unit: x.unit.ID, Format: o.Format, Platform: x.Platform, Path: o.To}
	if e.Path == "" {
		_, e.Path, _ = strings.Cut(x.unit.Entity, "/")
		switch o.Format {
		case FormatImage:
			e.Path += ".tar"
		case FormatLambda:
			e.Path += ".zip"
		}
	}
	if info, err := os.Lstat(e.Path); err == nil && (o.Format == FormatBundle || info.IsDir()) {
		return nil, &RequestError{fmt.Errorf("%s exists already: remove it, or choose another name", e.Path)}
	} else if err == nil && !o.Force {
		return nil, existsError(e.Path)
	}
	err = inPlace(e.Path, "export to "+e.Path, o.Force, func(made string) error {
		dir := made
		if o.Format != FormatBundle {
			dir = filepath.Join(filepath.Dir(made), "bundle")
		}
		if err := x.write(ctx, dir, e, key); err != nil {
			return err
		}
		switch o.Format {
		case FormatImage:
			return x.image(ctx, dir, made, e)
		case FormatLambda:
			size, err := bundle.Zip(dir, made)
			if err == nil && size > bundle.MostUploaded {
				e.Notes = append(e.Notes, "AWS Lambda takes an archive of this size from S3 only")
			}
			return err
		}
		return nil
	})
	return e, err
}

// exporting is a service that is exported.
type exporting struct {
	*replayed
	BundleOptions
	unit    *ir.Unit
	run     state.Run
	program string
}

// exportedService finds a deployment as it was after a revision.
func (w *Workspace) exportedService(ctx context.Context, name string, revision int) (*exporting, error) {
	s, err := w.deployed(ctx)
	if revision > 0 {
		var r *state.Revision
		if r, err = w.revision(ctx, revision); err == nil {
			s, err = w.deployedAt(ctx, r)
		}
	}
	if err != nil {
		return nil, err
	}
	if !strings.ContainsAny(name, "/.") {
		name = "deployments/" + name // nothing else has these formats
	}
	_, units, err := s.named(name)
	if err != nil {
		return nil, err
	}
	for _, id := range units {
		if u := s.units[id]; u.Kind == ir.Service && (u.Code.Runtime == ir.Plane || u.Code.Runtime == ir.PlaneDuckDB) {
			if revision == 0 {
				if err := w.decided(ctx, id); err != nil {
					return nil, err
				}
			}
			run, ok := s.runs[id]
			if !ok {
				return nil, fmt.Errorf("the run of %s is no longer recorded", id)
			}
			return &exporting{replayed: &replayed{Workspace: w, snapshot: s}, unit: u, run: run}, nil
		}
	}
	return nil, &RequestError{fmt.Errorf("%s is no deployment of a model: these formats are for serve.#HTTP", name)}
}

// decided returns an error while two versions of a service are deployed: which of them is meant is
// not known.
func (w *Workspace) decided(ctx context.Context, unit string) error {
	current, err := w.store.Current(ctx)
	if err != nil {
		return err
	}
	if r := current[unit].Route; r != nil && len(r.Versions) == 2 {
		return &RequestError{fmt.Errorf("%s and %s of %s are being released: end the release, or export a revision with --revision", r.Champion().Name, r.Challenger().Name, unit)}
	}
	return nil
}

// refused says why a service cannot be exported. allowed are the parameters that it may have.
func (x *exporting) refused(allowed []string) error {
	refuse := func(format string, with ...any) error {
		return &RequestError{fmt.Errorf("%s cannot be exported: %s", x.unit.ID, fmt.Sprintf(format, with...))}
	}
	why, err := bundle.NotPortable(x.unit.Params, allowed)
	if err != nil {
		return fmt.Errorf("%s: %w", x.unit.ID, err)
	}
	if why != "" {
		return refuse("%s", why)
	}
	var given struct {
		Private []string `json:"private"`
	}
	if err := json.Unmarshal(x.unit.Params, &given); err != nil {
		return fmt.Errorf("read the parameters of %s: %w", x.unit.ID, err)
	}
	if private := x.private(given.Private); len(private) > 0 && !x.Private {
		return refuse("its rows of training, its tables or its model may have values of private columns (%s): --private says that they may leave", strings.Join(private, ", "))
	}
	return nil
}

// private are the private columns that a service may have values of, or of what is computed from
// them: those of all tables that it is made of.
func (x *exporting) private(known []string) []string {
	names, seen := slices.Clone(known), map[string]bool{}
	var walk func(id string)
	walk = func(id string) {
		u := x.units[id]
		if u == nil || seen[id] {
			return
		}
		seen[id] = true
		for _, o := range u.Outputs {
			for _, c := range o.Schema {
				if c.Private {
					names = append(names, c.Name)
				}
			}
		}
		for _, in := range u.Inputs {
			walk(in.Unit)
		}
	}
	walk(x.unit.ID)
	walk(x.unit.Entity + "/parity")
	slices.Sort(names)
	return slices.Compact(names)
}

// programFor returns the path of tenon-serve for a platform.
func (x *exporting) programFor(ctx context.Context, goos, goarch string) (string, error) {
	at := x.Program
	if at == "" {
		native, err := x.set.Programs.Serve(ctx)
		if err != nil {
			return "", err
		}
		if goos == runtime.GOOS && goarch == runtime.GOARCH {
			return native, nil
		}
		at = filepath.Join(filepath.Dir(native), goos+"_"+goarch, bundle.Program)
	}
	switch err := bundle.CheckProgram(at, goos, goarch); {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%w, or name one with --program", err)
	case err != nil:
		return "", &RequestError{err}
	}
	return at, nil
}

// PrivateKey reads a key from a file, or from a variable of the environment.
func (p *Project) PrivateKey(from string) (bundle.Private, error) {
	var text []byte
	if name, ok := strings.CutPrefix(from, "env:"); ok {
		for _, kv := range p.set.Environ {
			if k, v, _ := strings.Cut(kv, "="); k == name {
				text = []byte(v)
			}
		}
		if len(text) == 0 {
			return nil, &RequestError{fmt.Errorf("the private key: $%s is not set", name)}
		}
	} else {
		var err error
		if text, err = os.ReadFile(from); err != nil {
			return nil, fmt.Errorf("read the private key: %w", err)
		}
	}
	key, err := bundle.ParsePrivate(text)
	if err != nil {
		return nil, &RequestError{fmt.Errorf("read the private key from %s: %w", from, err)}
	}
	return key, nil
}

// script starts the service of a bundle, wherever it is.
const script = "#!/bin/sh\nexec \"$(dirname -- \"$0\")/" + bundle.Program + "\" serve \"$@\"\n"

// write writes a bundle, and tests it if its program runs here.
func (x *exporting) write(ctx context.Context, dir string, e *ExportedService, key bundle.Private) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	q := bundle.Question{Rows: cmp.Or(x.Rows, 256), Dir: dir}
	var err error
	if q.Dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if q.Service, err = x.service(ctx); err != nil {
		return err
	}
	if q.Features, q.Source, err = x.training(ctx); err != nil {
		return err
	}
	serve, err := x.set.Programs.Serve(ctx)
	if err != nil {
		return err
	}
	out, err := x.ask(ctx, serve, q, "bundle")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, &e.Answer); err != nil {
		return fmt.Errorf("tenon-serve bundle: %w", err)
	}
	program := bundle.Program
	if e.Format == FormatLambda {
		program = bundle.Bootstrap
	}
	if err := bundle.CopyProgram(x.program, filepath.Join(dir, program)); err != nil {
		return err
	}
	if e.Format == FormatBundle {
		if err := os.WriteFile(filepath.Join(dir, bundle.Script), []byte(script), 0o755); err != nil {
			return err
		}
	}
	m := bundle.Manifest{Name: x.snapshot.system + "/" + strings.TrimPrefix(x.unit.Entity, "deployments/"), Platform: e.Platform, Code: stdlib.Code()}
	if e.Digest, err = m.Write(dir); err != nil {
		return err
	}
	if key != nil {
		if err := bundle.Sign(dir, key); err != nil {
			return err
		}
		e.Key = key.Public().String()
	}
	if e.Platform != runtime.GOOS+"/"+runtime.GOARCH {
		e.Notes = append(e.Notes, "run `"+program+" selftest` on a machine with "+e.Platform+": it does not run here")
		return nil
	}
	if _, err := x.ask(ctx, filepath.Join(q.Dir, program), nil, "selftest"); err != nil {
		return err
	}
	e.Tested = true
	return nil
}

// ask runs a program as units run, with a question on its standard input.
func (x *exporting) ask(ctx context.Context, program string, question any, args ...string) ([]byte, error) {
	env := local.Inherited(x.set.Environ)
	maps.Copy(env, local.Variables(*x.unit))
	return bundle.Ask(ctx, program, env, question, args...)
}

// service is the document of the service, as if it were started here.
func (x *exporting) service(ctx context.Context) (step.Step, error) {
	u := x.unit
	params, err := x.params()
	if err != nil {
		return step.Step{}, err
	}
	s := step.Step{
		Version: step.Version, Unit: u.ID, Component: u.Component, Params: params, Seed: u.Seed, Resources: u.Needs, Endpoint: u.Endpoint,
		Inputs: map[string]step.Port{}, Outputs: map[string]step.Port{},
	}
	for _, o := range u.Outputs {
		s.Outputs[o.Port] = step.Port{Kind: o.Kind, Schema: o.Schema.Bare(), Request: o.Request, Response: o.Response}
	}
	for _, in := range u.Inputs {
		wanted := in.Kind == ir.Model || in.Kind == ir.Table || in.Port == "report"
		digest := x.run.Inputs[in.Port]
		if in.Checked || !wanted || digest == "" && in.Advisory {
			continue
		}
		p, err := x.input(ctx, in, digest)
		if err != nil {
			return s, err
		}
		if in.Kind == ir.Model {
			if err := x.model(ctx, in, &p); err != nil {
				return s, err
			}
		}
		s.Inputs[in.Port] = p
	}
	return s, nil
}

// params are those of the service, and the private columns. A service without a log has no use
// for these, but the selftest of the bundle shows values as the check before a release does.
func (x *exporting) params() (json.RawMessage, error) {
	check := x.units[x.unit.Entity+"/parity"]
	if check == nil {
		return x.unit.Params, nil // then the bundle has no rows of training
	}
	const private = "private"
	var own, checks map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(x.unit.Params, &own), json.Unmarshal(check.Params, &checks)); err != nil {
		return nil, fmt.Errorf("read the parameters of %s: %w", x.unit.ID, err)
	}
	if names, ok := checks[private]; ok {
		own[private] = names
	}
	return json.Marshal(own)
}

// model adds what the registry knows about a model.
func (x *exporting) model(ctx context.Context, in ir.Input, p *step.Port) error {
	if !exists(filepath.Join(p.Path, "plane.json")) {
		return &RequestError{fmt.Errorf("%s cannot be exported: its model needs Python, as the log of its training says", x.unit.ID)}
	}
	at, err := x.store.ArtifactCreated(ctx, p.Digest)
	switch {
	case err == nil:
		p.Created = at.Format(time.RFC3339)
	case !errors.Is(err, state.ErrNotFound):
		return err
	}
	model, _ := ir.SplitID(in.Unit)
	versions, err := x.store.ModelVersions(ctx, model)
	for _, v := range versions {
		if v.Digest == p.Digest {
			p.Version = v.Version
		}
	}
	return err
}

// training are the tables that the parity check of the service has compared, if it has one.
func (x *exporting) training(ctx context.Context) (features, source *step.Port, err error) {
	check := x.units[x.unit.Entity+"/parity"]
	if check == nil {
		return nil, nil, nil
	}
	run, ok := x.runs[check.ID]
	if !ok {
		return nil, nil, fmt.Errorf("the run of %s is no longer recorded", check.ID)
	}
	ports := map[string]*step.Port{}
	for _, in := range check.Inputs {
		if in.Port == "features" || in.Port == "source" {
			p, err := x.input(ctx, in, run.Inputs[in.Port])
			if err != nil {
				return nil, nil, err
			}
			ports[in.Port] = &p
		}
	}
	return ports["features"], ports["source"], nil
}
