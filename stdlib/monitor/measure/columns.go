package measure

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A column is one that is compared, with what is known of both sides.
type column struct {
	Column
	ref, cur *attribute // nil if the column is missing
	kind     kind       // of both sides; "" if they differ
	distinct int        // values of both sides, as far as the choice of a test needs them
	binned   bool       // the reference has more than binnedValues
	sides    [2]summary // of the reference and of the window
}

// A summary is what one scan shows of a column.
type summary struct {
	filled, finite int64 // values that are not NULL, and of these the finite ones
	low, high      float64
	outside        int64 // of the window
}

func (c *column) kindOf() kind {
	if c.ref == nil || c.cur == nil {
		return ""
	}
	if r := kindOf(c.ref.typ); r == kindOf(c.cur.typ) {
		return r
	}
	return ""
}

// numeric reports whether the values of a column have an order and distances.
func (c *column) numeric() bool { return c.kind == number || c.kind == moment }

// summarize fills in the summaries of one side, in one scan, and returns its number of rows.
func (d *drift) summarize(ctx context.Context, r relation, columns []column, current bool) (rows int64, err error) {
	side := 0
	if current {
		side = 1
	}
	selects := []string{"count(*)"}
	var take []func(x sql.NullFloat64)
	add := func(e string, f func(x sql.NullFloat64)) {
		selects, take = append(selects, e), append(take, f)
	}
	for i := range columns {
		c := &columns[i]
		a, s := c.ref, &c.sides[side]
		if current {
			a = c.cur
		}
		if a == nil {
			continue
		}
		add("count("+ident(a.name)+")", func(x sql.NullFloat64) { s.filled = int64(x.Float64) })
		if !c.numeric() {
			continue
		}
		x := a.finite()
		add("count("+x+")", func(x sql.NullFloat64) { s.finite = int64(x.Float64) })
		add("min("+x+")", func(x sql.NullFloat64) { s.low = x.Float64 })
		add("max("+x+")", func(x sql.NullFloat64) { s.high = x.Float64 })
		if current && c.sides[0].finite > 0 {
			add(fmt.Sprintf("count_if(%s < %s OR %s > %s)", x, double(c.sides[0].low), x, double(c.sides[0].high)), func(x sql.NullFloat64) { s.outside = int64(x.Float64) })
		}
	}
	values, err := one(ctx, d.db, selects, r.from)
	if err != nil {
		return 0, err
	}
	for i, f := range take {
		f(values[i+1])
	}
	return int64(values[0].Float64), nil
}

// values finds out which numbers have few values. It looks at some rows first: most numbers have
// many values in them, and need no more.
func (d *drift) values(ctx context.Context, ref, cur relation, columns []column, c *compared) error {
	var few []*column
	var selects []string
	for i := range columns {
		if x := &columns[i]; x.numeric() && (x.Test == "" || x.Test == TestPSI || x.Test == TestJensenShannon) {
			few, selects = append(few, x), append(selects, "count(DISTINCT "+x.ref.finite()+")")
		}
	}
	if len(few) == 0 {
		return nil
	}
	found, err := one(ctx, d.db, slices.Clone(selects), fmt.Sprintf("(SELECT * FROM %s LIMIT 10000)", ref.from))
	if err != nil {
		return err
	}
	for i, x := range few {
		if x.distinct = int(found[i].Float64); x.distinct > binnedValues {
			x.binned = true
			continue
		}
		exact, err := one(ctx, d.db, []string{selects[i]}, ref.from)
		if err != nil {
			return err
		}
		x.distinct = int(exact[0].Float64)
		if x.binned = x.distinct > binnedValues; x.distinct > fewValues {
			continue
		}
		both := fmt.Sprintf("(SELECT %s AS x FROM %s UNION ALL SELECT %s FROM %s)", x.ref.finite(), ref.from, x.cur.finite(), cur.from)
		if exact, err = one(ctx, d.db, []string{"count(DISTINCT x)"}, both); err != nil {
			return err
		}
		x.distinct = int(exact[0].Float64)
	}
	return nil
}

// measure returns the figures of one column.
func (d *drift) measure(ctx context.Context, ref, cur relation, c *column, all *compared) (figures []Figure, err error) {
	add := func(f Figure) {
		f.Column = c.Name
		f.judge()
		figures = append(figures, f)
	}
	if why := c.differs(); why != "" {
		add(Figure{Name: FigureSchema, Value: ptr(1), Max: ptr(0), Reason: why})
		return figures, nil
	}
	add(Figure{Name: FigureSchema, Value: ptr(0)})
	r, s := c.sides[0], c.sides[1]
	share := func(n, of int64) *float64 {
		if of == 0 {
			return nil
		}
		return ptr(float64(n) / float64(of))
	}
	add(Figure{Name: FigureNulls, Value: share(all.rows-s.filled, all.rows), Reference: share(all.referenceRows-r.filled, all.referenceRows), Max: c.MaxNulls})
	if c.numeric() {
		add(Figure{Name: FigureNonFinite, Value: share(s.filled-s.finite, all.rows), Reference: share(r.filled-r.finite, all.referenceRows)})
		limits := func(side summary) (low, high *float64) {
			if side.finite == 0 {
				return nil, nil
			}
			return &side.low, &side.high
		}
		low, high := limits(s)
		refLow, refHigh := limits(r)
		if low != nil {
			add(Figure{Name: FigureMin, Value: low, Reference: refLow})
			add(Figure{Name: FigureMax, Value: high, Reference: refHigh})
		}
		switch {
		case refLow != nil && low != nil:
			add(Figure{Name: FigureOutside, Value: share(s.outside, s.finite), Max: c.MaxOutside})
		case c.MaxOutside != nil:
			add(Figure{Name: FigureOutside, Max: c.MaxOutside, Reason: empty(r.finite)})
		}
	}
	if c.kind == other {
		add(Figure{Name: FigureDrift, Reason: "values of type " + c.ref.typ + " are not compared"})
		return figures, nil
	}
	f := Figure{Name: FigureDrift, Test: c.Test, Max: c.Max}
	if f.Test == "" {
		n, m := r.filled, s.filled
		if c.numeric() {
			n, m = r.finite, s.finite
		}
		f.Test = DefaultTest(c.numeric(), m, n, c.distinct)
	}
	if limit, ok := DefaultMax(f.Test); ok && f.Max == nil {
		f.Max = &limit
	}
	if err := d.test(ctx, ref, cur, c, &f, add); err != nil {
		return nil, err
	}
	return figures, nil
}

// differs says why the columns of both sides are not comparable, or "".
func (c *column) differs() string {
	declared := strings.ToUpper(ir.Types[c.Type])
	switch {
	case c.cur == nil && c.ref == nil:
		return "the column is missing in the reference and in the window"
	case c.cur == nil:
		return "the column is missing in the window"
	case c.ref == nil:
		return "the column is missing in the reference"
	case declared != "" && c.cur.typ != declared:
		return fmt.Sprintf("the column is %s in the window, and it is declared %s", c.cur.typ, declared)
	case c.kind == "":
		return fmt.Sprintf("the column is %s in the reference and %s in the window", c.ref.typ, c.cur.typ)
	}
	return ""
}

// test adds the statistic of a column.
func (d *drift) test(ctx context.Context, ref, cur relation, c *column, f *Figure, add func(Figure)) error {
	r, s := c.sides[0], c.sides[1]
	switch {
	case c.numeric() && (r.finite == 0 || s.finite == 0):
		f.Reason = empty(r.finite)
	case c.numeric() && (f.Test == TestPSI || f.Test == TestJensenShannon) && math.IsInf(max(r.high, s.high)-min(r.low, s.low), 0):
		f.Reason = tooLarge // intervals would be infinitely wide
	case c.kind == category && (r.filled == 0 || s.filled == 0):
		f.Reason = empty(r.filled)
		fresh := Figure{Name: FigureNewCategories, Max: c.MaxNew}
		if s.filled > 0 {
			fresh.Value = ptr(1)
		} else {
			fresh.Reason = f.Reason
		}
		add(fresh)
	}
	if f.Reason != "" {
		add(*f)
		return nil
	}
	switch f.Test {
	case TestKS, TestWasserstein, TestWassersteinSD:
		a, err := values(ctx, d.db, ref, *c.ref, r.finite)
		if err != nil {
			return err
		}
		b, err := values(ctx, d.db, cur, *c.cur, s.finite)
		if err != nil {
			return err
		}
		ordered(f, a, b)
		add(*f)
		return nil
	}
	tallies, ok, err := d.tallies(ctx, ref, cur, c, f.Test)
	if err != nil {
		return err
	}
	if c.kind == category {
		fresh := 0.0
		for _, t := range tallies {
			if t.reference == 0 {
				fresh += t.current * t.values
			}
		}
		add(Figure{Name: FigureNewCategories, Value: ptr(fresh / float64(s.filled)), Max: c.MaxNew})
	}
	if !ok {
		f.Reason = tooMany
	} else {
		grouped(f, tallies)
	}
	add(*f)
	return nil
}

// empty says which side has no values. reference is how many that of the reference are.
func empty(reference int64) string {
	if reference == 0 {
		return "the reference has no values"
	}
	return "the window has no values"
}

var tooMany = fmt.Sprintf("the reference has more than %d values, as of an identifier", maxCategories)

// tallies counts the values or intervals of a column on both sides.
func (d *drift) tallies(ctx context.Context, ref, cur relation, c *column, test string) (all []tally, ok bool, err error) {
	if !c.numeric() || !c.binned || test == TestChiSquare {
		return counts(ctx, d.db, ref, cur, *c.ref, *c.cur, maxCategories)
	}
	r, s := c.sides[0], c.sides[1]
	edges := sturges(min(r.low, s.low), max(r.high, s.high), r.finite+s.finite, whole(c.ref.typ) && whole(c.cur.typ))
	a, err := histogram(ctx, d.db, ref, *c.ref, edges)
	if err != nil {
		return nil, false, err
	}
	b, err := histogram(ctx, d.db, cur, *c.cur, edges)
	for i := range a {
		all = append(all, tally{a[i], b[i], 1})
	}
	return all, true, err
}

// ordered fills in the statistic of a test of two sorted samples.
func ordered(f *Figure, a, b []float64) {
	switch f.Test {
	case TestKS:
		d := ksStatistic(a, b)
		f.Value, f.P = &d, ptr(ksPValue(int64(len(a)), int64(len(b)), d))
	case TestWasserstein:
		f.Value = ptr(wasserstein(a, b))
	case TestWassersteinSD:
		w := wasserstein(a, b)
		switch {
		case w == 0:
			f.Value = &w
		case a[0] == a[len(a)-1]:
			f.Verdict, f.Reason = Alert, fmt.Sprintf("all values of the reference are %g, and the window has others", a[0])
		default:
			f.Value = ptr(w / deviation(a))
		}
	}
}

// grouped fills in the statistic of a test of counts.
func grouped(f *Figure, all []tally) {
	switch f.Test {
	case TestPSI:
		f.Value = ptr(psi(all))
	case TestJensenShannon:
		f.Value = ptr(jensenShannon(all))
	case TestChiSquare:
		x, degrees := chiSquare(all)
		f.Value, f.P = &x, ptr(1)
		if degrees > 0 {
			f.P = ptr(chiSquareSF(x, degrees))
		}
	}
}
