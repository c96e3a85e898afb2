package plane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/bundle"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/parity"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/table"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// modelFiles are what the plane reads of a model folder. The rest is for Python.
var modelFiles = []string{Exported, "signature.json", "model.json"}

// Bundle writes the parts of a bundle that are made of artifacts: the inputs of the service,
// the document that it is started with, and rows of training to compare with.
func Bundle(ctx context.Context, q bundle.Question) (*bundle.Answer, error) {
	s := q.Service
	var given params
	if err := json.Unmarshal(s.Params, &given); err != nil {
		return nil, fmt.Errorf("read the parameters: %w", err)
	}
	m, err := readModel(&s)
	if err != nil {
		return nil, fmt.Errorf("read the exported model: %w", err)
	}
	if m == nil {
		return nil, errors.New("the model needs Python, as the log of its training says")
	}
	if given.Request != nil && len(given.Request.Calls) > 0 {
		return nil, fmt.Errorf("%s needs Python", given.Request.Calls[0].Feature)
	}
	answer := &bundle.Answer{}
	if answer.Checked, err = checked(&s); err != nil {
		return nil, err
	}
	sample := &parity.Sample{Version: parity.SampleVersion}
	if given.Request != nil && q.Source != nil {
		proved := s
		proved.Inputs = maps.Clone(s.Inputs)
		proved.Inputs["features"], proved.Inputs["source"] = *q.Features, *q.Source
		if sample, err = parity.Choose(ctx, &proved, m, q.Rows); err != nil {
			return nil, err
		}
		answer.Sampled = len(sample.Rows)
	}
	if err := writeJSON(filepath.Join(q.Dir, bundle.Selftest), sample); err != nil {
		return nil, err
	}
	s.Inputs = maps.Clone(s.Inputs)
	for _, name := range slices.Sorted(maps.Keys(s.Inputs)) {
		if s.Inputs[name], err = bundled(ctx, given, name, s.Inputs[name], q.Dir); err != nil {
			return nil, fmt.Errorf("write the input %s: %w", name, err)
		}
	}
	return answer, writeJSON(filepath.Join(q.Dir, bundle.Service), s)
}

// checked is how many predictions of Python the exported model is compared with.
func checked(s *step.Step) (int, error) {
	var doc struct {
		Check struct {
			Rows []json.RawMessage `json:"rows"`
		} `json:"check"`
	}
	err := readJSON(filepath.Join(s.Inputs["model"].Path, Exported), &doc)
	return len(doc.Check.Rows), err
}

// bundled copies an input of a service to a bundle.
func bundled(ctx context.Context, given params, name string, p step.Port, dir string) (step.Port, error) {
	from := p.Path
	p.Path = name
	to := filepath.Join(dir, name)
	switch p.Kind {
	case ir.Model:
		if err := os.Mkdir(to, 0o755); err != nil {
			return p, err
		}
		for _, f := range modelFiles {
			if err := copyFile(filepath.Join(from, f), filepath.Join(to, f)); err != nil {
				return p, err
			}
		}
		return p, nil
	case ir.Table:
		p.Path += ".parquet"
		return narrow(ctx, given.Request, name, p, from, filepath.Join(dir, p.Path))
	case ir.Report:
		if err := os.Mkdir(to, 0o755); err != nil {
			return p, err
		}
		return p, copyFile(filepath.Join(from, "report.json"), filepath.Join(to, "report.json"))
	}
	return p, fmt.Errorf("a bundle has no inputs of the kind %s", p.Kind)
}

// narrow copies the columns of a table that the features look up. Others may be large, or
// nobody's business on another machine.
func narrow(ctx context.Context, spec *features.Spec, name string, p step.Port, from, to string) (step.Port, error) {
	var read []string
	if spec != nil {
		for _, plan := range spec.Plans {
			for _, l := range plan.Lookups {
				if spec.Lookups[l.Input.Name].Port == name {
					for _, c := range l.Input.Columns {
						read = append(read, c.Name)
					}
				}
			}
		}
	}
	p.Schema = slices.DeleteFunc(slices.Clone(p.Schema), func(c ir.Column) bool { return !slices.Contains(read, c.Name) })
	if len(p.Schema) == 0 {
		return p, errors.New("nothing reads it")
	}
	r, err := table.Open(from, p.Schema)
	if err != nil {
		return p, err
	}
	defer r.Close()
	w, err := requestlog.CreateTable(to, p.Schema)
	if err != nil {
		return p, err
	}
	// The writer keeps texts until it is closed, so each batch has memory of its own.
	for {
		rows := new(table.Batch)
		err := r.Read(ctx, rows, 1024)
		if err == io.EOF {
			return p, errors.Join(w.Close(), os.Chmod(to, 0o644))
		}
		for i := 0; err == nil && i < rows.Len(); i++ {
			row := rows.Row(i)
			err = w.Add(func(j int) rowsql.Value { return row[j] })
		}
		if err != nil {
			w.Abort()
			return p, err
		}
	}
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// Unbundle reads the document of the service in a bundle, with the paths of this machine.
func Unbundle(dir string) (*step.Step, error) {
	s, err := step.ReadFile(filepath.Join(dir, bundle.Service))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is no bundle: it has no %s", dir, bundle.Service)
	}
	if err != nil {
		return nil, err
	}
	for name, p := range s.Inputs {
		if !filepath.IsLocal(p.Path) {
			return nil, fmt.Errorf("the input %s of the bundle is outside of it", name)
		}
		p.Path = filepath.Join(dir, p.Path)
		s.Inputs[name] = p
	}
	return s, nil
}

// WithoutParams takes parameters from a step that cannot be honoured where it runs, and returns
// those that it had.
func WithoutParams(s *step.Step, names ...string) (had []string, err error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(s.Params, &all); err != nil {
		return nil, fmt.Errorf("read the parameters: %w", err)
	}
	for _, name := range names {
		if _, ok := all[name]; ok {
			had = append(had, name)
			delete(all, name)
		}
	}
	s.Params, err = json.Marshal(all)
	return had, err
}

// Selftested is what the test of a bundle found.
type Selftested struct {
	parity.Selftest
	Checked int // predictions of Python that are equal
}

// Selftest computes the rows of training that a bundle has as the service does.
func Selftest(ctx context.Context, s *step.Step, dir string) (*Selftested, error) {
	var given params
	if err := json.Unmarshal(s.Params, &given); err != nil {
		return nil, fmt.Errorf("read the parameters: %w", err)
	}
	m, err := readModel(s)
	if err != nil {
		return nil, fmt.Errorf("read the exported model: %w", err)
	}
	if m == nil {
		return nil, errors.New("the bundle has no model")
	}
	found := &Selftested{}
	if found.Checked, err = checked(s); err != nil {
		return nil, err
	}
	var sample parity.Sample
	if err := readJSON(filepath.Join(dir, bundle.Selftest), &sample); err != nil {
		return nil, err
	}
	var f *features.Features
	if given.Request != nil {
		if f, err = features.Load(ctx, s, *given.Request, m.Columns()); err != nil {
			return nil, err
		}
	}
	tested, err := sample.Test(ctx, f, m, given.Private)
	if err != nil {
		return nil, err
	}
	found.Selftest = *tested
	return found, tested.Err()
}

// Handler returns what answers the requests of a service that has no port of its own. It logs
// and traces no requests.
func Handler(ctx context.Context, s *step.Step) (http.Handler, error) {
	left, err := WithoutParams(s, "log", "traces")
	if err != nil {
		return nil, err
	}
	if len(left) > 0 {
		logLine("note: not done here: " + strings.Join(left, ", "))
	}
	var given params
	if err := json.Unmarshal(s.Params, &given); err != nil {
		return nil, fmt.Errorf("read the parameters: %w", err)
	}
	m, err := readModel(s)
	if err != nil {
		return nil, fmt.Errorf("read the exported model: %w", err)
	}
	if m == nil {
		return nil, errors.New("the model needs Python")
	}
	c, err := config(s, given)
	if err != nil {
		return nil, err
	}
	c.Model, c.AtOnce = m, 1
	if given.Request != nil {
		if _, err := c.compute(ctx, s, given); err != nil {
			return nil, err
		}
	}
	if given.Explain {
		if err := c.explain(s); err != nil {
			return nil, err
		}
	}
	p, err := New(c)
	if err != nil {
		return nil, err
	}
	p.warmUp(ctx)
	return p, nil
}
