package measure

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Drift compares the rows of a window with those of a reference, as [Compare] does. Both are names of
// relations or SELECTs, without parameters.
func Drift(ctx context.Context, db *sql.DB, reference, current string, spec DriftSpec) (*Report, error) {
	return Compare(ctx, db, nil, Rows{SQL: reference}, Rows{SQL: current}, spec)
}

// Compare compares the rows of a window with those of a reference, column by column. Both are read about once
// for as many columns as fit in memory, so that a query that takes long is better stored before. What the
// cache has is not read.
//
// For numbers it reports the share of NULL and of NaN and infinities, the range, and the share
// outside the reference's range; for categories the share of new ones; and for both the statistic
// of their test. What is compared are the values that are left: without NULL, NaN and infinities.
//
//   - Whole numbers and decimals are compared as 64-bit floats, times as seconds since 1970, or since
//     midnight. Booleans, enums and UUIDs are categories, as texts are.
//   - A column that is missing on one side, or has another kind of type, is an alert of FigureSchema.
//   - A column without values on one side has no statistic.
//   - Two columns with the same single value have the statistic 0. If the reference has one value and
//     the window others, the normed distance is infinite: it has no value, and is an alert.
//   - A column with more than 100,000 categories in the reference has no statistic: it looks like an
//     identifier. The window may have any number of others.
//
// Memory, beside the cache: 32 bytes for each value of the columns that are compared at the same time. These are as
// many as have 2 million values on one side, and at least one, for each processor.
func Compare(ctx context.Context, db *sql.DB, cache *Cache, reference, current Rows, spec DriftSpec) (*Report, error) {
	ref, err := reference.relation(ctx, db, "reference")
	if err != nil {
		return nil, err
	}
	cur, err := current.relation(ctx, db, "window")
	if err != nil {
		return nil, err
	}
	if err := spec.complete(ref); err != nil {
		return nil, err
	}
	d := &drift{db: db, cache: cache, spec: spec}
	all, err := d.compare(ctx, ref, cur, nil)
	if err != nil {
		return nil, err
	}
	r := &Report{Rows: all.rows, ReferenceRows: all.referenceRows, Figures: all.figures, Verdict: all.verdict, Reason: all.reason}
	if len(spec.By) == 0 || all.rows == 0 {
		return r, nil
	}
	groups, n, err := segments(ctx, db, cur, spec.By, maxSegments)
	if err != nil {
		return nil, err
	}
	for _, name := range spec.By {
		if ref.column(name) == nil {
			return nil, fmt.Errorf("the reference has no column %q to divide by; it has %s", name, strings.Join(ref.names(), ", "))
		}
	}
	for _, values := range groups {
		s, err := d.compare(ctx, ref.where(values, spec.By), cur.where(values, spec.By), values)
		if err != nil {
			return nil, err
		}
		r.Figures = append(r.Figures, s.figures...)
		r.add(Segment{Values: values, Rows: s.rows, ReferenceRows: s.referenceRows, Verdict: s.verdict, Reason: s.reason})
	}
	r.left(n)
	return r, nil
}

// divide makes a report about all rows, and about the largest segments of them. measure adds the figures
// of a segment to the report.
func (r *Report) divide(ctx context.Context, db *sql.DB, rows relation, all Segment, by []string, measure func(relation, map[string]string) (Segment, error)) error {
	r.Rows, r.Verdict, r.Reason = all.Rows, all.Verdict, all.Reason
	if len(by) == 0 || all.Rows == 0 {
		return nil
	}
	groups, n, err := segments(ctx, db, rows, by, maxSegments)
	if err != nil {
		return err
	}
	for _, values := range groups {
		s, err := measure(rows.where(values, by), values)
		if err != nil {
			return err
		}
		r.add(s)
	}
	r.left(n)
	return nil
}

// add adds a segment, whose alert or warning is one of the report.
func (r *Report) add(s Segment) {
	r.Segments = append(r.Segments, s)
	if severity[s.Verdict] > severity[r.Verdict] && s.Verdict != OK {
		r.Verdict, r.Reason = s.Verdict, s.name()+": "+s.Reason
	}
}

// left notes how many segments were not measured.
func (r *Report) left(n int64) {
	if rest := n - int64(len(r.Segments)); rest > 0 {
		note := fmt.Sprintf("%d smaller segments were not measured", rest)
		if r.Reason != "" {
			note = r.Reason + "; " + note
		}
		r.Reason = note
	}
}

// name writes a segment as "origin=JFK, carrier=AA".
func (s Segment) name() string {
	var parts []string
	for name, value := range s.Values {
		parts = append(parts, name+"="+value)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// complete sets the defaults of a spec, and refuses what does not fit the reference.
func (s *DriftSpec) complete(ref relation) error {
	if s.Alpha == 0 {
		s.Alpha = 0.05
	}
	if s.Alpha < 0 || s.Alpha >= 1 {
		return fmt.Errorf("alpha has to be above 0 and below 1, not %g", s.Alpha)
	}
	s.MinRows = max(s.MinRows, 1)
	switch s.Correction {
	case "":
		s.Correction = Holm
	case Holm, BenjaminiHochberg, NoCorrection:
	default:
		return fmt.Errorf("there is no correction %q; there are %s, %s and %s", s.Correction, Holm, BenjaminiHochberg, NoCorrection)
	}
	if len(s.Columns) == 0 {
		for _, a := range ref.columns {
			if !slices.Contains(s.By, a.name) {
				s.Columns = append(s.Columns, Column{Name: a.name})
			}
		}
	}
	for _, c := range s.Columns {
		k := number
		if a := ref.column(c.Name); a != nil {
			k = kindOf(a.typ)
		}
		if why := fits(c.Test, k); why != "" {
			return fmt.Errorf("column %q: %s", c.Name, why)
		}
	}
	return nil
}

// drift is one comparison.
type drift struct {
	db    *sql.DB
	cache *Cache
	spec  DriftSpec
}

// compared is the result for one group of rows.
type compared struct {
	rows, referenceRows int64
	figures             []Figure
	verdict             Verdict
	reason              string
}

func (d *drift) compare(ctx context.Context, ref, cur relation, segment map[string]string) (c compared, err error) {
	columns := make([]column, len(d.spec.Columns))
	for i, s := range d.spec.Columns {
		columns[i] = column{Column: s, ref: ref.column(s.Name), cur: cur.column(s.Name)}
		columns[i].kind = columns[i].kindOf()
	}
	reference, err := d.side(ctx, ref)
	if err != nil {
		return c, fmt.Errorf("count the reference: %w", err)
	}
	window, err := d.side(ctx, cur)
	if err != nil {
		return c, fmt.Errorf("count the window: %w", err)
	}
	c.rows, c.referenceRows = window.rows, reference.rows
	volume := Figure{Name: FigureRows, Value: ptr(float64(c.rows)), Reference: ptr(float64(c.referenceRows))}
	if segment == nil {
		if d.spec.MinVolume > 0 {
			volume.Min = ptr(float64(d.spec.MinVolume))
		}
		if d.spec.MaxVolume > 0 {
			volume.Max = ptr(float64(d.spec.MaxVolume))
		}
	}
	volume.judge()
	c.figures = append(c.figures, volume)
	if c.rows >= d.spec.MinRows {
		if err := d.fallbacks(ctx, &window, &c); err != nil {
			return c, err
		}
	}
	why := ""
	switch {
	case c.rows == 0:
		why = "the window has no rows"
	case c.referenceRows == 0:
		why = "the reference has no rows"
	case c.rows < d.spec.MinRows:
		why = fmt.Sprintf("%d rows, wanted at least %d", c.rows, d.spec.MinRows)
	}
	if why == "" {
		if err := d.columns(ctx, &reference, &window, columns, &c); err != nil {
			return c, err
		}
	}
	for i := range c.figures {
		c.figures[i].Segment = segment
	}
	if c.verdict, c.reason = sum(c.figures); why != "" && c.verdict != Alert {
		c.verdict, c.reason = Unknown, why
	}
	return c, nil
}

// fallbacks measures the share of rows that a fallback answered.
func (d *drift) fallbacks(ctx context.Context, cur *side, c *compared) error {
	if d.spec.Fallback == "" && d.spec.MaxFallbacks == nil {
		return nil
	}
	f := Figure{Name: FigureFallbacks, Max: d.spec.MaxFallbacks, Reason: "no answer says whether it was one"}
	if d.spec.Fallback != "" {
		a := cur.column(d.spec.Fallback)
		if a == nil || a.typ != "BOOLEAN" {
			return fmt.Errorf("the window has no column %q of type BOOLEAN to count the fallbacks; it has %s", d.spec.Fallback, strings.Join(cur.names(), ", "))
		}
		all, err := d.samples(ctx, cur, []*attribute{a})
		if err != nil {
			return fmt.Errorf("count the fallbacks: %w", err)
		}
		f.Value, f.Reason = ptr(float64(all[0].counts["true"])/float64(c.rows)), ""
	}
	f.judge()
	c.figures = append(c.figures, f)
	return nil
}

// columns measures the columns, several at the same time.
func (d *drift) columns(ctx context.Context, ref, cur *side, columns []column, c *compared) error {
	figures := make([][]Figure, len(columns))
	some := max(1, valuesAtOnce/int(max(c.rows, c.referenceRows)))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	first := 0
	for batch := range slices.Chunk(columns, some) {
		figures := figures[first : first+len(batch)]
		first += len(batch)
		g.Go(func() (err error) {
			if err := d.sampled(ctx, ref, cur, batch); err != nil {
				return err
			}
			for i := range batch {
				c := &batch[i]
				if figures[i], err = d.measure(ctx, ref, cur, c); err != nil {
					return fmt.Errorf("column %q: %w", c.Name, err)
				}
				c.reference, c.current = nil, nil // their memory is for the next ones
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, f := range figures {
		c.figures = append(c.figures, f...)
	}
	d.significance(c.figures)
	return nil
}

// significance judges the figures that have a p-value and no limit.
func (d *drift) significance(figures []Figure) {
	var tests []*Figure
	var p []float64
	for i := range figures {
		if f := &figures[i]; f.P != nil && f.Max == nil {
			tests, p = append(tests, f), append(p, *f.P)
		}
	}
	for i, adjusted := range adjust(p, d.spec.Correction) {
		f := tests[i]
		f.PAdj = &adjusted
		switch f.Verdict = OK; {
		case adjusted < d.spec.Alpha:
			f.Verdict = Alert
		case *f.P < d.spec.Alpha:
			f.Verdict = Warn
		}
	}
}

func ptr(x float64) *float64 { return &x }
