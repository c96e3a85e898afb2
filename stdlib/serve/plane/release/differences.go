package release

import (
	"encoding/json"
	"math"
	"slices"
	"sync"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// Limits of what is remembered of rows that were compared.
const (
	mostValues = 32 // of a column; one with more has no segments
	mostText   = 64 // bytes of a value; a longer one has no segment
)

// tolerance is how far two predicted numbers may be from each other, as a part of the larger
// one, and still be equal.
const tolerance = 1e-9

// Near reports whether two predicted numbers are equal.
func Near(a, b float64) bool {
	return a == b || math.Abs(a-b) <= tolerance*max(math.Abs(a), math.Abs(b))
}

// Differences are where versions differ. They are safe for concurrent use.
type Differences struct {
	mu       sync.Mutex
	columns  map[columnOf]*values
	examples []step.Example
}

type columnOf struct{ version, column string }

// values are those of a column, nil if they are too many.
type values struct{ of map[string]*tally }

type tally struct{ compared, different int64 }

// Segment counts a row by its value of a column.
func (d *Differences) Segment(version, column, value string, different bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.columns == nil {
		d.columns = map[columnOf]*values{}
	}
	at := columnOf{version, column}
	c := d.columns[at]
	if c == nil {
		c = &values{map[string]*tally{}}
		d.columns[at] = c
	}
	if c.of == nil {
		return
	}
	t := c.of[value]
	if t == nil {
		if len(c.of) == mostValues || len(value) > mostText {
			c.of = nil
			return
		}
		t = new(tally)
		c.of[value] = t
	}
	t.compared++
	if different {
		t.different++
	}
}

// Example remembers a row that two versions answered differently, and forgets the oldest one.
func (d *Differences) Example(e step.Example) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.examples) == step.MostExamples {
		d.examples = slices.Delete(d.examples, 0, 1)
	}
	d.examples = append(d.examples, e)
}

// AddTo adds them to what is observed: the segments with most differences, and the examples.
func (d *Differences) AddTo(o *step.Observed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []step.Segment
	for at, c := range d.columns {
		for value, t := range c.of {
			if len(c.of) > 1 { // one value for all rows says nothing
				all = append(all, step.Segment{Version: at.version, Column: at.column, Value: value, Compared: t.compared, Different: t.different})
			}
		}
	}
	o.Segments = step.MostDifferent(all)
	o.Examples = slices.Clone(d.examples)
}

// mostShown is how long a text of an example is, in bytes.
const mostShown = 200

// Masked is what an example shows of a private column.
const Masked = "(private)"

// Shown is a value of a column, as JSON, as an example shows it.
func Shown(value []byte) any {
	var text string
	if len(value) > mostShown && json.Unmarshal(value, &text) == nil && len(text) > mostShown {
		cut := mostShown
		for cut > 0 && text[cut]&0xc0 == 0x80 { // within a character
			cut--
		}
		return text[:cut] + "..."
	}
	return json.RawMessage(value)
}
