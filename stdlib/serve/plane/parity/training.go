package parity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/table"
	pool "github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// training computes rows of requests with the queries that made the features, in DuckDB, and the
// functions, in Python.
//
// A request lacks columns of the source, of which the contract proves that no feature of the
// model is computed. They are filled from a row of the source, or, if they are keys of the
// features, with numbers, by which the rows of the result are found. A condition on them, such
// as that a label is not null, may leave rows out; then those are tried with another row.
type training struct {
	*requests.Replay
	spec    features.Spec
	source  ir.Schema
	given   []int            // where the columns of the source are in a request, or -1
	donors  [][]rowsql.Value // rows of the source
	keys    []int            // of the features, as columns of the source; nil if some are not there
	number  int              // the one of them that is filled with numbers, or -1
	checked int              // rows of a batch that were computed by themselves as well

	runners *runners
	runs    int
}

// A trained row is what training makes of a row of a request.
type trained struct {
	values []rowsql.Value // of the model; nil unless it makes one row
	rows   int            // that it makes
	says   string         // why it fails
}

const (
	mostDonors  = 32
	mostScanned = 1 << 18 // rows of the source, among which donors are chosen
	// mostChecked is how many differing rows of a batch are computed by themselves, which shows
	// whether rows are found by the keys.
	mostChecked = 20
)

// train prepares the queries.
func train(ctx context.Context, r *requests.Replay, spec features.Spec) (*training, error) {
	if len(r.Queries) == 0 || len(r.Queries) != len(spec.Plans) {
		return nil, fmt.Errorf("there are %d queries for %d plans", len(r.Queries), len(spec.Plans))
	}
	t := &training{Replay: r, spec: spec, source: r.Source.Schema, number: -1}
	for _, c := range t.source {
		t.given = append(t.given, place(spec.Columns, c.Name))
	}
	for _, c := range spec.Columns {
		if place(t.source, c.Name) < 0 {
			return nil, fmt.Errorf("the source has no column %s, which a request has", c.Name)
		}
	}
	last := r.Queries[len(r.Queries)-1].Step.Outputs["out"]
	t.keys = []int{}
	for _, name := range last.Keys {
		i, j := place(t.source, name), place(last.Schema, name)
		if i < 0 || j < 0 || t.source[i].Type != last.Schema[j].Type {
			t.keys = nil
			break
		}
		t.keys = append(t.keys, i)
		if t.given[i] < 0 && slices.Contains([]string{"int16", "int32", "int64", "uint16", "uint32", "uint64", "string"}, t.source[i].Type) {
			t.number = i
		}
	}
	if len(last.Keys) == 0 {
		t.keys = nil
	}
	if err := t.readDonors(ctx); err != nil {
		return nil, err
	}
	var err error
	if t.runners, err = startRunners(ctx, r); err != nil {
		return nil, err
	}
	return t, nil
}

func place(s ir.Schema, name string) int {
	return slices.IndexFunc(s, func(c ir.Column) bool { return c.Name == name })
}

func (t *training) close() error { return t.runners.close() }

// readDonors chooses rows of the source that are far from each other.
func (t *training) readDonors(ctx context.Context) error {
	if !slices.Contains(t.given, -1) {
		t.donors = [][]rowsql.Value{make([]rowsql.Value, len(t.source))} // of which nothing is taken
		return nil
	}
	f, err := table.Open(t.Source.Path, t.source)
	if err != nil {
		return err
	}
	defer f.Close()
	every := max(min(f.Rows(), mostScanned)/mostDonors, 1)
	var b table.Batch
	for n := int64(0); n < mostScanned && len(t.donors) < mostDonors; {
		err := f.Read(ctx, &b, batch)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		for i := range b.Len() {
			if (n+int64(i))%every == 0 {
				t.donors = append(t.donors, slices.Clone(b.Row(i)))
			}
		}
		n += int64(b.Len())
	}
	if len(t.donors) == 0 {
		return errors.New("the source has no row, from which columns that a request lacks can be filled")
	}
	return nil
}

// compute computes rows, and returns the given columns of what training makes of each. right
// reports whether a result is the expected one.
func (t *training) compute(ctx context.Context, rows [][]rowsql.Value, columns ir.Schema, right func(row int, result trained) bool) ([]trained, error) {
	results := make([]trained, len(rows))
	left := make([]int, len(rows))
	for i := range rows {
		left[i] = i
	}
	for n, donor := range t.donors {
		if len(left) == 0 || n > 0 && !t.spec.Drops {
			break
		}
		for _, batch := range t.batches(rows, left) {
			if err := t.batch(ctx, rows, batch, donor, columns, results, right); err != nil {
				return nil, err
			}
		}
		left = slices.DeleteFunc(left, func(i int) bool { return results[i].values != nil || results[i].rows > 1 })
	}
	return results, nil
}

// batches divides rows so that those of a batch have different keys.
func (t *training) batches(rows [][]rowsql.Value, all []int) (batches [][]int) {
	switch {
	case t.keys == nil:
		for _, i := range all {
			batches = append(batches, []int{i})
		}
		return batches
	case t.number >= 0:
		return [][]int{all}
	}
	often := map[string]int{}
	for _, i := range all {
		key := string(t.key(nil, t.filled(rows[i], t.donors[0], 0)))
		n := often[key]
		often[key]++
		if n == len(batches) {
			batches = append(batches, nil)
		}
		batches[n] = append(batches[n], i)
	}
	return batches
}

// filled is the row of the source for one of a request.
func (t *training) filled(row, donor []rowsql.Value, number int) []rowsql.Value {
	full := make([]rowsql.Value, len(t.source))
	for i, from := range t.given {
		switch {
		case from >= 0:
			full[i] = row[from]
		case i == t.number && t.source[i].Type == "string":
			full[i] = rowsql.String(strconv.Itoa(number))
		case i == t.number:
			full[i] = rowsql.Int(int64(number))
		default:
			full[i] = donor[i]
		}
	}
	return full
}

func (t *training) key(b []byte, full []rowsql.Value) []byte {
	for _, i := range t.keys {
		b = appendKey(b, t.source[i].Type, full[i])
	}
	return b
}

// batch computes rows with different keys at once. If that fails, or if rows are not found by
// their keys, it computes each by itself.
func (t *training) batch(ctx context.Context, rows [][]rowsql.Value, batch []int, donor []rowsql.Value, columns ir.Schema, results []trained, right func(int, trained) bool) error {
	if len(batch) > 1 && t.keys != nil {
		found, err := t.together(ctx, rows, batch, donor, columns)
		if err != nil {
			return err
		}
		for n := 0; found != nil && n < len(batch); n++ {
			i := batch[n]
			if results[i] = found[n]; right(i, found[n]) || t.checked >= mostChecked {
				continue
			}
			t.checked++
			alone, err := t.alone(ctx, rows[i], donor, columns)
			if err != nil {
				return err
			}
			if !sameResult(alone, found[n], columns) {
				t.keys, found = nil, nil
			}
		}
		if found != nil {
			return nil
		}
	}
	for _, i := range batch {
		var err error
		if results[i], err = t.alone(ctx, rows[i], donor, columns); err != nil {
			return err
		}
	}
	return nil
}

func sameResult(a, b trained, columns ir.Schema) bool {
	if a.rows != b.rows || a.says != b.says || len(a.values) != len(b.values) {
		return false
	}
	for i, v := range a.values {
		if !equal(columns[i].Type, v, b.values[i]) {
			return false
		}
	}
	return true
}

// alone computes one row.
func (t *training) alone(ctx context.Context, row, donor []rowsql.Value, columns ir.Schema) (trained, error) {
	made, says, err := t.run(ctx, [][]rowsql.Value{t.filled(row, donor, 0)}, columns)
	result := trained{rows: len(made), says: says}
	if len(made) == 1 {
		result.values = made[0]
	}
	return result, err
}

// together computes rows at once, and finds those of the result by their keys. It returns nil
// if it cannot.
func (t *training) together(ctx context.Context, rows [][]rowsql.Value, batch []int, donor []rowsql.Value, columns ir.Schema) ([]trained, error) {
	full, index := make([][]rowsql.Value, len(batch)), map[string]int{}
	for n, i := range batch {
		full[n] = t.filled(rows[i], donor, n)
		index[string(t.key(nil, full[n]))] = n
	}
	all := slices.Clone(columns)
	last := t.Queries[len(t.Queries)-1].Step.Outputs["out"].Schema
	for _, i := range t.keys {
		all = append(all, last[place(last, t.source[i].Name)])
	}
	made, says, err := t.run(ctx, full, all)
	if err != nil || says != "" {
		return nil, err
	}
	results := make([]trained, len(batch))
	for _, row := range made {
		var key []byte
		for n, i := range t.keys {
			key = appendKey(key, t.source[i].Type, row[len(columns)+n])
		}
		n, ok := index[string(key)]
		if !ok {
			return nil, nil // the keys of the features are others than those of the source
		}
		if results[n].rows++; results[n].rows > 1 {
			return nil, nil
		}
		results[n].values = row[:len(columns)]
	}
	return results, nil
}

// run computes rows of the source with the queries. says is the error of one of them.
func (t *training) run(ctx context.Context, rows [][]rowsql.Value, columns ir.Schema) (made [][]rowsql.Value, says string, err error) {
	t.runs++
	dir := filepath.Join(t.Scratch, "run-"+strconv.Itoa(t.runs))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "rows.parquet")
	if err := writeRows(path, t.source, rows); err != nil {
		return nil, "", err
	}
	for i, q := range t.Queries {
		doc := q.Step
		doc.Inputs, doc.Outputs = maps.Clone(doc.Inputs), maps.Clone(doc.Outputs)
		in, out := doc.Inputs[q.Row], doc.Outputs["out"]
		in.Path, out.Path = path, filepath.Join(dir, "result-"+strconv.Itoa(i)+".parquet")
		doc.Inputs[q.Row], doc.Outputs["out"] = in, out
		doc.Scratch, doc.Metrics, doc.Progress = dir, filepath.Join(dir, "metrics"), filepath.Join(dir, "progress")
		if says, err := t.runners.of[i].step(filepath.Join(dir, "step-"+strconv.Itoa(i)+".json"), doc); says != "" || err != nil {
			return nil, says, err
		}
		path = out.Path
	}
	f, err := table.Open(path, nullable(columns))
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	var b table.Batch
	for {
		err := f.Read(ctx, &b, batch)
		if err == io.EOF {
			return made, "", nil
		}
		if err != nil {
			return nil, "", err
		}
		for i := range b.Len() {
			made = append(made, slices.Clone(b.Row(i)))
		}
	}
}

// nullable lets columns have nulls: whether they do is compared.
func nullable(columns ir.Schema) ir.Schema {
	columns = slices.Clone(columns)
	for i := range columns {
		columns[i].Nullable = true
	}
	return columns
}

// writeRows writes a table.
func writeRows(path string, columns ir.Schema, rows [][]rowsql.Value) error {
	w, err := requestlog.CreateTable(path, nullable(columns))
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := w.Add(func(i int) rowsql.Value { return row[i] }); err != nil {
			w.Abort()
			return err
		}
	}
	return w.Close()
}

// ask lets Python predict for some results with a copy of the model.
func ask(ctx context.Context, r *requests.Replay, folder string, results []trained, asked []int, columns ir.Schema) (*os.File, error) {
	dir, err := os.MkdirTemp(r.Scratch, "predict-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var rows [][]rowsql.Value
	for _, i := range asked {
		rows = append(rows, results[i].values)
	}
	path, to, doc := filepath.Join(dir, "features.parquet"), filepath.Join(dir, "predictions"), filepath.Join(dir, "step.json")
	if err := writeRows(path, columns, rows); err != nil {
		return nil, err
	}
	s := step.Step{Version: step.Version, Unit: "replay", Component: "serve.http", Params: json.RawMessage("{}"), Code: r.Library, Scratch: dir, Outputs: map[string]step.Port{},
		Metrics: filepath.Join(dir, "metrics"), Progress: filepath.Join(dir, "progress"), Inputs: map[string]step.Port{"model": r.Model, "features": {Kind: ir.Table, Format: "parquet", Path: path, Schema: columns}}}
	b, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(doc, b, 0o600)
	}
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, r.Python, filepath.Join(r.Library, script), to, folder)
	cmd.Env = pool.Environ(step.Env + "=" + doc)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("predict with Python: %w", err)
	}
	return os.Open(to) // which stays readable when its folder is removed
}
