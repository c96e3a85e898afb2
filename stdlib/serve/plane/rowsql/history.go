package rowsql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits are what a history may keep.
type Limits struct {
	Keys   int   // 0 is any number
	Events int   // of all keys; 0 is any number
	Late   int64 // how many microseconds after the latest row of its key an event may come
}

// A History has the rows of a window that came before, by their partition: of each, what its
// values need, as long as a later row may reach it. It is safe for concurrent readers, or one
// writer.
type History struct {
	w        *window
	limits   Limits
	late     int64 // in the unit of the time
	index    *Index
	series   []series
	store    entries
	touched  []int // series that may have rows that no later row reaches
	loading  bool
	newest   int64 // the time of the latest row; valid if there is one
	begins   int64 // the time before which rows may be missing
	partial  bool  // there is such a time
	unsorted map[int]bool
}

// A series are the rows of one partition in their order.
type series struct {
	ids   []uint32
	cut   bool  // there were earlier rows
	reach int64 // the earliest time that a later row reaches
}

// NewHistory returns an empty history of a window of the program, to which rows are added in any
// order until [History.Loaded].
func (p *Program) NewHistory(window int, limits Limits) *History {
	w := p.windows[window]
	h := &History{w: w, limits: limits, late: limits.Late, index: NewIndex(), loading: true, unsorted: map[int]bool{}}
	if w.plan.Order[0].Type == "DATE" {
		h.late = (limits.Late + 86_400_000_000 - 1) / 86_400_000_000
	}
	h.store.layOut(w)
	return h
}

// Events is the number of rows that are kept.
func (h *History) Events() int { return h.store.len() }

// Keys is the number of partitions.
func (h *History) Keys() int { return h.index.Len() }

// Size is their memory in bytes, without texts.
func (h *History) Size() int {
	return h.index.Size() + h.store.bytes() + 40*cap(h.series) + 4*h.Events()
}

// Newest is the time of the latest row in microseconds, if there is one.
func (h *History) Newest() (micros int64, ok bool) {
	if h.store.n == 0 {
		return 0, false
	}
	if h.w.plan.Order[0].Type == "DATE" {
		return h.newest * microsPerDay, true
	}
	return h.newest, true
}

// Begin says that rows before a time may be missing. What would need one of them is refused, and
// so is an event that may be one of them.
func (h *History) Begin(at int64) { h.begins, h.partial = at, true }

// misses reports whether rows from a time on may be missing.
func (h *History) misses(from int64) bool { return h.partial && from < h.begins }

// tooLate is the error of a row that needs earlier ones than there are, or comes before them.
func (h *History) tooLate(s *series, at int) *Error {
	says := "it comes too late: the history begins at " + h.timeOf(Int(h.begins))
	if s != nil && s.cut {
		if first := h.store.get(s.ids[0], 0); !h.misses(first.Int()) {
			says = "it comes too late: the history of its key begins at " + h.timeOf(first)
		}
	}
	return &Error{Message: says, Offset: at, Refused: true}
}

// Past sets the histories of a row's windows, and the key of the row itself, which they may have.
func (r *Row) Past(past []*History, self []byte) { r.past, r.self = past, self }

// Windows is the number of windows of a program.
func (p *Program) Windows() int { return len(p.windows) }

// ErrFull is the error of a history that reached a limit.
var ErrFull = errors.New("the history is full")

// A Batch are events that are added together.
type Batch struct {
	seen  map[string]string // by their place in a history, their own keys
	fresh map[string]bool   // new partitions
	n     []int             // events by history
	place []byte
}

// Reset makes the batch empty.
func (b *Batch) Reset(past []*History) {
	if b.seen == nil {
		b.seen, b.fresh = map[string]string{}, map[string]bool{}
	}
	clear(b.seen)
	clear(b.fresh)
	b.n = append(b.n[:0], make([]int, len(past))...)
}

// Check reports whether the histories, or the batch, have an event already. It is an error, and
// an [ErrFull], if they cannot take it.
func (b *Batch) Check(past []*History, e *Event) (known bool, err error) {
	for i := range e.parts {
		p := &e.parts[i]
		h := past[p.window]
		key, order := e.keys[p.key:p.keyEnd], e.values[p.at:p.at+len(h.w.order)]
		b.place = append(append(b.place[:0], byte(p.window)), key...)
		n := h.index.Find(key)
		if n < 0 && h.limits.Keys > 0 && !b.fresh[string(b.place)] {
			if h.Keys()+len(b.fresh) >= h.limits.Keys {
				return false, fmt.Errorf("%w: it has %d keys, and max_keys is %d", ErrFull, h.Keys(), h.limits.Keys)
			}
			b.fresh[string(b.place)] = true
		}
		for j, v := range order {
			b.place = appendKey(b.place, v, h.w.cells[j])
		}
		other, twice := b.seen[string(b.place)]
		if n >= 0 {
			s := &h.series[n]
			at := h.position(s, order)
			if at == 0 && s.cut {
				return false, h.tooLate(s, -1)
			}
			for ; at < len(s.ids) && h.comparedAt(s.ids[at], order) == 0; at++ {
				if self := h.store.self(s.ids[at]); self == string(e.self) && self != "" {
					return true, nil
				}
				twice = true
			}
		}
		if other != "" && other == string(e.self) {
			return true, nil
		}
		if h.misses(order[0].Int()) {
			return false, h.tooLate(nil, -1)
		}
		if twice && h.w.ordered {
			return false, sameOrder
		}
		if b.n[p.window]++; h.limits.Events > 0 && h.Events()+b.n[p.window] > h.limits.Events {
			return false, fmt.Errorf("%w: it keeps %d events, and max_events is %d", ErrFull, h.Events(), h.limits.Events)
		}
		b.seen[string(b.place)] = string(e.self)
	}
	return false, nil
}

// sameOrder is the error of a row for which the values of a window depend on which of two rows
// comes first.
var sameOrder = &Error{Message: "another row of its key has the same time, and a window depends on which of them comes first", Offset: -1, Refused: true}

// ErrSameOrder is in the errors of tables and events with such rows.
var ErrSameOrder error = sameOrder

// Add adds an event to the histories. They keep no reference to it. Unless they are loading, it
// is one that was checked, and [Settle] follows.
func (e *Event) Add(past []*History) error {
	for i := range e.parts {
		p := &e.parts[i]
		h := past[p.window]
		n, added, err := h.index.Add(e.keys[p.key:p.keyEnd])
		if err != nil {
			return err
		}
		if added {
			h.series = append(h.series, series{reach: p.reach})
		}
		h.add(n, string(e.self), e.values[p.at:], p.reach)
	}
	return nil
}

// add adds a row to a series.
func (h *History) add(n int, self string, values []Value, reach int64) {
	w, s := h.w, &h.series[n]
	if now := values[0].Int(); now > h.newest || h.store.n == 0 {
		h.newest = now
	}
	order, contributions := values[:len(w.order)], values[len(w.order):]
	at := len(s.ids)
	if h.loading {
		if at > 0 && h.comparedAt(s.ids[at-1], order) >= 0 {
			h.unsorted[n] = true
		}
	} else {
		at = h.position(s, order)
		h.touched = append(h.touched, n)
	}
	if at == len(s.ids) {
		s.reach = max(s.reach, reach)
	}
	id := h.store.take(self)
	for i, v := range order {
		h.store.put(id, i, v)
	}
	var before []uint32
	if at > 0 && !h.loading {
		before = s.ids[at-1 : at]
	}
	for i := range w.values {
		h.begin(&w.values[i], before, id, contributions[i])
	}
	s.ids = slices.Insert(s.ids, at, id)
	for _, later := range s.ids[at+1:] {
		for i := range w.values {
			if v := &w.values[i]; v.total && !h.loading {
				h.join(v, later, contributions[i], at == 0)
			}
		}
	}
}

// begin writes the cells of a new row, after the one before it, if there is one.
func (h *History) begin(v *windowValue, before []uint32, id uint32, x Value) {
	switch {
	case !v.total:
		h.store.put(id, v.cell, x)
		return
	case v.Func == "sum" || v.Func == "avg":
		h.store.put(id, v.cell, Value{})
		h.store.put(id, v.cell+1, Value{})
	case v.Func == "first" || v.order != nil:
		h.store.put(id, v.cell, Null)
	default:
		h.store.put(id, v.cell, Value{})
	}
	if before == nil {
		h.join(v, id, x, true)
		return
	}
	for i := range v.size() {
		h.store.put(id, v.cell+i, h.store.get(before[0], v.cell+i))
	}
	h.join(v, id, x, false)
}

func (v *windowValue) size() int {
	if v.Func == "sum" || v.Func == "avg" {
		return 2
	}
	return 1
}

// join adds what a row contributes to the total of one from that row on.
func (h *History) join(v *windowValue, id uint32, x Value, first bool) {
	if v.Func == "first" {
		if first {
			h.store.put(id, v.cell, x)
		}
		return
	}
	if x.Null {
		return
	}
	have := h.store.get(id, v.cell)
	switch v.Func {
	case "sum", "avg":
		sum, _ := have.int128().add(x.int128())
		h.store.put(id, v.cell, sum.value())
		h.store.put(id, v.cell+1, Int(h.store.get(id, v.cell+1).Int()+1))
	case "count", "row_number":
		h.store.put(id, v.cell, Int(have.Int()+1))
	case "min", "max":
		h.store.put(id, v.cell, v.better(have, x))
	}
}

// better returns the lesser or the greater of two values, of which the first one may be null.
func (v *windowValue) better(have, x Value) Value {
	if x.Null {
		return have
	}
	if have.Null {
		return x
	}
	if c := v.order(x, have); v.Func == "min" && c < 0 || v.Func == "max" && c > 0 {
		return x
	}
	return have
}

// comparedAt compares the order of a row with another one.
func (h *History) comparedAt(id uint32, order []Value) int {
	for i, compare := range h.w.compare {
		if c := compare(h.store.get(id, i), order[i]); c != 0 {
			return c
		}
	}
	return 0
}

// position returns how many rows of a series are before a row.
func (h *History) position(s *series, order []Value) int {
	to := len(s.ids)
	if to == 0 || h.comparedAt(s.ids[to-1], order) < 0 {
		return to
	}
	from := 0
	for to--; from < to; {
		mid := int(uint(from+to) >> 1)
		if h.comparedAt(s.ids[mid], order) < 0 {
			from = mid + 1
		} else {
			to = mid
		}
	}
	return from
}

// Loaded ends the loading: rows that were added twice count once. From then on, rows are added
// to what is there. An error says that values depend on the order of rows that have none.
func (h *History) Loaded() error {
	h.loading = false
	for n := range h.series {
		s := &h.series[n]
		if h.unsorted[n] {
			order := make([]Value, len(h.w.order))
			slices.SortStableFunc(s.ids, func(a, b uint32) int {
				for i := range order {
					order[i] = h.store.get(b, i)
				}
				if c := h.comparedAt(a, order); c != 0 {
					return c
				}
				return strings.Compare(h.store.self(a), h.store.self(b))
			})
			if err := h.unique(s); err != nil {
				return err
			}
		}
		for i, id := range s.ids {
			for j := range h.w.values {
				if v := &h.w.values[j]; v.total && i > 0 {
					h.accumulate(v, s.ids[i-1], id)
				}
			}
		}
		h.touched = append(h.touched, n)
		h.settle()
	}
	h.unsorted = nil
	switch {
	case h.limits.Keys > 0 && h.Keys() > h.limits.Keys:
		return fmt.Errorf("the history has %d keys, and max_keys is %d", h.Keys(), h.limits.Keys)
	case h.limits.Events > 0 && h.Events() > h.limits.Events:
		return fmt.Errorf("the history keeps %d events, and max_events is %d", h.Events(), h.limits.Events)
	}
	return nil
}

// unique removes rows that a sorted series has twice.
func (h *History) unique(s *series) error {
	order, kept := make([]Value, len(h.w.order)), s.ids[:0]
	for _, id := range s.ids {
		if len(kept) > 0 {
			last := kept[len(kept)-1]
			for i := range order {
				order[i] = h.store.get(last, i)
			}
			if h.comparedAt(id, order) == 0 {
				if self := h.store.self(id); self != "" && self == h.store.self(last) {
					h.store.give(id)
					continue
				}
				if h.w.ordered {
					return fmt.Errorf("the row at %s: %w", h.timeOf(h.store.get(id, 0)), sameOrder)
				}
			}
		}
		kept = append(kept, id)
	}
	s.ids = kept
	return nil
}

// accumulate adds the total before a row to that of the row, which has only its own yet.
func (h *History) accumulate(v *windowValue, before, id uint32) {
	a, b := h.store.get(before, v.cell), h.store.get(id, v.cell)
	switch v.Func {
	case "sum", "avg":
		sum, _ := a.int128().add(b.int128())
		h.store.put(id, v.cell, sum.value())
		h.store.put(id, v.cell+1, Int(h.store.get(before, v.cell+1).Int()+h.store.get(id, v.cell+1).Int()))
	case "count", "row_number":
		h.store.put(id, v.cell, Int(a.Int()+b.Int()))
	case "min", "max":
		h.store.put(id, v.cell, v.better(a, b))
	case "first":
		h.store.put(id, v.cell, a)
	}
}

// Settle drops rows that no later row reaches.
func Settle(past []*History) {
	for _, h := range past {
		h.settle()
	}
}

func (h *History) settle() {
	for _, n := range h.touched {
		s := &h.series[n]
		// One row before those that are reached has the totals up to them.
		most := len(s.ids) - 1 - int(h.w.rows)
		drop := 0
		for drop+1 <= most-1 && h.before(s.ids[drop+1], s.reach) && h.before(s.ids[drop+1], h.store.get(s.ids[len(s.ids)-1], 0).Int()) {
			h.store.give(s.ids[drop])
			drop++
		}
		if drop > 0 {
			s.ids, s.cut = s.ids[drop:], true
		}
	}
	h.touched = h.touched[:0]
}

// before reports whether the time of a row is so early that none that is not too late comes
// there.
func (h *History) before(id uint32, bound int64) bool {
	at := h.store.get(id, 0).Int()
	return at < bound && bound-at > h.late || bound-at < 0 && at < bound
}

// timeOf is a time as text.
func (h *History) timeOf(at Value) string {
	s, err := at.Format(h.w.plan.Order[0].Type)
	if err != nil {
		return "another time"
	}
	return s
}
