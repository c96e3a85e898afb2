// Package traces sends spans of requests to a collector of OpenTelemetry, as JSON over HTTP
// (OTLP). It continues the traces of clients, by the header of the W3C. A request never waits
// for a collector: spans are queued, and dropped if there is no room.
//
// It does not use the SDK of OpenTelemetry, which adds 4 MB to a program of 20.
package traces

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Config says where traces go.
type Config struct {
	Endpoint string  `json:"endpoint"` // of a collector, such as http://collector:4318
	Sample   float64 `json:"sample"`   // fraction of the requests that no trace of a client has
}

// A Tracer makes spans, and sends them. A nil one makes none.
type Tracer struct {
	url      string
	sample   float64
	resource []attribute
	client   *http.Client
	queue    chan *Span
	dropped  atomic.Int64
	log      func(string)
	flush    time.Duration
	stop     context.CancelFunc
	done     sync.WaitGroup
}

const (
	mostQueued = 2048
	mostSent   = 256 // requests in one message
	flushAfter = 2 * time.Second
	sendTime   = 3 * time.Second
	stopTime   = 2 * time.Second // for the last spans
)

// New returns a tracer for a service, which sends until Close. attributes are pairs of a name
// and a value that describe it; those without a value are left out.
func New(c Config, log func(string), attributes ...string) (*Tracer, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the endpoint of traces %q is not a URL such as http://collector:4318", c.Endpoint)
	}
	if !strings.HasSuffix(u.Path, "/v1/traces") {
		u = u.JoinPath("v1", "traces")
	}
	t := &Tracer{url: u.String(), sample: c.Sample, client: &http.Client{Timeout: sendTime}, queue: make(chan *Span, mostQueued), log: log, flush: flushAfter}
	for i := 0; i+1 < len(attributes); i += 2 {
		if attributes[i+1] == "" {
			continue
		}
		t.resource = append(t.resource, text(attributes[i], attributes[i+1]))
	}
	var ctx context.Context
	ctx, t.stop = context.WithCancel(context.Background())
	t.done.Go(func() { t.run(ctx) })
	return t, nil
}

// Close sends what is queued, if the collector takes it soon.
func (t *Tracer) Close() {
	if t != nil {
		t.stop()
		t.done.Wait()
	}
}

// A Span is a request that is traced. A nil one notes nothing.
type Span struct {
	tracer     *Tracer
	trace      [16]byte
	id, parent [8]byte
	name       string
	start, end time.Time
	phases     []phase
	attributes []attribute
	failed     bool
}

type phase struct {
	name       string
	start, end time.Time
}

// Start begins the span of a request, or returns nil if it is not traced: the client decides
// if it sends a trace, and otherwise chance.
func (t *Tracer) Start(r *http.Request, now time.Time) *Span {
	if t == nil {
		return nil
	}
	s := &Span{tracer: t, start: now}
	sampled, given := s.continues(r.Header.Get("Traceparent"))
	if !given {
		sampled = rand.Float64() < t.sample
		random(s.trace[:])
	}
	if !sampled {
		return nil
	}
	random(s.id[:])
	return s
}

// continues reads the header of the W3C: version, trace, span and flags.
func (s *Span) continues(header string) (sampled, ok bool) {
	if len(header) < 55 || header[2] != '-' || header[35] != '-' || header[52] != '-' || header[:2] == "ff" || header[:2] == "00" && len(header) != 55 ||
		len(header) > 55 && header[55] != '-' || strings.ToLower(header[:55]) != header[:55] {
		return false, false
	}
	var version, flags [1]byte
	var trace [16]byte
	var parent [8]byte
	for to, from := range map[*byte]string{&version[0]: header[:2], &flags[0]: header[53:55]} {
		b, err := hex.DecodeString(from)
		if err != nil {
			return false, false
		}
		*to = b[0]
	}
	if _, err := hex.Decode(trace[:], []byte(header[3:35])); err != nil || trace == [16]byte{} {
		return false, false
	}
	if _, err := hex.Decode(parent[:], []byte(header[36:52])); err != nil || parent == [8]byte{} {
		return false, false
	}
	s.trace, s.parent = trace, parent
	return flags[0]&1 == 1, true
}

func random(b []byte) {
	for i := 0; i < len(b); i += 8 {
		for n, j := rand.Uint64()|1, 0; j < 8; j++ { // not all zeros
			b[i+j] = byte(n >> (8 * j))
		}
	}
}

// Phase ends a part of the request, which began with it or where the part before it ended.
func (s *Span) Phase(name string) {
	if s == nil {
		return
	}
	start := s.start
	if n := len(s.phases); n > 0 {
		start = s.phases[n-1].end
	}
	s.phases = append(s.phases, phase{name, start, time.Now()})
}

// Rows notes how many rows a request has.
func (s *Span) Rows(n int) {
	if s != nil {
		s.attributes = append(s.attributes, number("tenon.rows", n))
	}
}

// End ends the span of a request to a path with the status of its answer.
func (s *Span) End(method, path string, status int) {
	if s == nil {
		return
	}
	s.end = time.Now()
	s.name = method + " " + path
	s.failed = status >= 500
	s.attributes = append(s.attributes, text("http.request.method", method), text("http.route", path), number("http.response.status_code", status))
	select {
	case s.tracer.queue <- s:
	default:
		s.tracer.dropped.Add(1)
	}
}
