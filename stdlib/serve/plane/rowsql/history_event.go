package rowsql

import (
	"cmp"
	"slices"
)

// An Event is what a row adds to the histories of a program.
type Event struct {
	self   []byte
	parts  []eventPart
	keys   []byte
	values []Value
}

// An eventPart is what a row adds to one history.
type eventPart struct {
	window      int
	key, keyEnd int
	at          int // of its values: the order, and what it contributes
	reach       int64
}

func (e *Event) add(w *window, key []byte, values []Value, reach int64) {
	p := eventPart{window: w.index, key: len(e.keys), at: len(e.values), reach: reach}
	e.keys, e.values = append(e.keys, key...), append(e.values, values...)
	p.keyEnd = len(e.keys)
	e.parts = append(e.parts, p)
}

// Nothing makes it an event that adds nothing, because the row is left out.
func (e *Event) Nothing() { e.parts, e.keys, e.values = e.parts[:0], e.keys[:0], e.values[:0] }

// Record finds out what a row adds to the histories. self is the key of the row itself.
func (p *Program) Record(r *Row, tables []*Rows, request []Value, self []byte, e *Event) error {
	e.Nothing()
	e.self = append(e.self[:0], self...)
	copy(r.slots, request)
	r.tables, r.event = tables, e
	_, err := r.run(p.record, nil, nil)
	r.event = nil
	return err
}

// Orders sort events by the order of the first window that they belong to.
type Orders struct {
	Past   []*History
	events []orderOf
	values []Value
}

type orderOf struct{ window, at int }

// Add adds an event.
func (o *Orders) Add(e *Event) {
	of := orderOf{-1, len(o.values)}
	if len(e.parts) > 0 {
		p := e.parts[0]
		of.window = p.window
		for _, v := range e.values[p.at : p.at+len(o.Past[p.window].w.order)] {
			o.values = append(o.values, v.cloned())
		}
	}
	o.events = append(o.events, of)
}

// Sorted returns the numbers of the events, from 0 on, in their order.
func (o *Orders) Sorted() []int {
	all := make([]int, len(o.events))
	for i := range all {
		all[i] = i
	}
	slices.SortStableFunc(all, func(i, j int) int {
		a, b := o.events[i], o.events[j]
		if a.window != b.window || a.window < 0 {
			return cmp.Compare(a.window, b.window)
		}
		for k, order := range o.Past[a.window].w.compare {
			if c := order(o.values[a.at+k], o.values[b.at+k]); c != 0 {
				return c
			}
		}
		return 0
	})
	return all
}
