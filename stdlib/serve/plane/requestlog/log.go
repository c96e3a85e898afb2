package requestlog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// Options are those of a log.
type Options struct {
	Dir      string
	Head     Head
	Sample   float64       // fraction of requests that are kept
	Rows     int           // of a file, at most
	Interval time.Duration // that a row waits until its file is complete
	Keep     int64         // bytes of all files
	File     int64         // bytes of a file, at most and about
	// Moved says that somebody else takes complete files away. One that has to be deleted because
	// of Keep is then lost.
	Moved bool
	Say   func(string) // that the disk fails, and that it works again
}

// A Reason why rows are not kept.
type Reason int

const (
	Queue Reason = iota // too many wait to be written
	Disk                // they cannot be written
	Store               // nobody took them away, and there were too many
	reasons
)

func (r Reason) String() string { return [...]string{"queue", "disk", "store"}[r] }

// A Log keeps requests. Its methods are safe for concurrent use.
type Log struct {
	Options
	columns  []column
	texts    [2][]int // which columns of a request, and of the features, have texts
	queue    chan *entry
	free     sync.Pool
	queued   atomic.Int64 // bytes
	closing  chan struct{}
	done     chan struct{}
	once     sync.Once
	written  atomic.Uint64 // rows
	deleted  atomic.Uint64 // files
	size     atomic.Int64  // of all files
	dropped  [reasons]atomic.Uint64
	mostFile int64

	// What only the goroutine that writes knows.
	file   *Writer
	held   []*entry  // whose values the file has not written yet
	ends   time.Time // of the file
	retry  time.Time // before that the disk is not tried again
	faulty bool
}

// The memory of entries that wait.
const (
	mostQueued = 4096
	mostBytes  = 32 << 20
)

// A Request is what is kept of a request. The log copies it.
type Request struct {
	ID       string
	Began    time.Time
	Took     time.Duration
	Rows     int
	Values   []rowsql.Value // of the columns of the request, row by row
	Features []rowsql.Value // of the model, row by row, if they are computed
	Outputs  []float64      // of the model, row by row
	// Positions are how many events of the log the history had for each row, if there is one.
	Positions []int64
	// Missed says of each row which lookups had none for it, if features are computed: "lookup weather", or "".
	Missed []string
	// Instead says that another version was to answer, and could not.
	Instead bool
	// Class returns the class that the outputs of a row predict, and its probability. It is nil
	// if the model has no classes.
	Class func(outputs []float64) (int, float64)
}

// An entry is a copy of a request.
type entry struct {
	Request
	class         []int
	probabilities []float64
	text          []byte
	size          int64
}

// Open begins to keep requests in a folder. It fails only for a head that no file can have.
func Open(o Options) (*Log, error) {
	o.Head.Format = Format
	if err := o.Head.check(); err != nil {
		return nil, err
	}
	if o.Say == nil {
		o.Say = func(string) {}
	}
	o.Rows, o.Keep, o.Interval = cmp.Or(max(o.Rows, 0), 100_000), cmp.Or(max(o.Keep, 0), 1<<30), max(cmp.Or(o.Interval, time.Minute), 10*time.Millisecond)
	l := &Log{Options: o, columns: o.Head.columns(), queue: make(chan *entry, mostQueued), closing: make(chan struct{}), done: make(chan struct{})}
	l.mostFile = max(min(cmp.Or(o.File, 64<<20), o.Keep/8), 1<<12)
	l.free.New = func() any { return new(entry) }
	for i, c := range o.Head.Request {
		if c.Type == "string" || c.Type == "bytes" {
			l.texts[0] = append(l.texts[0], i)
		}
	}
	for i, c := range o.Head.Features {
		if c.Type == "string" || c.Type == "bytes" {
			l.texts[1] = append(l.texts[1], i)
		}
	}
	go l.run()
	return l, nil
}

// Sampled decides whether a request is kept.
func (l *Log) Sampled() bool { return l.Sample >= 1 || rand.Float64() < l.Sample }

// ID returns the id of a request: that of the caller if it is one, or a new one.
func ID(given string) string {
	if valid(given) {
		return given
	}
	var b [32]byte
	s := strconv.AppendUint(b[:0], rand.Uint64()|1<<63, 16)
	return string(strconv.AppendUint(s, rand.Uint64()|1<<63, 16))
}

// valid reports whether an id has 1 to 128 characters that need no quotes anywhere.
func valid(id string) bool {
	if len(id) == 0 || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=':
		default:
			return false
		}
	}
	return true
}

// Add keeps a request, or counts that it is lost.
func (l *Log) Add(r *Request) {
	select {
	case <-l.closing:
		l.drop(Queue, r.Rows)
		return
	default:
	}
	e := l.free.Get().(*entry)
	e.copy(r, l.texts)
	if l.queued.Add(e.size) > mostBytes {
		l.lose(e, Queue)
		return
	}
	select {
	case l.queue <- e:
	default:
		l.lose(e, Queue)
	}
}

func (l *Log) lose(e *entry, why Reason) {
	l.drop(why, e.Rows)
	l.recycle(e)
}

func (l *Log) drop(why Reason, rows int) { l.dropped[why].Add(uint64(rows)) }

func (l *Log) recycle(e *entry) {
	l.queued.Add(-e.size)
	const most = 1 << 16 // a large request must not keep its memory
	if e.size <= most {
		l.free.Put(e)
	}
}

// copy copies a request into the memory of an entry.
func (e *entry) copy(r *Request, texts [2][]int) {
	values, features, outputs, positions, missed := e.Values, e.Features, e.Outputs, e.Positions, e.Missed
	e.Request = *r
	e.Values, e.Features = append(values[:0], r.Values...), append(features[:0], r.Features...)
	e.Positions, e.Missed = append(positions[:0], r.Positions...), append(missed[:0], r.Missed...)
	e.Outputs, e.class, e.probabilities = append(outputs[:0], r.Outputs...), e.class[:0], e.probabilities[:0]
	length := 0
	for part, all := range [2][]rowsql.Value{e.Values, e.Features} {
		for _, i := range texts[part] {
			for ; i < len(all); i += len(all) / r.Rows {
				length += len(all[i].Text)
			}
		}
	}
	if cap(e.text) < length {
		e.text = make([]byte, 0, length)
	}
	e.text = e.text[:0]
	for part, all := range [2][]rowsql.Value{e.Values, e.Features} {
		for _, i := range texts[part] {
			for ; i < len(all); i += len(all) / r.Rows {
				from := len(e.text)
				e.text = append(e.text, all[i].Text...) // which never grows it
				all[i].Text = unsafe.String(unsafe.SliceData(e.text[from:]), len(e.text)-from)
			}
		}
	}
	if r.Class != nil {
		n := len(r.Outputs) / r.Rows
		for i := range r.Rows {
			class, probability := r.Class(r.Outputs[i*n : (i+1)*n])
			e.class, e.probabilities = append(e.class, class), append(e.probabilities, probability)
		}
	}
	e.Class = nil
	e.size = int64(len(e.Values)+len(e.Features))*int64(unsafe.Sizeof(rowsql.Value{})) + int64(len(e.Outputs))*8 + int64(length)
}

// Close writes what waits, for as long as it may take.
func (l *Log) Close(within time.Duration) {
	l.once.Do(func() { close(l.closing) })
	select {
	case <-l.done:
	case <-time.After(within):
	}
}

// Counts are what a log has done.
type Counts struct {
	Written uint64 // rows in complete files
	Dropped [reasons]uint64
	Deleted uint64 // files, because of the size of all
	Size    int64  // of all files, in bytes
}

// Reasons are those for which rows of this log may be lost.
func (l *Log) Reasons() []Reason {
	if l.Moved {
		return []Reason{Queue, Disk, Store}
	}
	return []Reason{Queue, Disk}
}

// Counts returns what it has done.
func (l *Log) Counts() Counts {
	c := Counts{Written: l.written.Load(), Deleted: l.deleted.Load(), Size: l.size.Load()}
	for i := range c.Dropped {
		c.Dropped[i] = l.dropped[i].Load()
	}
	return c
}

// run writes entries until the log is closed.
func (l *Log) run() {
	defer close(l.done)
	Sweep(l.Dir)
	l.prune()
	timer := time.NewTicker(min(l.Interval, time.Second))
	defer timer.Stop()
	for {
		select {
		case e := <-l.queue:
			l.take(e)
		case now := <-timer.C:
			if l.file != nil && !now.Before(l.ends) {
				l.complete()
			}
		case <-l.closing:
			for {
				select {
				case e := <-l.queue:
					l.take(e)
					continue
				default:
				}
				break
			}
			l.complete()
			return
		}
	}
}

// take writes an entry.
func (l *Log) take(e *entry) {
	if l.file == nil && !l.begin(e.Began) {
		l.lose(e, Disk)
		return
	}
	for i := range e.Rows {
		if err := l.file.Add(func(c int) rowsql.Value { return e.value(&l.columns[c], i, &l.Head) }); err != nil {
			l.drop(Disk, e.Rows-i-1)
			l.fail(err)
			break
		}
	}
	if l.held = append(l.held, e); l.file == nil || l.file.n == 0 {
		l.release()
	}
	if l.file != nil && (l.file.count >= l.Rows || l.file.size >= l.mostFile) {
		l.complete()
	}
}

// release gives the memory of entries back.
func (l *Log) release() {
	for _, e := range l.held {
		l.recycle(e)
	}
	l.held = l.held[:0]
}

// value is that of a column.
func (e *entry) value(c *column, row int, h *Head) rowsql.Value {
	switch c.from {
	case ofRequest:
		return e.Values[row*len(h.Request)+c.index]
	case ofFeatures:
		return e.Features[row*len(h.Features)+c.index]
	case ofOutputs:
		return rowsql.Float(e.Outputs[row*(len(e.Outputs)/e.Rows)+c.index])
	case ofClass:
		return c.labels[e.class[row]]
	}
	switch c.Name {
	case Time:
		return rowsql.Int(e.Began.UnixMicro())
	case RequestID:
		return rowsql.String(e.ID)
	case RowNumber:
		return rowsql.Int(int64(row))
	case Version:
		return rowsql.Int(int64(h.Version))
	case Digest:
		return rowsql.String(h.Inputs["model"])
	case Latency:
		return rowsql.Int(e.Took.Microseconds())
	case Position:
		return rowsql.Int(e.Positions[row])
	case Pod:
		return rowsql.String(h.Pod)
	case Fallback:
		return e.fallback(row)
	}
	return rowsql.Float(e.probabilities[row]) // Probability
}

// instead is how the log says that another version was to answer.
const instead = "version"

// fallback says why a fallback answered a row, or is null.
func (e *entry) fallback(row int) rowsql.Value {
	missed := ""
	if len(e.Missed) > 0 {
		missed = e.Missed[row]
	}
	switch {
	case e.Instead && missed != "":
		return rowsql.String(instead + ", " + missed)
	case e.Instead:
		return rowsql.String(instead)
	case missed != "":
		return rowsql.String(missed)
	}
	return rowsql.Null
}

// begin begins a file, unless the disk failed a moment ago.
func (l *Log) begin(at time.Time) bool {
	now := time.Now()
	if now.Before(l.retry) {
		return false
	}
	path := filepath.Join(l.Dir, name(at, rand.Uint64()))
	w, err := Create(path, &l.Head)
	if errors.Is(err, fs.ErrNotExist) { // the folder was removed
		if err = os.MkdirAll(l.Dir, 0o700); err == nil {
			w, err = Create(path, &l.Head)
		}
	}
	if err != nil {
		l.fail(err)
		return false
	}
	l.file, l.ends = w, now.Add(l.Interval)
	return true
}

// complete completes the file.
func (l *Log) complete() {
	if l.file == nil {
		return
	}
	n := l.file.count
	err := l.file.Close()
	l.release()
	if err != nil {
		l.fail(err)
		return
	}
	l.file = nil
	l.written.Add(uint64(n))
	if l.faulty {
		l.faulty = false
		l.Say("the request log is written again")
	}
	l.prune()
}

// prune deletes the oldest files, so that the next one fits.
func (l *Log) prune() {
	deleted, size, err := bound(l.Dir, l.Keep-l.mostFile, func(path string) {
		if l.Moved {
			l.drop(Store, rowsIn(path))
		}
	})
	if err != nil {
		return // that the disk fails is said when it is written to
	}
	l.deleted.Add(uint64(deleted))
	l.size.Store(size)
}

// pause is how long the disk is not tried after it failed.
const pause = time.Second

// fail gives up the file.
func (l *Log) fail(err error) {
	if l.file != nil {
		l.file.Abort()
		l.drop(Disk, l.file.count)
		l.file = nil
	}
	l.retry = time.Now().Add(pause)
	if !l.faulty {
		l.faulty = true
		l.Say(fmt.Sprintf("requests are not logged: %v", err))
	}
}
