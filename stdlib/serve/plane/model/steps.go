package model

import (
	"fmt"
	"math"
	"slices"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A Step makes numbers of registers. Each number that it makes is a register of its own,
// after the features and those of earlier steps. A register that is a feature as [Text] has
// no number: only OneHot, Table and Missing read it.
type Step struct {
	Op Op    `json:"op"`
	Of []int `json:"of,omitempty"` // registers that it reads

	// Of Scale: x - subtract, then / divide, * multiply, + add, each if given, one for each
	// register, and at the end bounded by the two numbers of clip.
	Subtract []float64 `json:"subtract,omitempty"`
	Divide   []float64 `json:"divide,omitempty"`
	Multiply []float64 `json:"multiply,omitempty"`
	Add      []float64 `json:"add,omitempty"`
	Clip     []float64 `json:"clip,omitempty"`

	// Of Impute: a number for each register. Of Constant: the numbers. Of Table: Width for each
	// category; null is NaN.
	Values []*float64 `json:"values,omitempty"`
	// Of Bins: in ascending order.
	Edges []float64 `json:"edges,omitempty"`

	// Of OneHot and Table: texts, or numbers if the register is one; nil is a missing value.
	Categories []any   `json:"categories,omitempty"`
	Null       *string `json:"null,omitempty"` // the text that a missing one becomes
	Width      int     `json:"width,omitempty"`
	Positions  []int   `json:"positions,omitempty"` // of OneHot: of the 1 of each category, or -1
	// Any other value, as in Positions or Values. Without it, the value is refused.
	Unknown []*float64 `json:"unknown,omitempty"`
}

// An Op is what a step does.
type Op string

const (
	OpScale    Op = "scale"    // one number for each register
	OpImpute   Op = "impute"   // instead of a missing number
	OpMissing  Op = "missing"  // 1 if it is missing
	OpBins     Op = "bins"     // how many edges are at most the number
	OpProduct  Op = "product"  // of two registers
	OpConstant Op = "constant" // of none
	OpOneHot   Op = "onehot"   // Width numbers, one of which may be 1
	OpTable    Op = "table"    // Width numbers for each category
)

// What the model says about values, as tenon_pipeline.py does.
const (
	unknownValue = "the training data did not have this value"
	noMissing    = "the model takes no missing value"
	noSuchSize   = "the model takes no number of this size"
)

// A program computes the registers of a row after its features.
type program struct {
	steps   []func(x []float64, row []rowsql.Value) error
	origins []int // of each register: the column that it is made of
	text    []bool
}

// newProgram checks steps and makes them ready.
func (m *Model) newProgram(steps []Step) error {
	p := &m.program
	for i := range m.features {
		p.origins, p.text = append(p.origins, m.features[i].Column), append(p.text, m.features[i].As == Text)
	}
	for i := range steps {
		s := &steps[i]
		if err := m.checkStep(s); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		run, width, err := m.step(s, len(p.origins))
		if err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		p.steps = append(p.steps, run)
		for j := range width {
			origin := 0
			if len(s.Of) > 0 {
				origin = p.origins[s.Of[min(j, len(s.Of)-1)]]
			}
			p.origins, p.text = append(p.origins, origin), append(p.text, false)
		}
	}
	return nil
}

// checkStep checks what all steps have in common.
func (m *Model) checkStep(s *Step) error {
	for _, r := range s.Of {
		if r < 0 || r >= len(m.program.origins) {
			return fmt.Errorf("it reads register %d of %d", r, len(m.program.origins))
		}
		if m.program.text[r] && s.Op != OpOneHot && s.Op != OpTable && s.Op != OpMissing {
			return fmt.Errorf("%q reads the text of register %d", s.Op, r)
		}
	}
	for _, list := range [][]float64{s.Subtract, s.Divide, s.Multiply, s.Add} {
		if list != nil && len(list) != len(s.Of) {
			return fmt.Errorf("it has %d numbers for %d registers", len(list), len(s.Of))
		}
	}
	wanted := map[Op]int{OpOneHot: 1, OpTable: 1, OpBins: 1, OpProduct: 2, OpConstant: 0}
	if n, ok := wanted[s.Op]; ok && len(s.Of) != n {
		return fmt.Errorf("%q reads %d registers, not %d", s.Op, n, len(s.Of))
	}
	if s.Clip != nil && len(s.Clip) != 2 {
		return fmt.Errorf("it is clipped to %d numbers", len(s.Clip))
	}
	if s.Op == OpImpute && len(s.Values) != len(s.Of) {
		return fmt.Errorf("it has %d numbers for %d registers", len(s.Values), len(s.Of))
	}
	return nil
}

// step returns what computes a step, whose first register is at, and how many it has.
func (m *Model) step(s *Step, at int) (func(x []float64, row []rowsql.Value) error, int, error) {
	values := numbers(s.Values)
	switch s.Op {
	case OpScale:
		return m.scale(s, at), len(s.Of), nil
	case OpImpute:
		return func(x []float64, _ []rowsql.Value) error {
			for i, r := range s.Of {
				switch x[at+i] = x[r]; {
				case math.IsNaN(x[r]):
					x[at+i] = values[i]
				case math.IsInf(x[r], 0):
					return m.tooLarge(x, r)
				}
			}
			return nil
		}, len(s.Of), nil
	case OpMissing:
		return func(x []float64, row []rowsql.Value) error {
			for i, r := range s.Of {
				missing := math.IsNaN(x[r])
				if m.program.text[r] {
					missing = m.features[r].text(row) == nil
				}
				if x[at+i] = 0; missing {
					x[at+i] = 1
				}
			}
			return nil
		}, len(s.Of), nil
	case OpBins:
		return func(x []float64, _ []rowsql.Value) error {
			if err := m.whole(x, s.Of[0]); err != nil {
				return err
			}
			n, _ := slices.BinarySearchFunc(s.Edges, x[s.Of[0]], func(edge, v float64) int {
				if edge <= v {
					return -1
				}
				return 1
			})
			x[at] = float64(n)
			return nil
		}, 1, nil
	case OpProduct:
		return func(x []float64, _ []rowsql.Value) error {
			for _, r := range s.Of {
				if err := m.whole(x, r); err != nil {
					return err
				}
			}
			x[at] = x[s.Of[0]] * x[s.Of[1]]
			return nil
		}, 1, nil
	case OpConstant:
		return func(x []float64, _ []rowsql.Value) error {
			copy(x[at:], values)
			return nil
		}, len(values), nil
	case OpOneHot, OpTable:
		run, err := m.encode(s, at)
		return run, s.Width, err
	}
	return nil, 0, fmt.Errorf("unknown operation %q", s.Op)
}

func (m *Model) scale(s *Step, at int) func(x []float64, row []rowsql.Value) error {
	return func(x []float64, _ []rowsql.Value) error {
		for i, r := range s.Of {
			v := x[r]
			if math.IsInf(v, 0) {
				return m.tooLarge(x, r)
			}
			// Conversions keep products and sums apart, which some processors would round at once.
			if s.Subtract != nil {
				v = float64(v - s.Subtract[i])
			}
			if s.Divide != nil {
				v = float64(v / s.Divide[i])
			}
			if s.Multiply != nil {
				v = float64(v * s.Multiply[i])
			}
			if s.Add != nil {
				v = float64(v + s.Add[i])
			}
			if s.Clip != nil && !math.IsNaN(v) {
				v = min(max(v, s.Clip[0]), s.Clip[1])
			}
			x[at+i] = v
		}
		return nil
	}
}

// encode returns what looks a value up among categories.
func (m *Model) encode(s *Step, at int) (func(x []float64, row []rowsql.Value) error, error) {
	rows := numbers(s.Values) // Width for each category, and then for unknown values
	each := s.Width
	if s.Op == OpOneHot {
		each, rows = 1, nil
		for _, p := range s.Positions {
			rows = append(rows, float64(p))
		}
	}
	if s.Width < 0 || len(rows) != each*len(s.Categories) || s.Unknown != nil && len(s.Unknown) != each {
		return nil, fmt.Errorf("%q has %d values and %d for others, for %d categories", s.Op, len(rows), len(s.Unknown), len(s.Categories))
	}
	r := s.Of[0]
	isText := m.program.text[r]
	texts, floats, null := map[string]int{}, map[float64]int{}, -1
	for i, c := range s.Categories {
		switch c := c.(type) {
		case nil:
			null = i
		case string:
			texts[c] = i
		case float64:
			floats[c] = i
		default:
			return nil, fmt.Errorf("a category is a %T", c)
		}
		if c != nil && isText != (len(texts) > 0) {
			return nil, fmt.Errorf("categories are of another kind than register %d", r)
		}
	}
	other := -1
	if s.Unknown != nil {
		other = len(s.Categories)
		rows = append(rows, numbers(s.Unknown)...)
	}
	if s.Op == OpOneHot {
		for _, p := range rows {
			if p < -1 || p >= float64(s.Width) {
				return nil, fmt.Errorf("a category is at %v of %d", p, s.Width)
			}
		}
	}
	column := m.doc.Columns[m.program.origins[r]].Name
	find := func(x []float64, row []rowsql.Value) (int, bool) {
		if !isText {
			if math.IsNaN(x[r]) {
				return null, null >= 0
			}
			i, ok := floats[x[r]]
			return i, ok
		}
		text := m.features[r].text(row)
		if text == nil {
			text = s.Null
		}
		if text == nil {
			return null, null >= 0
		}
		i, ok := texts[*text]
		return i, ok
	}
	return func(x []float64, row []rowsql.Value) error {
		if !isText && math.IsInf(x[r], 0) {
			return m.tooLarge(x, r)
		}
		i, ok := find(x, row)
		if !ok {
			if i = other; i < 0 {
				return &ValueError{column, unknownValue}
			}
		}
		if s.Op == OpTable {
			copy(x[at:at+s.Width], rows[i*s.Width:])
			return nil
		}
		clear(x[at : at+s.Width])
		if p := int(rows[i]); p >= 0 {
			x[at+p] = 1
		}
		return nil
	}, nil
}

// whole refuses a register that has no number.
func (m *Model) whole(x []float64, r int) error {
	switch {
	case math.IsNaN(x[r]):
		return &ValueError{m.doc.Columns[m.program.origins[r]].Name, noMissing}
	case math.IsInf(x[r], 0):
		return m.tooLarge(x, r)
	}
	return nil
}

// tooLarge says which number of a row made a register infinite: as tenon_model.py, the first
// that no float32 holds.
func (m *Model) tooLarge(x []float64, r int) error {
	for i := range m.features {
		if !m.program.text[i] && math.Abs(x[i]) > math.MaxFloat32 {
			return &ValueError{m.doc.Columns[m.features[i].Column].Name, noSuchSize}
		}
	}
	return &ValueError{m.doc.Columns[m.program.origins[r]].Name, noSuchSize}
}

// text is that of a feature as Text, or nil if it is missing.
func (f *feature) text(row []rowsql.Value) *string {
	v := &row[f.Column]
	if v.Null {
		return nil
	}
	if f.codes != nil {
		if _, ok := f.codes[v.Text]; !ok {
			return nil
		}
	}
	return &v.Text
}

func numbers(list []*float64) []float64 {
	var out []float64
	for _, v := range list {
		if v == nil {
			out = append(out, math.NaN())
		} else {
			out = append(out, *v)
		}
	}
	return out
}
