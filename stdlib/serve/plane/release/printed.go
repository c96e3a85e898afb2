package release

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// CountedAs is the variable that makes a service print what it answers, with the name that its counts have.
const CountedAs = "TENON_COUNTED_AS"

// A Count is what a process has answered since it printed the count before. A process has no address at which
// it can be asked in AWS Lambda or SageMaker, so it prints counts into its log, which outlives it.
type Count struct {
	Since time.Time `json:"since"`        // the first of the requests began, or the process did, if there are none
	Of    string    `json:"of,omitempty"` // the value of [CountedAs]
	step.Observation
}

// CountPrefix is how the line of a count begins in the log.
const CountPrefix = "tenon-observed "

// ReadCount decodes a line of a log, or returns false if it is none of a count.
func ReadCount(line string) (c Count, is bool) {
	text, is := strings.CutPrefix(line, CountPrefix)
	return c, is && json.Unmarshal([]byte(text), &c) == nil
}

// seldom is how long a process counts before it prints that. The first count is printed at once, so
// that a process with few requests has printed all of them.
const seldom = 2 * time.Second

// Printed counts what a process answers, and prints it. It is safe for concurrent use.
type Printed struct {
	of  string
	out io.Writer

	mu      sync.Mutex
	printed time.Time
	since   time.Time
	n       *Counts // since then; nil if there are none
	later   *time.Timer
}

// NewPrinted returns counts with a name, which may be "".
func NewPrinted(out io.Writer, of string) *Printed { return &Printed{of: of, out: out} }

// Started prints a count without requests, which says that a process has started.
func (p *Printed) Started() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.print(Count{Since: time.Now().UTC(), Of: p.of})
}

// Request counts a request that was answered just now. If the last count is old enough, it prints one before it
// returns: AWS halts the instance of a function once the answer goes out.
func (p *Printed) Request(status int, began time.Time) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == nil {
		p.n, p.since = new(Counts), began
	}
	if began.Before(p.since) {
		p.since = began
	}
	p.n.Request(status, now.Sub(began))
	switch wait := p.printed.Add(seldom).Sub(now); {
	case wait <= 0:
		p.flush()
	case p.later == nil:
		p.later = time.AfterFunc(wait, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.flush()
		})
	}
}

// flush prints what was counted, if anything was.
func (p *Printed) flush() {
	if p.later != nil {
		p.later.Stop()
		p.later = nil
	}
	if p.n == nil {
		return
	}
	c := Count{Since: p.since.UTC(), Of: p.of}
	p.n.AddTo(&c.Observation)
	last := len(c.Latency)
	for last > 0 && c.Latency[last-1] == 0 {
		last--
	}
	c.Latency = c.Latency[:last]
	p.n, p.printed = nil, time.Now()
	p.print(c)
}

func (p *Printed) print(c Count) {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // numbers and times have JSON
	}
	fmt.Fprintf(p.out, "%s%s\n", CountPrefix, text)
}
