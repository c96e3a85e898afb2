package project

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
)

// figureTable are the columns of exported figures.
var figureTable = ir.Schema{
	{Name: "monitor", Type: "string"}, {Name: "number", Type: "int64"}, {Name: "at", Type: "timestamptz"}, {Name: "begin", Type: "timestamptz"}, {Name: "end", Type: "timestamptz"},
	{Name: "estimated", Type: "bool"}, {Name: "column", Type: "string", Nullable: true}, {Name: "name", Type: "string"}, {Name: "test", Type: "string", Nullable: true},
	{Name: "segment", Type: "string", Nullable: true, JSON: true}, {Name: "value", Type: "float64", Nullable: true}, {Name: "p", Type: "float64", Nullable: true},
	{Name: "p_adj", Type: "float64", Nullable: true}, {Name: "reference", Type: "float64", Nullable: true}, {Name: "lower", Type: "float64", Nullable: true},
	{Name: "upper", Type: "float64", Nullable: true}, {Name: "min", Type: "float64", Nullable: true}, {Name: "max", Type: "float64", Nullable: true},
	{Name: "verdict", Type: "string"}, {Name: "reason", Type: "string", Nullable: true},
}

// ExportFigures writes the figures of measurements to a Parquet file, the oldest first, and returns
// how many there are.
func (w *Workspace) ExportFigures(ctx context.Context, h *MonitorHistory, to string, force bool) (int64, error) {
	if !force && exists(to) {
		return 0, existsError(to)
	}
	rows := duck.Rows{}
	for _, c := range figureTable {
		rows.Columns = append(rows.Columns, c.Name)
	}
	for _, m := range slices.Backward(h.Measurements) {
		a, err := ReportOf(&m)
		if err != nil {
			return 0, err
		}
		rows.Values = append(rows.Values, figureRows(&m, a.Report, false)...)
		rows.Values = append(rows.Values, figureRows(&m, a.Estimate, true)...)
	}
	return int64(len(rows.Values)), inPlace(to, "write to "+to, force, func(made string) error {
		broken, err := w.set.SQL.Write(ctx, map[string]duck.Literal{"figures": {Schema: figureTable, Rows: rows}}, map[string]string{"figures": made})
		if err == nil && len(broken["figures"]) > 0 {
			err = fmt.Errorf("a figure does not fit the table: %s", broken["figures"][0])
		}
		return err
	})
}

func figureRows(m *state.Measurement, r *measure.Report, estimated bool) (all [][]*string) {
	if r == nil {
		return nil
	}
	text := func(s string) *string { return &s }
	some := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	number := func(f *float64) *string {
		if f == nil {
			return nil
		}
		return text(strconv.FormatFloat(*f, 'g', -1, 64))
	}
	moment := func(t time.Time) *string { return text(t.UTC().Format("2006-01-02T15:04:05.000000Z")) }
	for _, f := range r.Figures {
		segment := ""
		if len(f.Segment) > 0 {
			b, _ := json.Marshal(f.Segment) // texts are always JSON
			segment = string(b)
		}
		all = append(all, []*string{
			text(m.Monitor), text(strconv.FormatInt(m.Number, 10)), moment(m.At), moment(m.Begin), moment(m.End), text(strconv.FormatBool(estimated)),
			some(f.Column), text(f.Name), some(f.Test), some(segment), number(f.Value), number(f.P), number(f.PAdj), number(f.Reference), number(f.Lower), number(f.Upper),
			number(f.Min), number(f.Max), text(string(f.Verdict)), some(f.Reason),
		})
	}
	return all
}
