package events

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A Feed adds events to a history.
type Feed struct {
	history  *features.History
	recorder *features.Recorder
	log      *log
	name     string
	posts    chan *post
	tidy     chan struct{} // the log may have files that become Parquet
	stopped  chan struct{} // what waits is refused
	ended    chan struct{} // nothing is under way any more
	once     sync.Once
	broken   error
}

// A post are the events of one request.
type post struct {
	rows  []rowsql.Value
	n     int
	done  chan struct{}
	added int
	err   error
}

// A RowError is what is wrong with one event of a request. None of the request counts.
type RowError struct {
	Row int
	Err error
}

func (e *RowError) Error() string { return fmt.Sprintf("event %d: %v", e.Row, e.Err) }
func (e *RowError) Unwrap() error { return e.Err }

// pollEvery is how often a process looks for the events of others.
const pollEvery = 200 * time.Millisecond

// mostTogether is how many events are written at once, if the requests that wait have more.
const mostTogether = 100_000

// Load loads the history of a service that takes no events, with the table of its step.
func Load(ctx context.Context, s *step.Step, h *features.History) error {
	if err := h.LoadTable(ctx, s, h.Recorder()); err != nil {
		return err
	}
	return h.Loaded(0)
}

// Open loads the history of a service, with the table of its step and the log of events in its
// folder, and takes events from then on.
func Open(ctx context.Context, s *step.Step, h *features.History, warn func(string)) (*Feed, error) {
	f := &Feed{history: h, recorder: h.Recorder(), posts: make(chan *post, 64), tidy: make(chan struct{}, 1), stopped: make(chan struct{}), ended: make(chan struct{})}
	if s.Kept == "" || !h.Keyed() {
		return nil, errors.New("events need a folder for their log, and keys by which each counts once")
	}
	var err error
	if f.log, err = openLog(s.Kept, h.Columns(), warn); err != nil {
		return nil, err
	}
	column, _ := h.Times()
	f.log.time, f.log.every = column, h.Keep()/parts
	if err := f.load(ctx, s); err != nil {
		f.log.close()
		return nil, err
	}
	go f.run()
	return f, nil
}

// parts is in how many files a log is, at least, that keeps its events for some time.
const parts = 8

// load loads the history.
func (f *Feed) load(ctx context.Context, s *step.Step) error {
	h, l := f.history, f.log
	// Between the log and the history, no other process may add an event.
	if err := l.lock(); err != nil {
		return err
	}
	defer l.unlock()
	requestlog.Sweep(l.dir)
	if err := l.read(f.recorder.Load); err != nil {
		return err
	}
	newest, any := h.Newest()
	if err := h.LoadTable(ctx, s, f.recorder); err != nil {
		return err
	}
	table, hasTable := h.Newest()
	if hasTable && (!any || table > newest) {
		newest, any = table, true
	}
	if any {
		if err := f.shorten(ctx, s, newest); err != nil {
			return err
		}
	}
	if err := l.begins.complete(h, newest, table, hasTable); err != nil {
		return err
	}
	l.removed()
	l.parts, f.name = nil, l.file.head.Log
	return h.Loaded(l.n)
}

// Close stops it. Events that wait are refused.
func (f *Feed) Close() {
	f.once.Do(func() { close(f.stopped) })
	<-f.ended
	f.log.close()
}

// Name identifies the log.
func (f *Feed) Name() string { return f.name }

// ErrStopped is the error of events for a service that stops.
var ErrStopped = errors.New("the service stops")

// Post adds the n events in rows, whose values are in the order of the columns of the history. It
// returns how many the history did not have yet, after the disk has them and predictions see
// them. The error is a [*RowError] if an event cannot be added; then none is.
func (f *Feed) Post(rows []rowsql.Value, n int) (added int, err error) {
	p := &post{rows: rows, n: n, done: make(chan struct{})}
	select {
	case f.posts <- p:
	case <-f.stopped:
		return 0, ErrStopped
	}
	select {
	case <-p.done:
		return p.added, p.err
	case <-f.ended:
		select {
		case <-p.done:
			return p.added, p.err
		default:
			return 0, ErrStopped
		}
	}
}

// LogBytes is the size of the log.
func (f *Feed) LogBytes() int64 { return f.log.size() }

// Follow returns when the history has the events that other processes have confirmed.
func (f *Feed) Follow() {
	if !f.log.behind() {
		return
	}
	_, _ = f.Post(nil, 0) // what fails is said to those who send events
}

// run writes posts, as many at once as wait, and reads what other processes write.
func (f *Feed) run() {
	defer close(f.ended)
	ctx, cancel := context.WithCancel(context.Background())
	var tidying sync.WaitGroup
	tidying.Go(func() { f.tidyUp(ctx) })
	defer tidying.Wait()
	defer cancel()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		var all []*post
		select {
		case <-f.stopped:
			return
		case <-poll.C:
			if f.broken != nil || !f.log.behind() {
				continue
			}
		case p := <-f.posts:
			all = f.waiting(p)
		}
		f.commit(all)
		for _, p := range all {
			close(p.done)
		}
	}
}

// tidyUp makes Parquet of files that nothing is appended to, beside requests.
func (f *Feed) tidyUp(ctx context.Context) {
	log, err := openLog(f.log.dir, f.log.columns, f.log.warn)
	if err != nil {
		f.log.warn("note: " + err.Error())
		return
	}
	defer log.close()
	for {
		left, err := log.tidy(ctx)
		if err != nil && ctx.Err() == nil {
			f.log.warn("note: " + err.Error())
		}
		f.log.others.Add(log.others.Swap(0))
		var again <-chan time.Time
		if left {
			again = time.After(tidyAgain)
		}
		select {
		case <-ctx.Done():
			return
		case <-f.tidy:
		case <-again:
			requestlog.Sweep(log.dir) // of whoever was killed meanwhile
		}
	}
}

// tidyAgain is when a process looks whether another one has made Parquet.
const tidyAgain = 2 * time.Second

// waiting returns a post, and those that wait behind it.
func (f *Feed) waiting(p *post) []*post {
	all, n := []*post{p}, p.n
	for n < mostTogether {
		select {
		case p := <-f.posts:
			all, n = append(all, p), n+p.n
		default:
			return all
		}
	}
	return all
}

// commit adds posts, after the events of other processes.
func (f *Feed) commit(all []*post) {
	fail := func(err error) {
		for _, p := range all {
			if p.err == nil {
				p.added, p.err = 0, err
			}
		}
	}
	if f.broken != nil {
		fail(f.broken)
		return
	}
	if err := f.log.lock(); err != nil {
		fail(err)
		return
	}
	defer f.log.unlock()
	file := f.log.file
	defer func() {
		if f.log.file != file {
			select {
			case f.tidy <- struct{}{}:
			default: // it is about to look
			}
		}
	}()
	if err := f.follow(); err != nil {
		f.broken = err
		fail(err)
		return
	}
	rows, n := f.check(all)
	if n == 0 {
		return
	}
	broken, err := f.log.append(rows, n)
	if err == nil {
		err = f.recorder.Add(f.log.n)
		broken = err != nil
	}
	if err != nil {
		if f.recorder.Reset(); broken {
			f.broken = err
		}
		fail(err)
	}
}

// follow adds what other processes have written.
func (f *Feed) follow() error {
	if !f.log.behind() {
		return nil
	}
	f.recorder.Reset()
	err := f.log.read(func(row []rowsql.Value) error {
		// Each frame was checked against the history as it was then.
		_, err := f.recorder.Check(row)
		return err
	})
	if err != nil {
		return fmt.Errorf("the events of another process: %w", err)
	}
	return f.recorder.Add(f.log.n)
}

// check returns the events of posts that are written, and refuses posts with others.
func (f *Feed) check(all []*post) (rows []byte, n int) {
	columns := f.history.Columns()
	for again := true; again; {
		again, rows, n = false, rows[:0], 0
		f.recorder.Reset()
		for _, p := range all {
			if p.err != nil {
				continue
			}
			p.added = 0
			for i := range p.n {
				row := p.rows[i*len(columns) : (i+1)*len(columns)]
				known, err := f.recorder.Check(row)
				if err != nil {
					// The batch has the events before it, so it begins again without this post.
					p.added, p.err, again = 0, &RowError{i, err}, true
					break
				}
				if !known {
					rows = encodeRow(rows, columns, row)
					p.added++
					n++
				}
			}
			if again {
				break
			}
		}
	}
	return rows, n
}
