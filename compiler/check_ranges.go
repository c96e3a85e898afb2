package compiler

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// checkRanges refuses columns whose values are never, or for some rows not, what their schema
// declares. In the second case, it is the declarations of the inputs that allow these rows;
// columns that the user trusts are then only noted.
func (c *checker) checkRanges(f *factory, e *entity, o *out, reported map[string]bool) {
	trust := stringsOf(e.fields.get("trust"))
	for _, made := range f.made[o] {
		declared := o.schema.Column(made.Name)
		if declared == nil || reported[made.Name] {
			continue
		}
		within := facts.RangeOf(declared.Type, domain(declared))
		if within.Apart(within) {
			continue // its min is above its max, which is reported where it is written
		}
		if made.Range.Apart(within) {
			c.fail(e, c.outside(e, o, made, facts.Part{Offset: made.Offset, Range: made.Range, Of: made.Of, Reads: reads(made)}, ""))
			continue
		}
		for _, part := range made.Parts {
			found := ""
			switch reached := part.Reached(); {
			case part.Range.Apart(within) && (!part.Constant || part.Kind == facts.Fallback):
				found = part.Range.String()
			case part.Range.Apart(within):
				continue // see checkConstants
			default:
				if found = beyond(reached, within); found == "" {
					continue
				}
			}
			if slices.Contains(trust, made.Name) {
				c.trust(e, made.Name)
				break
			}
			c.fail(e, c.outside(e, o, made, part, found))
			break
		}
	}
}

func reads(c facts.Column) []facts.Ref {
	var all []facts.Ref
	for _, p := range c.Parts {
		for _, r := range p.Reads {
			if !slices.Contains(all, r) {
				all = append(all, r)
			}
		}
	}
	return all
}

// beyond returns a value that is reached and not declared, or "".
func beyond(reached, within facts.Range) string {
	switch {
	case reached.Kind == facts.Texts && within.Kind == facts.Texts:
		for _, text := range reached.Texts {
			if !slices.Contains(within.Texts, text) {
				return "'" + text + "'"
			}
		}
	case reached.Kind != within.Kind || within.Kind != facts.Numbers && within.Kind != facts.Times:
	case !math.IsInf(reached.High, -1) && facts.Above(reached.High, within.High):
		return facts.Range{Kind: within.Kind, Low: reached.High, High: reached.High}.String()
	case !math.IsInf(reached.Low, 1) && facts.Above(within.Low, reached.Low):
		return facts.Range{Kind: within.Kind, Low: reached.Low, High: reached.Low}.String()
	}
	return ""
}

// outside describes a part of a column that leaves its declaration. some is a value that it has
// in some rows, or empty if it is never what is declared.
func (c *checker) outside(e *entity, o *out, made facts.Column, part facts.Part, some string) diag.Diagnostic {
	declared := o.schema.Column(made.Name)
	d := diag.Diagnostic{Wanted: allowed(*declared), Found: some}
	always := some == ""
	at := c.sqlSpan(e, e.string(e.component.SQL), part.Offset)
	at.Label = "it is " + some + " for some rows"
	switch {
	case always:
		d.Message = fmt.Sprintf("%s.%s is never what its schema declares", e, made.Name)
		d.Found, at.Label = part.Range.String(), "this is "+part.Range.String()
	case part.Kind == facts.Whole:
		d.Message = fmt.Sprintf("%s.%s can be %s, which its schema does not allow", e, made.Name, some)
	default:
		d.Message = fmt.Sprintf("%s.%s can be %s by %s, which its schema does not allow", e, made.Name, some, constructs[part.Kind])
		at.Label = "this is " + part.Range.String()
	}
	d.Spans = append(d.Spans, at)
	for _, ref := range part.Reads {
		if in := e.input(ref.Input); in != nil && in.out != nil {
			if col := in.out.schema.Column(ref.Column); col != nil && allowed(*col) != "" {
				s := c.tableColumn(in.out, ref.Column)
				s.Label = ref.Column + " is " + allowed(*col)
				d.Spans = append(d.Spans, s)
			}
		}
	}
	d.Spans = append(d.Spans, c.columnSpan(e, made.Name))
	fixes := []string{fmt.Sprintf("correct the query, or what %s declares", made.Name)}
	switch {
	case percent(part, *declared):
		fixes = []string{"a share is from 0 to 1, a percentage from 0 to 100: convert it, or declare max: 100"}
	case !always && len(part.Reads) == 1:
		fixes = append(fixes, fmt.Sprintf("declare closer bounds of %s where it is read", part.Reads[0].Column))
	}
	if !always && slices.Contains(e.component.Declares, "trust") {
		fixes = append(fixes, fmt.Sprintf("or set trust: [%q] if it never happens; the rows are checked in any case", made.Name))
	}
	d.Hint = strings.Join(fixes, "; ")
	return d
}

// constructs names what has several parts.
var constructs = map[facts.PartKind]string{
	facts.Arm: "an arm of its CASE", facts.Fallback: "an argument of coalesce", facts.Member: "a part of the UNION",
}

// percent reports whether a part is a percentage, and the column a share.
func percent(part facts.Part, declared ir.Column) bool {
	r := part.Range
	return declared.Max == "1" && r.Kind == facts.Numbers && r.Low >= 0 && r.High > 10 && r.High <= 100
}

// checkUnits refuses a column in another unit than the values that it is made of.
func (c *checker) checkUnits(f *factory, e *entity, o *out) {
	for _, made := range f.made[o] {
		declared := o.schema.Column(made.Name)
		if declared == nil || declared.Unit == "" || made.Unit.Text == "" || declared.Unit == made.Unit.Text {
			continue
		}
		at := c.sqlSpan(e, e.string(e.component.SQL), made.Offset)
		at.Label = fmt.Sprintf("this is in %s", made.Unit.Text)
		d := diag.Diagnostic{
			Message: fmt.Sprintf("%s.%s is in %s, but its schema declares %s", e, made.Name, made.Unit.Text, declared.Unit),
			Spans:   append([]diag.Span{at}, c.unitSpan(e, made.Unit)...),
			Hint:    fmt.Sprintf("convert the values, or declare unit: %q", made.Unit.Text),
		}
		s := c.columnSpan(e, made.Name)
		s.Label = fmt.Sprintf("declared in %s here", declared.Unit)
		d.Spans = append(d.Spans, s)
		c.fail(e, d)
	}
}

// unitSpan returns where a unit is declared.
func (c *checker) unitSpan(e *entity, u facts.Unit) []diag.Span {
	in := e.input(u.Of.Input)
	if in == nil || in.out == nil {
		return nil
	}
	s := c.tableColumn(in.out, u.Of.Column)
	s.Label = fmt.Sprintf("%s is in %s", u.Column, u.Text)
	return []diag.Span{s}
}

// otherZone describes an expression that puts together a time with a zone and one without.
func (c *checker) otherZone(e *entity, f facts.Finding, at diag.Span) diag.Diagnostic {
	x, y := f.Columns[0], f.Columns[1]
	at.Label = "this is a " + y.Type
	d := diag.Diagnostic{
		Message: fmt.Sprintf("the SQL of %s puts together %s (%s) and %s (%s), which depends on a time zone", e, x.Name, x.Type, y.Name, y.Type),
		Spans:   []diag.Span{at},
	}
	zoned := x
	for _, col := range f.Columns {
		if col.Type == "timestamptz" {
			zoned = col
		}
		if in := e.input(col.Of.Input); in != nil && in.out != nil {
			s := c.tableColumn(in.out, col.Of.Column)
			s.Label = fmt.Sprintf("%s is a %s", col.Name, col.Type)
			d.Spans = append(d.Spans, s)
		}
	}
	d.Hint = fmt.Sprintf("write %s AT TIME ZONE 'UTC', or whatever zone the other times are in", zoned.Name)
	return d
}

// otherUnit describes an expression that puts together values in two units.
func (c *checker) otherUnit(e *entity, f facts.Finding) diag.Diagnostic {
	x, y := f.Units[0], f.Units[1]
	at := c.sqlSpan(e, e.string(e.component.SQL), f.Offset)
	at.Label = fmt.Sprintf("%s is in %s, the other one in %s", y.Column, y.Text, x.Text)
	return diag.Diagnostic{
		Message: fmt.Sprintf("the SQL of %s puts together %s in %s and %s in %s", e, x.Column, x.Text, y.Column, y.Text),
		Spans:   slices.Concat([]diag.Span{at}, c.unitSpan(e, x), c.unitSpan(e, y)),
		Hint:    "convert one of them, or declare the same unit for both",
	}
}
