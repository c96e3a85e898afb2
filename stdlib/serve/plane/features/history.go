package features

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

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
	Late string `json:"late,omitempty"`
	// Keep is how long the log has events that the table has too: "90d". "" is as long as there is
	// a log.
	Keep      string `json:"keep,omitempty"`
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
	// Position is how many events of the log it has.
	position int64
	span
}

// A span is what a history knows about times. They are in the unit of the column: microseconds,
// or days.
type span struct {
	time        int   // the column of an event that orders all windows, or -1
	unit        int64 // of its times, in microseconds
	late        int64
	reach       int64 // of the windows
	every       bool  // windows have rows however old they are
	newest      int64 // of the events that were loaded
	newestValid bool
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
	h.spanOf(f.links[link].plan.Reach(), limits.Late)
	for i := range f.links[link].Windows() {
		h.past = append(h.past, f.links[link].NewHistory(i, limits))
	}
	f.history = h
	return nil
}

// spanOf finds out how far back the windows look.
func (h *History) spanOf(r rowsql.Reach, late int64) {
	h.span = span{time: -1, unit: 1, every: r.Every}
	if h.link == 0 && r.Time != "" {
		h.time = place(h.spec.Columns, r.Time)
	}
	if h.time >= 0 && h.spec.Columns[h.time].Type == "date" {
		h.unit = (24 * time.Hour).Microseconds()
	}
	up := func(micros int64) int64 { return (micros + h.unit - 1) / h.unit }
	h.late, h.reach = up(late), up(r.Micros)
}

// History returns what the windows go over, or nil if there are none.
func (f *Features) History() *History { return f.history }

// Columns are those of an event.
func (h *History) Columns() ir.Schema { return h.spec.Columns }

// Time is the column of an event by whose time all windows are ordered, or "".
func (h *History) Time() string {
	if h.time < 0 {
		return ""
	}
	return h.spec.Columns[h.time].Name
}

// Times returns where an event has its [History.Time], or -1, and how long the log keeps events
// that the table has, in the unit of that column; 0 is as long as there is a log.
func (h *History) Times() (column int, keep int64) {
	return h.time, h.Keep().Microseconds() / h.unit
}

// Keep is how long the log keeps events that the table has; 0 is as long as there is a log.
func (h *History) Keep() time.Duration { return duration.Parse(h.spec.Keep) }

// AppendKey appends the key of an event.
func (h *History) AppendKey(b []byte, event []rowsql.Value) []byte {
	for _, i := range h.keys {
		b = rowsql.AppendKey(b, event[i], ir.Types[h.spec.Columns[i].Type])
	}
	return b
}

// Reaches reports whether the windows look no further back than a time, from the events that are
// there on.
func (h *History) Reaches(newest, begins int64) bool {
	return !h.every && newest-h.late-h.reach >= begins
}

// Covers reports whether a table with a newest row has all events before a time: those that came
// late are there too.
func (h *History) Covers(newest, begins int64) bool { return newest-h.late >= begins }

// Begin says that events before a time may be missing. What needs them is refused.
func (h *History) Begin(at int64) {
	for _, p := range h.past {
		p.Begin(at)
	}
}

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
	r.self = h.AppendKey(r.self[:0], event)
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

// Add adds the events that were checked since the last Reset, with which the history has the
// first events of the log up to a position. Predictions see all of them or none.
func (r *Recorder) Add(position int64) error {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	for i := range r.n {
		if err := r.events[i].Add(r.h.past); err != nil {
			return err
		}
	}
	rowsql.Settle(r.h.past)
	r.h.position = position
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
	if h := r.h; h.time >= 0 {
		if at := event[h.time].Int(); !h.newestValid || at > h.newest {
			h.newest, h.newestValid = at, true
		}
	}
	return e.Add(r.h.past)
}

// Newest returns the latest time of the events that were loaded since it was asked last, in the
// unit of [History.Time]. It is not ok if there is none.
func (h *History) Newest() (at int64, ok bool) {
	at, ok = h.newest, h.newestValid
	h.newestValid = false
	return at, ok
}

// Loaded ends the loading, after which it has the first events of the log up to a position.
func (h *History) Loaded(position int64) error {
	h.position = position
	for _, p := range h.past {
		if err := p.Loaded(); err != nil {
			return fmt.Errorf("the history of requests: %w", err)
		}
	}
	return nil
}

// LoadTable loads the table that the step has on the port of the history.
func (h *History) LoadTable(ctx context.Context, s *step.Step, to *Recorder) error {
	return h.ReadTable(ctx, s, func(_ int64, row []rowsql.Value) error { return to.Load(row) })
}

// ReadTable calls f for each event in the table that the step has on the port of the history.
func (h *History) ReadTable(ctx context.Context, s *step.Step, f func(number int64, row []rowsql.Value) error) error {
	port, ok := s.Inputs[h.spec.Port]
	if !ok {
		return fmt.Errorf("the step has no input %q, with the history of requests", h.spec.Port)
	}
	return h.Read(ctx, port, f)
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
