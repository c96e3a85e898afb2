package parity

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	pool "github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
)

// chunk is how many rows are computed at once.
const chunk = 5000

// AnswerReplay reads a replay from in, runs it until SIGTERM, and writes its events to out, one on
// each line.
func AnswerReplay(in io.Reader, out io.Writer) error {
	var r requests.Replay
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return fmt.Errorf("read what is asked for: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	lines := json.NewEncoder(out)
	return RunReplay(ctx, &r, func(e requests.Event) error { return lines.Encode(e) })
}

// RunReplay computes logged requests again, and tells what it finds.
func RunReplay(ctx context.Context, r *requests.Replay, tell func(requests.Event) error) (err error) {
	p := &replayer{Replay: r, hidden: map[string]bool{}, tell: tell, found: requests.Replayed{Columns: map[string]int64{}, Kinds: map[string]int64{}, Notes: []string{}}}
	if len(r.Request) > 0 {
		if err := json.Unmarshal(r.Request, &p.spec); err != nil {
			return fmt.Errorf("read how features are computed: %w", err)
		}
		b, err := json.Marshal(p.spec)
		if err != nil {
			return err
		}
		p.contract = ir.Sum(b)
		if p.training, err = train(ctx, r, p.spec); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.training.close()) }()
		if p.spec.History != nil {
			if p.past, err = p.training.remember(); err != nil {
				return err
			}
		}
	}
	if err := p.readModel(); err != nil {
		return err
	}
	files, err := requestlog.Files(r.Log)
	if err != nil {
		return fmt.Errorf("read the request log: %w", err)
	}
	for _, path := range slices.Backward(files) {
		if r.Limit > 0 && p.taken >= r.Limit {
			break
		}
		if err := p.file(ctx, path); err != nil {
			return err
		}
	}
	for name := range p.hidden {
		p.found.Notes = append(p.found.Notes, name+" is not compared: it is private")
	}
	if p.Python == "" {
		p.found.Notes = append(p.found.Notes, "predictions are not compared: the environment of the model is not there")
	}
	slices.Sort(p.found.Notes)
	return tell(requests.Event{Replayed: &p.found})
}

// A replayer replays one file after another.
type replayer struct {
	*requests.Replay
	spec     features.Spec
	contract string
	training *training // nil if requests have the columns of the model
	past     *past     // nil if features have no history
	tell     func(requests.Event) error
	found    requests.Replayed
	taken    int64           // rows
	hidden   map[string]bool // columns that are not compared

	folder string       // a private copy of the model, whose digest was checked
	model  *model.Model // as it was exported, or nil
	buffer model.Buffer

	head    *requestlog.Head
	columns places
}

// readModel copies the model, and reads what was exported of it.
func (p *replayer) readModel() error {
	p.folder = filepath.Join(p.Scratch, "model")
	if err := pool.Copy(p.Model.Path, p.Model.Digest, p.folder); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(p.folder, "plane.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var doc model.Document
	if err == nil {
		err = json.Unmarshal(b, &doc)
	}
	if err == nil {
		p.model, err = model.New(doc)
	}
	if err != nil {
		return fmt.Errorf("read the exported model: %w", err)
	}
	return nil
}

// places are where the columns of a file are.
type places struct {
	time, id, row, prediction int
	position                  int   // -1 if the file does not have it
	request, features         []int // -1 if it is private
	outputs                   []int
}

// A logged row is one of a file.
type logged []rowsql.Value

// file replays the rows of a file.
func (p *replayer) file(ctx context.Context, path string) error {
	f, err := requestlog.OpenFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	p.head = &f.Head
	p.columns = places{time: f.Index(requestlog.Time), id: f.Index(requestlog.RequestID), row: f.Index(requestlog.RowNumber), prediction: f.Index(requestlog.Prediction), position: f.Index(requestlog.Position)}
	placed := p.past.placed(p.head)
	for _, c := range f.Request {
		p.columns.request = append(p.columns.request, f.Index(requestlog.RequestPrefix+c.Name))
	}
	for _, c := range f.Features {
		i := f.Index(requestlog.FeaturePrefix + c.Name)
		p.columns.features = append(p.columns.features, i)
	}
	if len(f.Classes) == 0 {
		p.columns.outputs = []int{p.columns.prediction}
	} else {
		columns := f.Columns()
		for i, c := range columns {
			if strings.HasPrefix(c.Name, requestlog.ProbabilityPrefix) {
				p.columns.outputs = append(p.columns.outputs, i)
			}
		}
	}
	var rows []logged
	err = f.Each(ctx, func(row []rowsql.Value) error {
		at := time.UnixMicro(row[p.columns.time].Int())
		switch {
		case at.Before(p.Since):
			return nil
		case !p.same():
			p.found.Other++
			return nil
		case slices.Contains(p.columns.request, -1):
			p.found.Redacted++
			return nil
		case !placed:
			p.found.Unplaced++
			return nil
		case !p.past.has(p.request(row)):
			p.found.Gone++
			return nil
		}
		rows = append(rows, slices.Clone(row))
		return nil
	})
	if err != nil {
		return err
	}
	if p.Limit > 0 {
		rows = rows[max(len(rows)-int(p.Limit-p.taken), 0):]
	}
	for i, c := range f.Features {
		if len(rows) > 0 && p.columns.features[i] < 0 {
			p.hidden[c.Name] = true
		}
	}
	for part := range slices.Chunk(rows, chunk) {
		if err := p.replay(ctx, part); err != nil {
			return err
		}
		p.taken += int64(len(part))
		if err := p.tell(requests.Event{Done: p.taken}); err != nil {
			return err
		}
	}
	return nil
}

// same reports whether what is replayed answered the requests of the file.
func (p *replayer) same() bool {
	for port, digest := range p.Inputs {
		if p.head.Inputs[port] != digest {
			return false
		}
	}
	return p.head.Contract == p.contract
}

// replay computes rows as training does, and compares.
func (p *replayer) replay(ctx context.Context, rows []logged) error {
	sent := make([][]rowsql.Value, len(rows))
	for i, row := range rows {
		sent[i] = p.request(row)
	}
	columns := p.head.Request
	results := make([]trained, len(rows))
	differs := make([]bool, len(rows))
	if p.training == nil {
		for i, values := range sent {
			results[i] = trained{values: values}
		}
	} else {
		var err error
		columns = p.head.Features
		if p.past != nil {
			positions := make([]int64, len(rows))
			for i, row := range rows {
				positions[i] = row[p.columns.position].Int()
			}
			results, err = p.past.compute(ctx, sent, positions, columns)
		} else {
			results, err = p.training.compute(ctx, sent, columns, func(i int, t trained) bool { return p.equal(rows[i], t) })
		}
		if err != nil {
			return err
		}
		for i, t := range results {
			if differs[i], err = p.compareCells(rows[i], t); err != nil {
				return err
			}
		}
	}
	if err := p.predict(ctx, rows, results, columns, differs); err != nil {
		return err
	}
	for _, d := range differs {
		if d {
			p.found.Differing++
		}
	}
	return nil
}

// request is what a logged row has of the request.
func (p *replayer) request(row logged) []rowsql.Value {
	values := make([]rowsql.Value, len(p.columns.request))
	for i, j := range p.columns.request {
		values[i] = row[j]
	}
	return values
}

// equal reports whether training computes what the service did.
func (p *replayer) equal(row logged, t trained) bool {
	if t.values == nil {
		return false
	}
	for i, c := range p.head.Features {
		if j := p.columns.features[i]; j >= 0 && !equal(c.Type, t.values[i], row[j]) {
			return false
		}
	}
	return true
}

func (p *replayer) differ(row logged, d requests.Differing) error {
	d.RequestID, d.Row, d.Time = row[p.columns.id].Text, row[p.columns.row].Int(), time.UnixMicro(row[p.columns.time].Int()).UTC()
	mask(Kind(d.Kind), d.Column, p.Private, &d.Wanted, &d.Got)
	p.found.Kinds[d.Kind]++
	if d.Column != "" {
		p.found.Columns[d.Column]++
	}
	return p.tell(requests.Event{Difference: &d})
}

// compareCells compares the features of a row, and reports whether they differ.
func (p *replayer) compareCells(row logged, t trained) (differs bool, err error) {
	switch {
	case t.says != "":
		p.found.Rows++
		return true, p.differ(row, requests.Differing{Kind: string(Refused), Wanted: t.says})
	case t.values == nil && p.spec.Drops:
		p.found.LeftOut++
		return false, nil
	case t.values == nil:
		p.found.Rows++
		return true, p.differ(row, requests.Differing{Kind: string(Extra), Wanted: fmt.Sprintf("%d rows", t.rows), Got: "one row"})
	}
	p.found.Rows++
	for i, c := range p.head.Features {
		j := p.columns.features[i]
		if j < 0 {
			continue
		}
		if p.found.Cells++; equal(c.Type, t.values[i], row[j]) {
			continue
		}
		differs = true
		if err := p.differ(row, requests.Differing{Kind: string(Cell), Column: c.Name, Wanted: shown(c, t.values[i]), Got: shown(c, row[j])}); err != nil {
			return true, err
		}
	}
	return differs, nil
}

// predict lets Python predict for what training computes, and compares.
func (p *replayer) predict(ctx context.Context, rows []logged, results []trained, columns ir.Schema, differs []bool) error {
	var asked []int
	for i, t := range results {
		if t.values != nil {
			asked = append(asked, i)
		}
	}
	if p.training == nil {
		p.found.Rows += int64(len(rows))
	}
	if len(asked) == 0 || p.Python == "" {
		return nil
	}
	records, err := ask(ctx, p.Replay, p.folder, results, asked, columns)
	if err != nil {
		return err
	}
	defer records.Close()
	first := 0
	if len(p.head.Classes) > 0 {
		first = 1
	}
	record, python := make([]byte, 8*(first+len(p.columns.outputs))), make([]float64, first+len(p.columns.outputs))
	for _, i := range asked {
		if _, err := io.ReadFull(records, record); err != nil {
			return fmt.Errorf("read Python's predictions: %w", err)
		}
		p.found.Predictions++
		for n := range python {
			python[n] = math.Float64frombits(binary.LittleEndian.Uint64(record[8*n:]))
		}
		row, class, outputs := rows[i], -1, make([]float64, len(p.columns.outputs))
		if first == 1 {
			class = p.head.Class(row[p.columns.prediction])
		}
		for n, j := range p.columns.outputs {
			outputs[n] = row[j].Float()
		}
		d := requests.Differing{Kind: string(Prediction)}
		d.Wanted, d.Got = differing(class, outputs, python, func(want []float64) float64 {
			if p.model == nil { // Python predicted in the service, too, for another number of rows
				return roundingOf(want)
			}
			return p.model.Allowed(results[i].values, want, &p.buffer)
		})
		if d.Wanted == d.Got {
			continue
		}
		differs[i] = true
		if err := p.differ(row, d); err != nil {
			return err
		}
	}
	return nil
}
