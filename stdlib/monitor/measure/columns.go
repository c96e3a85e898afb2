package measure

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A column is one that is compared, with what is known of both sides.
type column struct {
	Column
	ref, cur *attribute // nil if the column is missing
	kind     kind       // of both sides; "" if they differ
	// Samples of both sides; nil if the column is missing.
	reference, current *sample
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

// sampled fills in the samples of columns.
func (d *drift) sampled(ctx context.Context, ref, cur *side, columns []column) error {
	of := make([]*attribute, len(columns))
	for i := range columns {
		of[i] = columns[i].ref
	}
	reference, err := d.samples(ctx, ref, of)
	if err != nil {
		return fmt.Errorf("read the reference: %w", err)
	}
	for i := range columns {
		of[i] = columns[i].cur
	}
	current, err := d.samples(ctx, cur, of)
	if err != nil {
		return fmt.Errorf("read the window: %w", err)
	}
	for i := range columns {
		columns[i].reference, columns[i].current = reference[i], current[i]
	}
	return nil
}

// measure returns the figures of one column.
func (d *drift) measure(ctx context.Context, ref, cur *side, c *column) (figures []Figure, err error) {
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
	r, s := c.reference, c.current
	share := func(n, of int64) *float64 {
		if of == 0 {
			return nil
		}
		return ptr(float64(n) / float64(of))
	}
	add(Figure{Name: FigureNulls, Value: share(cur.rows-s.filled, cur.rows), Reference: share(ref.rows-r.filled, ref.rows), Max: c.MaxNulls})
	if c.numeric() {
		add(Figure{Name: FigureNonFinite, Value: share(s.filled-s.finite(), cur.rows), Reference: share(r.filled-r.finite(), ref.rows)})
		low, high := s.limits()
		refLow, refHigh := r.limits()
		if low != nil {
			add(Figure{Name: FigureMin, Value: low, Reference: refLow})
			add(Figure{Name: FigureMax, Value: high, Reference: refHigh})
		}
		switch {
		case refLow != nil && low != nil:
			add(Figure{Name: FigureOutside, Value: share(s.outside(*refLow, *refHigh), s.finite()), Max: c.MaxOutside})
		case c.MaxOutside != nil:
			add(Figure{Name: FigureOutside, Max: c.MaxOutside, Reason: empty(r.finite())})
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
			n, m = r.finite(), s.finite()
		}
		f.Test = DefaultTest(c.numeric(), m, n, distinct(fewValues, r, s))
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
func (d *drift) test(ctx context.Context, ref, cur *side, c *column, f *Figure, add func(Figure)) error {
	r, s := c.reference, c.current
	switch {
	case c.numeric() && (r.finite() == 0 || s.finite() == 0):
		f.Reason = empty(r.finite())
	case c.numeric() && (f.Test == TestPSI || f.Test == TestJensenShannon) && math.IsInf(width(r, s), 0):
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
		d.ordered(f, r.ordered, s.ordered)
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

// width is how far the least and the greatest value of two samples are from each other.
func width(a, b *sample) float64 {
	return max(a.ordered[len(a.ordered)-1], b.ordered[len(b.ordered)-1]) - min(a.ordered[0], b.ordered[0])
}

// empty says which side has no values. reference is how many that of the reference are.
func empty(reference int64) string {
	if reference == 0 {
		return "the reference has no values"
	}
	return "the window has no values"
}

var tooMany = fmt.Sprintf("the reference has more than %d values, as of an identifier", maxCategories)

// tallies counts the values or intervals of a column on both sides, or returns false if the reference has too many
// values.
func (d *drift) tallies(ctx context.Context, ref, cur *side, c *column, test string) (all []tally, ok bool, err error) {
	r, s := c.reference, c.current
	switch {
	case r.many || s.many:
		return counts(ctx, d.db, ref.relation, cur.relation, *c.ref, *c.cur)
	case !c.numeric():
		return talliesOf(r, s), true, nil
	case test == TestChiSquare || distinct(binnedValues, r) <= binnedValues:
		return talliesOf(r, s), distinct(maxCategories, r) <= maxCategories, nil
	}
	low, high := min(r.ordered[0], s.ordered[0]), max(r.ordered[len(r.ordered)-1], s.ordered[len(s.ordered)-1])
	edges := sturges(low, high, r.finite()+s.finite(), whole(c.ref.typ) && whole(c.cur.typ))
	a, b := r.histogram(edges), s.histogram(edges)
	for i := range a {
		all = append(all, tally{a[i], b[i], 1})
	}
	return all, true, nil
}

// ordered fills in the statistic of a test of two sorted samples.
func (d *drift) ordered(f *Figure, a, b []float64) {
	switch f.Test {
	case TestKS:
		most := ksStatistic(a, b)
		f.Value, f.P = &most, ptr(d.cache.ksPValue(int64(len(a)), int64(len(b)), most))
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
