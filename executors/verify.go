package executors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/outputs"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// A Violation is a rule of a table's schema that its rows break.
type Violation struct {
	Column   string   `json:"column"`          // of keys and references: all of them, as "shop, day"
	Rule     string   `json:"rule"`            // "not null", "type", "min", "keys"
	Count    int64    `json:"count,omitempty"` // of rows; 0 for a problem of the column itself
	Examples []string `json:"examples,omitempty"`
	Message  string   `json:"message"` // everything in one line
}

// A ViolationError is an output table that violates its declared schema.
type ViolationError struct {
	Port       string
	Violations []Violation
}

func (e *ViolationError) Error() string {
	lines := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		lines[i] = v.Message
	}
	return fmt.Sprintf("output %s violates its schema: %s", e.Port, strings.Join(lines, "; "))
}

// A Referred is a foreign key of a table, with the table that it refers to.
type Referred struct {
	ir.Reference
	Path  string // of that table, a Parquet file
	Table string // its name for the user: "sources.shops"
}

// VerifyFunc compares a Parquet file with its declared schema, keys and references, and
// counts rows.
type VerifyFunc func(ctx context.Context, path string, schema ir.Schema, keys []string, refs []Referred) ([]Violation, int64, error)

// verifyOutput checks one output of a successful run. It returns the number of rows of a
// table.
func verifyOutput(ctx context.Context, out ir.Output, path string, refs []Referred, verify VerifyFunc) (rows int64, err error) {
	if err := outputs.Output(out.Port, out.Kind, path); err != nil {
		return 0, err
	}
	switch out.Kind {
	case ir.Table:
		return verifyTable(ctx, out, path, refs, verify)
	case ir.Report:
		if _, err := readReport(path); err != nil {
			return 0, fmt.Errorf("output %s is a report: %w", out.Port, err)
		}
	case ir.Model:
		return 0, verifyModel(out, path)
	}
	return 0, nil
}

func verifyTable(ctx context.Context, out ir.Output, path string, refs []Referred, verify VerifyFunc) (int64, error) {
	if verify == nil {
		return 0, fmt.Errorf("output %s is a table, but this apply cannot verify tables", out.Port)
	}
	bad, rows, err := verify(ctx, path, out.Schema, out.Keys, refs)
	if err != nil {
		return 0, fmt.Errorf("output %s: %w", out.Port, err)
	}
	if len(bad) > 0 {
		return 0, &ViolationError{Port: out.Port, Violations: bad}
	}
	return rows, nil
}

// verifyModel checks that signature.json matches the declared signature.
func verifyModel(out ir.Output, dir string) error {
	path := filepath.Join(dir, "signature.json")
	b, err := outputs.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("output %s is a model: the step wrote no %s", out.Port, path)
	}
	if err != nil {
		return fmt.Errorf("output %s: %w", out.Port, err)
	}
	var got ir.Signature
	if err := json.Unmarshal(b, &got); err != nil {
		return fmt.Errorf("output %s: %s is not a signature: %w", out.Port, path, err)
	}
	if out.Signature == nil {
		return nil
	}
	if diff := compareSignatures(out.Signature.Bare(), got.Bare()); diff != "" {
		return fmt.Errorf("output %s: the model's signature is not the declared one: %s", out.Port, diff)
	}
	return nil
}

// compareSignatures describes the first difference, or returns "".
func compareSignatures(want, got *ir.Signature) string {
	if got.Task != want.Task {
		return fmt.Sprintf("task is %q, declared as %q", got.Task, want.Task)
	}
	for i, w := range want.Input {
		if i >= len(got.Input) {
			return fmt.Sprintf("input column %s is missing", w.Name)
		}
		if g := got.Input[i]; !sameJSON(g, w) {
			return fmt.Sprintf("input column %d is %s, declared as %s", i+1, compact(g), compact(w))
		}
	}
	if len(got.Input) > len(want.Input) {
		return fmt.Sprintf("input column %s is not declared", got.Input[len(want.Input)].Name)
	}
	if !sameJSON(got.Output, want.Output) {
		return fmt.Sprintf("output is %s, declared as %s", compact(got.Output), compact(want.Output))
	}
	return ""
}

func sameJSON(a, b any) bool { return compact(a) == compact(b) }

func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// brief returns the beginning of a text of any length.
func brief(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// readReport reads the metrics of a report.
func readReport(dir string) (map[string]float64, error) {
	path := filepath.Join(dir, "report.json")
	b, err := outputs.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the step wrote no %s", path)
	}
	if err != nil {
		return nil, err
	}
	var report struct {
		Metrics json.RawMessage `json:"metrics"`
	}
	if err := json.Unmarshal(b, &report); err != nil {
		return nil, fmt.Errorf("%s is not a JSON object: %w", path, err)
	}
	if len(report.Metrics) == 0 || string(report.Metrics) == "null" {
		return nil, nil
	}
	m, err := parseMetrics(report.Metrics)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// readMetrics reads the metrics of a run. There may be none.
func readMetrics(path string) (map[string]float64, error) {
	b, err := outputs.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	m, err := parseMetrics(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return m, nil
}

// notFinite matches what Python's json module writes for NaN and infinity, which is not
// JSON.
var notFinite = lazyregexp.New(`"((?:[^"\\]|\\.)*)"\s*:\s*(-?(?:NaN|Infinity|nan|inf))\b`)

func parseMetrics(b []byte) (map[string]float64, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, nil
	}
	var raw map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&raw); err != nil {
		if m := notFinite.FindSubmatch(b); m != nil {
			return nil, fmt.Errorf("metric %s is %s: a metric must be a finite number", m[1], m[2])
		}
		return nil, fmt.Errorf("metrics must be a JSON object of numbers: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("metrics must be one JSON object of numbers, but more follows it")
	}
	metrics := make(map[string]float64, len(raw))
	for _, name := range sortedKeys(raw) {
		n, ok := raw[name].(json.Number)
		if !ok {
			return nil, fmt.Errorf("metric %s is %s: a metric must be a finite number", name, brief(compact(raw[name])))
		}
		f, err := n.Float64()
		if err != nil || math.IsInf(f, 0) {
			return nil, fmt.Errorf("metric %s is %s: a metric must be a finite number", name, brief(n.String()))
		}
		metrics[name] = f
	}
	return metrics, nil
}
