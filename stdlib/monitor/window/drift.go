package window

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// fallbackColumn says of a row whether a fallback answered it.
const fallbackColumn = ".fallback"

// first is the time of the first row that is needed.
func (r *run) first() time.Time {
	if d := r.Monitor.Drift; d != nil && d.Previous {
		return r.Begin.Add(-r.Monitor.Window)
	}
	return r.Begin
}

// dropUnknown leaves out columns of answers that no file has: some classifiers give no probability.
func (r *run) dropUnknown(has map[string]bool) {
	if len(r.files) == 0 || !r.answers() {
		return
	}
	r.drift = slices.DeleteFunc(slices.Clone(r.drift), func(c ir.Compared) bool {
		if !has[c.Log] {
			r.notes = append(r.notes, fmt.Sprintf("%s is not compared: no answer has one", c.Name))
		}
		return !has[c.Log]
	})
	r.fallible = has[requests.Fallback]
}

func (r *run) answers() bool { return r.Monitor.Drift != nil && r.Monitor.Drift.Answers }

// compare compares the rows of the window with the reference.
func (r *run) compare(ctx context.Context) (*measure.Report, error) {
	if err := r.noteOthers(ctx); err != nil {
		return nil, err
	}
	if len(r.drift) == 0 {
		return &measure.Report{Figures: []measure.Figure{}, Verdict: measure.Unknown, Reason: "no answer has what is compared"}, nil
	}
	current, err := r.logged(ctx, r.Begin, r.End)
	if err != nil {
		return nil, fmt.Errorf("read the request log: %w", err)
	}
	reference, err := r.referenceRows(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the reference: %w", err)
	}
	return measure.Compare(ctx, r.db, r.cache.Samples, reference, current, r.driftSpec())
}

// noteOthers says how many rows of the window other models have answered.
func (r *run) noteOthers(ctx context.Context) error {
	if r.Model == "" {
		return nil
	}
	_, others, err := r.answered(ctx, r.Model)
	if others > 0 {
		r.notes = append(r.notes, fmt.Sprintf("%d rows that other versions answered are left out", others))
	}
	return err
}

// names reports whether the log says which model has answered a row.
func (r *run) names() bool {
	return !slices.ContainsFunc(r.looked, func(f *file) bool { _, ok := f.types[requests.Digest]; return !ok })
}

// answered returns how many rows of the window a model has answered, and how many others have.
func (r *run) answered(ctx context.Context, model string) (own, others int64, err error) {
	whole, cut := r.divided(r.Begin, r.End)
	of, err := r.cache.answered(ctx, r.db, whole, model)
	if err != nil {
		return 0, 0, fmt.Errorf("read the request log: %w", err)
	}
	for _, f := range whole {
		own, others = own+of[f], others+f.rows-of[f]
	}
	if len(cut) == 0 {
		return own, others, nil
	}
	var mine, all int64
	query := fmt.Sprintf("SELECT count_if(%s), count(*) FROM %s WHERE %s", answeredBy(model), parquet(cut...), between(r.Begin, r.End))
	if err := r.each(ctx, query, func(rows *sql.Rows) error { return rows.Scan(&mine, &all) }); err != nil {
		return 0, 0, fmt.Errorf("read the request log: %w", err)
	}
	return own + mine, others + all - mine, nil
}

// divided returns the files all of whose rows are of a period, and those that have others, too.
func (r *run) divided(begin, end time.Time) (whole []*file, cut []string) {
	from, to := begin.UnixMicro(), end.UnixMicro()
	for _, f := range r.looked {
		switch {
		case f.timed == 0 || f.last < from || f.first >= to:
		case f.timed == f.rows && f.first >= from && f.last < to:
			whole = append(whole, f)
		default:
			cut = append(cut, f.path)
		}
	}
	return whole, cut
}

// logged are the rows of a period, in parts if possible: the values of a file that is in it as a whole are kept for the
// next measurement. The key of such a part names the file and the model whose rows it has; what is computed of a
// row is a part of the key of each column.
func (r *run) logged(ctx context.Context, begin, end time.Time) (measure.Rows, error) {
	rows := measure.Rows{SQL: r.rows(begin, end)}
	columns, ok := attributes(r.looked, r.picked())
	if !ok {
		return rows, nil
	}
	rows.Columns = columns
	whole, cut := r.divided(begin, end)
	var own map[*file]int64
	if r.Model != "" {
		var err error
		if own, err = r.cache.answered(ctx, r.db, whole, r.Model); err != nil {
			return rows, err
		}
	}
	for _, f := range whole {
		p := measure.Part{Key: f.key, SQL: parquet(f.path), Rows: f.rows}
		if r.Model != "" {
			p = measure.Part{Key: f.key + "\x00" + r.Model, SQL: "(SELECT * FROM " + p.SQL + " WHERE " + answeredBy(r.Model) + ")", Rows: own[f]}
		}
		if p.Rows > 0 {
			rows.Parts = append(rows.Parts, p)
		}
	}
	if len(cut) > 0 {
		rows.Parts = append(rows.Parts, measure.Part{SQL: "(SELECT * FROM " + parquet(cut...) + " WHERE " + r.counts(begin, end) + ")", Rows: measure.Uncounted})
	}
	return rows, nil
}

// inputs are the rows of the window, under the names that are compared.
func (r *run) inputs() string { return r.rows(r.Begin, r.End) }

func (r *run) rows(begin, end time.Time) string {
	var columns []named
	for _, p := range r.picked() {
		columns = append(columns, p.named)
	}
	return r.selected(columns, begin, end)
}

// A pick is what is compared of a column of files.
type pick struct {
	named
	column string
	typed  bool // the value has the type of named, otherwise that of the column
}

// cast picks a column as a type.
func cast(column, typ, as string) pick {
	return pick{named{"CAST(" + ident(column) + " AS " + ir.Types[typ] + ")", typ, as}, column, true}
}

// picked are the columns of the log that are compared, and whether a fallback answered.
func (r *run) picked() (all []pick) {
	for _, c := range r.compared() {
		p := pick{named: loggedAs(c.Logged, c.Name), column: c.Log}
		if r.answers() { // files of other versions may have another type
			p = cast(c.Log, c.Type, c.Name)
		}
		all = append(all, p)
	}
	if r.fallible {
		all = append(all, pick{named{"(" + ident(requests.Fallback) + " IS NOT NULL)", "bool", fallbackColumn}, requests.Fallback, true})
	}
	return all
}

// attributes are columns of all files together. It returns false if the files do not have the same types, so that only
// DuckDB can say which those of all rows are.
func attributes(files []*file, columns []pick) (all []measure.Attribute, ok bool) {
	for _, p := range columns {
		a := measure.Attribute{Name: p.as, In: p.expr}
		for i, f := range files {
			typ, ok := f.types[p.column]
			if !ok || f.nested || i > 0 && typ != a.Type {
				return nil, false
			}
			a.Type = typ
		}
		if p.typed {
			a.Type = ir.Types[p.typ]
		}
		all = append(all, a)
	}
	return all, true
}

// compared are the columns of both sides: by of a drift may name one that is not compared.
func (r *run) compared() []ir.Compared {
	all := slices.Clone(r.drift)
	for _, c := range r.Monitor.By {
		if !slices.ContainsFunc(all, func(x ir.Compared) bool { return x.Logged == c }) {
			all = append(all, ir.Compared{Logged: c})
		}
	}
	return all
}

// referenceRows are the rows that those of the window are compared with, in parts if possible.
func (r *run) referenceRows(ctx context.Context) (measure.Rows, error) {
	if r.Monitor.Drift.Previous {
		return r.logged(ctx, r.first(), r.Begin)
	}
	rows := measure.Rows{SQL: r.reference()}
	found, err := r.cache.look(ctx, r.db, []string{r.Reference})
	if err != nil || len(found) == 0 { // without the file, the query says so
		return rows, err
	}
	var ok bool
	if rows.Columns, ok = attributes(found, r.referred()); ok {
		rows.Parts = []measure.Part{{Key: found[0].key, SQL: parquet(r.Reference), Rows: found[0].rows}}
	}
	return rows, nil
}

// reference is a query for the same rows.
func (r *run) reference() string {
	if r.Monitor.Drift.Previous {
		return r.rows(r.first(), r.Begin)
	}
	var all []string
	for _, p := range r.referred() {
		all = append(all, p.expr+" AS "+ident(p.as))
	}
	return "SELECT " + strings.Join(all, ", ") + " FROM " + parquet(r.Reference)
}

// referred are the columns of the file of the reference that are compared.
func (r *run) referred() (all []pick) {
	for _, c := range r.compared() {
		column := cmp.Or(c.Of, c.Name)
		p := pick{named: named{ident(column), c.Type, c.Name}, column: column}
		if r.answers() && c.Of == "" {
			p = cast(column, c.Type, c.Name)
		}
		all = append(all, p)
	}
	return all
}

func (r *run) driftSpec() measure.DriftSpec {
	d := r.Monitor.Drift
	s := measure.DriftSpec{MinRows: r.Monitor.MinRows, Alpha: d.Alpha, Correction: d.Correction, MinVolume: d.MinVolume, MaxVolume: d.MaxVolume, By: r.by()}
	for _, c := range r.drift {
		s.Columns = append(s.Columns, measure.Column{Name: c.Name, Type: c.Type, Test: c.Test, Max: c.Max, MaxNulls: c.MaxNulls, MaxOutside: c.MaxOutside, MaxNew: c.MaxNew})
	}
	if s.MaxFallbacks = d.MaxFallbacks; r.fallible {
		s.Fallback = fallbackColumn
	}
	return s
}
