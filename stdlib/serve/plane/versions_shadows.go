package plane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/stores"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Limits of what waits to be computed once more.
const (
	mostShadows     = 256
	mostShadowBytes = 16 << 20 // of all their bodies
	// shadowPatience is how long one waits for a moment in which nobody needs the processors.
	// After it, it takes its turn among the requests of clients, so that a version is compared
	// under any load.
	shadowPatience = time.Second
	mostSegmented  = 64 // columns
)

// A shadow is a request that was answered, and that another version computes too.
type shadow struct {
	routing  *routing
	answered int // the version
	at       time.Time
	kind     kind
	length   int // of the JSON in the body, see kindOf
	body     []byte
	names    []json.RawMessage // of the classes
	classes  []int             // that were predicted, row by row
	numbers  []float64         // probabilities, or predicted numbers
}

// newShadow copies a request that was answered. It is nil if there are no predictions to compare.
func newShadow(s *routing, answered int, x *work, r *http.Request) *shadow {
	p := s.versions[answered].plane
	if r.URL.Path == "/explain" || len(x.numbers) == 0 || len(x.numbers) != x.rows.Len() {
		return nil
	}
	k, length := kindOf(r)
	return &shadow{routing: s, answered: answered, at: x.began, kind: k, length: length, body: slices.Clone(x.body.Bytes()),
		names: p.Model.Classes(), classes: slices.Clone(x.classes), numbers: slices.Clone(x.numbers)}
}

// shadows computes them for a version, one after the other.
type shadows struct {
	version *version
	private map[string]bool // columns
	queue   chan queued
	bytes   atomic.Int64
	dropped atomic.Uint64
	say     func(string)
}

type queued struct {
	*shadow
	index int // of the version in the route
}

func newShadows(v *version, private []string, say func(string)) *shadows {
	s := &shadows{version: v, private: map[string]bool{}, queue: make(chan queued, mostShadows), say: say}
	for _, name := range private {
		s.private[name] = true
	}
	return s
}

// add makes one wait, or counts that it is dropped.
func (s *shadows) add(job *shadow, index int) {
	size := int64(len(job.body))
	if s.bytes.Add(size) <= mostShadowBytes {
		select {
		case s.queue <- queued{job, index}:
			return
		default:
		}
	}
	s.bytes.Add(-size)
	s.dropped.Add(1)
}

// run computes them until ctx ends.
func (s *shadows) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-s.queue:
			s.bytes.Add(-int64(len(q.body)))
			if s.version.turns.Add(1); !s.version.gone.Load() {
				s.compute(ctx, q)
			}
			s.version.turns.Add(-1)
		}
	}
}

func (s *shadows) compute(ctx context.Context, q queued) {
	p := s.version.plane
	x := p.work.Get().(*work)
	began := time.Now()
	status := http.StatusInternalServerError
	defer func() {
		counts := &q.routing.counts[q.index]
		if fault := recover(); fault != nil {
			s.say(fmt.Sprintf("panic of %s as a shadow: %v\n%s", s.version.name, fault, debug.Stack()))
			counts.Shadow(status, time.Since(began))
			return // without the memory of the request
		}
		if status != 0 {
			counts.Shadow(status, time.Since(began))
		}
		p.putBack(x)
	}()
	x.body.Reset()
	x.body.Write(q.body)
	if !s.admit(ctx) {
		status = 0
		return
	}
	began = time.Now()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	status = s.predict(ctx, q, x)
	if status == http.StatusOK {
		s.compare(q, x)
	}
}

// admit waits for a slot while nobody else does, or for a while. It returns false if ctx ends.
func (s *shadows) admit(ctx context.Context) bool {
	p := s.version.plane
	for until := time.Now().Add(shadowPatience); time.Now().Before(until); {
		if p.waiting.Load() == 0 {
			select {
			case p.slots <- struct{}{}:
				return true
			default:
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Millisecond):
		}
	}
	select {
	case p.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// predict makes the predictions and returns the status that an answer would have. It frees the slot.
func (s *shadows) predict(ctx context.Context, q queued, x *work) int {
	p := s.version.plane
	defer func() { <-p.slots }()
	if !p.decode(q.kind, q.length, x.body.Bytes(), &x.rows) {
		return http.StatusUnprocessableEntity
	}
	if err := p.ask(ctx, x); err != nil {
		if errors.Is(err, worker.ErrAway) || errors.Is(err, context.Canceled) {
			return 0 // nobody has asked it
		}
		status := statusOf(err)
		if status >= 500 {
			s.say(fmt.Sprintf("error of %s as a shadow: %v", s.version.name, err))
		}
		return status
	}
	p.classify(x)
	return http.StatusOK
}

// statusOf is the status of an answer to a request that has no predictions, as [Plane.refuseRow] gives it.
func statusOf(err error) int {
	switch {
	case errors.As(err, new(*model.RowError)):
		return http.StatusUnprocessableEntity
	case errors.As(err, new(*stores.Error)):
		return http.StatusServiceUnavailable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, worker.ErrTimeout):
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// compare counts the rows for which the version predicts something else than the answer.
func (s *shadows) compare(q queued, x *work) {
	p, n := s.version.plane, x.rows.Len()
	if n != len(q.numbers) {
		s.say(fmt.Sprintf("error of %s as a shadow: it read %d rows of %d", s.version.name, n, len(q.numbers)))
		return
	}
	classes := p.Model.Classes()
	different, shown := 0, false
	for i := range n {
		differs := (len(classes) > 0) != (len(q.classes) > 0)
		switch {
		case differs:
		case len(classes) > 0:
			differs = string(classes[x.classes[i]]) != string(q.names[q.classes[i]])
		default:
			differs = !release.Near(x.numbers[i], q.numbers[i])
		}
		if differs {
			different++
		}
		row := x.rows.Row(i)
		s.segment(q, row, differs)
		if differs && !shown { // one of a request
			shown = true
			q.routing.differences.Example(step.Example{
				At: q.at.UTC(), Answered: q.routing.versions[q.answered].name, Other: s.version.name, Row: s.shown(row),
				Gave: given(q.names, q.classes, q.numbers, i), Instead: given(classes, x.classes, x.numbers, i),
			})
		}
	}
	q.routing.counts[q.index].Rows(n, different)
}

// segment counts a row by the values of its columns that may have few.
func (s *shadows) segment(q queued, row []rowsql.Value, differs bool) {
	columns := s.version.plane.columns
	for i := range min(len(columns), mostSegmented) {
		c := &columns[i]
		if s.private[c.Name] {
			continue
		}
		switch c.Type {
		case "string":
			text := row[i].Text
			if row[i].Null {
				text = "null"
			}
			q.routing.differences.Segment(s.version.name, c.Name, text, differs)
		case "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "date":
			var b [32]byte
			q.routing.differences.Segment(s.version.name, c.Name, string(value(b[:0], c.Type, &row[i])), differs)
		}
	}
}

// shown is a row as an example shows it.
func (s *shadows) shown(row []rowsql.Value) map[string]any {
	all := map[string]any{}
	for i, c := range s.version.plane.columns {
		if s.private[c.Name] {
			all[c.Name] = release.Masked
			continue
		}
		all[c.Name] = release.Shown(value(nil, c.Type, &row[i]))
	}
	return all
}

// given is a prediction as an answer has it.
func given(names []json.RawMessage, classes []int, numbers []float64, row int) map[string]any {
	number := json.RawMessage(request.AppendFloat(nil, numbers[row]))
	if len(names) == 0 {
		return map[string]any{"prediction": number}
	}
	all := map[string]any{"prediction": names[classes[row]]}
	if !math.IsNaN(numbers[row]) {
		all["probability"] = number
	}
	return all
}
