package features

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/table"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A HistorySpec says which rows the windows of a plan go over. They are rows of the table that a
// request is a row of: its events.
type HistorySpec struct {
	Port    string    `json:"port"`           // of the step, with the events before it began
	Columns ir.Schema `json:"columns"`        // of an event
	Keys    []string  `json:"keys,omitempty"` // which identify one
	// Late is how long after the latest event of its key another one may come: "1h".
	Late      string `json:"late,omitempty"`
	MaxKeys   int    `json:"max_keys,omitempty"`
	MaxEvents int    `json:"max_events,omitempty"`
}

// A History has the events that the windows of a plan go over. Predictions read it at any time.
// One goroutine adds events.
type History struct {
	f     *Features
	spec  HistorySpec
	link  int   // the plan with windows
	takes []int // of each column of a request, where an event has it
	keys  []int // where an event has its keys
	asked []int // and where a request has them; nil if it does not
	mu    sync.RWMutex
	past  []*rowsql.History
}

// windows prepares the history, if a plan has windows.
func (f *Features) windows(spec *HistorySpec) error {
	link := -1
	for i, l := range f.links {
		if l.Windows() == 0 {
			continue
		}
		if link >= 0 {
			return errors.New("several plans have windows")
		}
		link = i
	}
	if link < 0 {
		return nil
	}
	if spec == nil {
		return errors.New("a plan has windows, but nothing says which rows they go over")
	}
	if f.callsBefore(link) {
		return errors.New("a plan has windows over what a function in Python computes")
	}
	h := &History{f: f, spec: *spec, link: link}
	for _, c := range f.columns {
		i := place(spec.Columns, c.Name)
		if i < 0 || spec.Columns[i].Type != c.Type {
			return fmt.Errorf("an event has no column %s, which a request has", c.Name)
		}
		h.takes = append(h.takes, i)
	}
	for _, name := range spec.Keys {
		i := place(spec.Columns, name)
		if i < 0 {
			return fmt.Errorf("an event has no column %s, which is a key", name)
		}
		h.keys = append(h.keys, i)
		if j := place(f.columns, name); j >= 0 {
			h.asked = append(h.asked, j)
		}
	}
	if len(h.asked) < len(h.keys) {
		h.asked = nil
	}
	limits := rowsql.Limits{Keys: spec.MaxKeys, Events: spec.MaxEvents}
	if spec.Late != "" {
		d := duration.Parse(spec.Late)
		if d <= 0 {
			return fmt.Errorf("late: %q is no length of time", spec.Late)
		}
		limits.Late = d.Microseconds()
	}
	for i := range f.links[link].Windows() {
		h.past = append(h.past, f.links[link].NewHistory(i, limits))
	}
	f.history = h
	return nil
}

// History returns what the windows go over, or nil if there are none.
func (f *Features) History() *History { return f.history }

// Columns are those of an event.
func (h *History) Columns() ir.Schema { return h.spec.Columns }

// Keyed reports whether events have keys, by which they count once.
func (h *History) Keyed() bool { return len(h.keys) > 0 }

// Kept is how many keys and events there are in memory, of the window that has most.
func (h *History) Kept() (keys, events int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, p := range h.past {
		keys, events = max(keys, p.Keys()), max(events, p.Events())
	}
	return keys, events
}

// A Memory is what a history has in memory.
type Memory struct {
	Keys, Events int   // of the window that has most
	Bytes        int   // of all windows
	Newest       int64 // the time of the latest event, in microseconds; 0 if there is none
}

// Memory returns what it has in memory.
func (h *History) Memory() (m Memory) {
	m.Keys, m.Events = h.Kept()
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, p := range h.past {
		m.Bytes += p.Size()
		if at, ok := p.Newest(); ok {
			m.Newest = max(m.Newest, at)
		}
	}
	return m
}

// requestKey appends the key of a request.
func (h *History) requestKey(b []byte, request []rowsql.Value) []byte {
	for _, i := range h.asked {
		b = rowsql.AppendKey(b, request[i], ir.Types[h.f.columns[i].Type])
	}
	return b
}

// A Recorder adds events to a history.
type Recorder struct {
	h       *History
	row     *Row
	request []rowsql.Value
	self    []byte
	batch   rowsql.Batch
	events  []rowsql.Event
	n       int
}

// Recorder returns what adds events. There is one at a time.
func (h *History) Recorder() *Recorder {
	r := &Recorder{h: h, row: h.f.Row(), request: make([]rowsql.Value, len(h.takes))}
	r.Reset()
	return r
}

// Reset forgets the events that were not added.
func (r *Recorder) Reset() {
	r.n = 0
	r.batch.Reset(r.h.past)
}

// next returns the memory of an event.
func (r *Recorder) next() *rowsql.Event {
	if r.n == len(r.events) {
		r.events = append(r.events, rowsql.Event{})
	}
	return &r.events[r.n]
}

// record finds out what an event adds to the histories. The error is about its values.
func (r *Recorder) record(event []rowsql.Value, to *rowsql.Event) error {
	h := r.h
	r.self = r.self[:0]
	for _, i := range h.keys {
		r.self = rowsql.AppendKey(r.self, event[i], ir.Types[h.spec.Columns[i].Type])
	}
	for i, k := range h.takes {
		r.request[i] = event[k]
	}
	have, columns := r.request, h.f.columns
	for i, l := range h.f.links[:h.link+1] {
		x := &r.row.links[i]
		x.fill(l, columns, have)
		if i == h.link {
			return l.Record(x.row, h.f.rows[i], x.in, r.self, to)
		}
		if kept, err := l.Run(x.row, h.f.rows[i], x.in, x.out); err != nil {
			return err
		} else if !kept {
			to.Nothing()
			return nil
		}
		if err := x.store(l); err != nil {
			return err
		}
		have, columns = x.out, l.results
	}
	return nil
}

// Check makes an event one of those that [Recorder.Add] adds, unless the history has it already.
// An error says why it cannot: a [*rowsql.Error] or a [*model.ValueError] about its values, or
// [rowsql.ErrFull].
func (r *Recorder) Check(event []rowsql.Value) (known bool, err error) {
	e := r.next()
	if err := r.record(event, e); err != nil {
		return false, err
	}
	if known, err = r.batch.Check(r.h.past, e); err == nil && !known {
		r.n++
	}
	return known, err
}

// Add adds the events that were checked since the last Reset. Predictions see all of them or
// none.
func (r *Recorder) Add() error {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	for i := range r.n {
		if err := r.events[i].Add(r.h.past); err != nil {
			return err
		}
	}
	rowsql.Settle(r.h.past)
	r.Reset()
	return nil
}

// Load adds an event before the history is [History.Loaded]. Events come in any order, and one that
// comes again counts once.
func (r *Recorder) Load(event []rowsql.Value) error {
	e := r.next()
	if err := r.record(event, e); err != nil {
		return err
	}
	return e.Add(r.h.past)
}

// Loaded ends the loading.
func (h *History) Loaded() error {
	for _, p := range h.past {
		if err := p.Loaded(); err != nil {
			return fmt.Errorf("the history of requests: %w", err)
		}
	}
	return nil
}

// LoadTable loads the table that the step has on the port of the history.
func (h *History) LoadTable(ctx context.Context, s *step.Step, to *Recorder) error {
	port, ok := s.Inputs[h.spec.Port]
	if !ok {
		return fmt.Errorf("the step has no input %q, with the history of requests", h.spec.Port)
	}
	return h.Read(ctx, port, func(_ int64, row []rowsql.Value) error { return to.Load(row) })
}

// Read calls f for each event in a table, with its number from 1 on.
func (h *History) Read(ctx context.Context, port step.Port, f func(number int64, row []rowsql.Value) error) (err error) {
	columns := make(ir.Schema, len(h.spec.Columns))
	for i, want := range h.spec.Columns {
		found := place(port.Schema, want.Name)
		if found < 0 || port.Schema[found].Type != want.Type {
			return fmt.Errorf("the table of the history has no column %s of the type %s", want.Name, want.Type)
		}
		columns[i] = port.Schema[found]
	}
	r, err := table.Open(port.Path, columns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var rows table.Batch
	for number := int64(1); ; {
		err := r.Read(ctx, &rows, batch)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range rows.Len() {
			if err := f(number, rows.Row(i)); err != nil {
				return fmt.Errorf("row %d of the history: %w", number, err)
			}
			number++
		}
	}
}

// A Sorter orders events as they happened.
type Sorter struct {
	r      *Recorder
	event  rowsql.Event
	orders rowsql.Orders
}

// Sorter returns what orders events.
func (r *Recorder) Sorter() *Sorter { return &Sorter{r: r, orders: rowsql.Orders{Past: r.h.past}} }

// Add adds an event.
func (s *Sorter) Add(event []rowsql.Value) error {
	err := s.r.record(event, &s.event)
	if err == nil {
		s.orders.Add(&s.event)
	}
	return err
}

// Sorted returns the numbers of the events, from 0 on, as they happened.
func (s *Sorter) Sorted() []int { return s.orders.Sorted() }
