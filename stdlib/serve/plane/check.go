package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
)

// A check is rows and what the model predicted for them where it was trained.
// A machine that computes otherwise must not serve it.
type check struct {
	Rows    [][]json.RawMessage `json:"rows"`    // values of the columns of the model, as in a request
	Outputs [][]string          `json:"outputs"` // of each row, as hexadecimal floats
}

// run predicts all rows again. Its error names the first that differs.
func (c *check) run(m *model.Model) error {
	if c == nil {
		return nil
	}
	if len(c.Rows) != len(c.Outputs) {
		return fmt.Errorf("it has %d rows and %d predictions to compare", len(c.Rows), len(c.Outputs))
	}
	// Bounds of the columns are for requests: training data may go beyond them.
	var columns ir.Schema
	for _, col := range m.Columns() {
		columns = append(columns, ir.Column{Name: col.Name, Type: col.Type, Nullable: true})
	}
	decoder, err := request.New(columns, 1)
	if err != nil {
		return err
	}
	var rows request.Rows
	var b model.Buffer
	outputs, wanted := make([]float64, m.Outputs()), make([]float64, m.Outputs())
	for i, row := range c.Rows {
		if len(row) != len(columns) {
			return fmt.Errorf("row %d has %d values of %d columns", i, len(row), len(columns))
		}
		instance := map[string]json.RawMessage{}
		for j, v := range row {
			instance[columns[j].Name] = v
		}
		body, err := json.Marshal(map[string]any{"instances": []any{instance}})
		if err != nil {
			return err
		}
		shown, _ := json.Marshal(row)
		if errs := decoder.Decode(body, &rows); len(errs) > 0 {
			return fmt.Errorf("row %d, %s: %v: %s", i, shown, errs[0].Loc, errs[0].Msg)
		}
		if err := m.Predict(context.Background(), rows.Row(0), outputs, &b); err != nil {
			return fmt.Errorf("row %d, %s: %w", i, shown, err)
		}
		if len(c.Outputs[i]) != len(outputs) {
			return fmt.Errorf("row %d, %s: %d numbers, wanted %d", i, shown, len(outputs), len(c.Outputs[i]))
		}
		for j, text := range c.Outputs[i] {
			if wanted[j], err = strconv.ParseFloat(text, 64); err != nil {
				return fmt.Errorf("row %d: %q is not a number", i, text)
			}
		}
		allowed := m.Allowed(rows.Row(0), wanted, &b)
		for j, got := range outputs {
			if want := wanted[j]; !model.Same(got, want, allowed) {
				return fmt.Errorf("row %d, %s: output %d is %v, wanted %v", i, shown, j, got, want)
			}
		}
	}
	return nil
}

// warmUp predicts once, so that the first request finds everything loaded.
func (p *Plane) warmUp(ctx context.Context) {
	body, err := json.Marshal(map[string]any{"instances": []any{example(p.columns)}})
	if err != nil {
		p.Log("note: " + err.Error())
		return
	}
	x := p.newWork()
	var says string
	if errs := p.decoder.Decode(body, &x.rows); len(errs) > 0 {
		says = errs[0].Msg
	} else if err := p.ask(ctx, x); err != nil {
		says = err.Error() // the example is made up: a model may rightly refuse it
	}
	if says != "" {
		p.Log("note: the example of the schema has no prediction: " + says)
	}
	p.work.Put(x)
}
