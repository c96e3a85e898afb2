package traces

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

var errFull = errors.New("the collector takes them too slowly")

// run sends spans until ctx ends, and then those that are queued.
func (t *Tracer) run(ctx context.Context) {
	tick := time.NewTicker(t.flush)
	defer tick.Stop()
	var batch []*Span
	var complained time.Time
	logged, why := int64(0), errFull
	// send sends the batch, and logs how many spans are lost: at most once a minute, and at the end.
	send := func(ctx context.Context, end bool) {
		if len(batch) > 0 {
			if err := t.send(ctx, batch); err != nil {
				t.dropped.Add(int64(len(batch)))
				why = err
			}
			batch = batch[:0]
		}
		if n := t.dropped.Load(); n != logged && (end || time.Since(complained) > time.Minute) {
			complained, logged = time.Now(), n
			t.log(fmt.Sprintf("note: traces are lost, %d requests so far: %v", n, why))
			why = errFull
		}
	}
	for {
		select {
		case s := <-t.queue:
			if batch = append(batch, s); len(batch) == mostSent {
				send(context.WithoutCancel(ctx), false) // which ends by itself
			}
		case <-tick.C:
			send(context.WithoutCancel(ctx), false)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.Background(), stopTime)
			defer cancel()
			for {
				select {
				case s := <-t.queue:
					batch = append(batch, s)
					continue
				default:
				}
				send(last, true)
				return
			}
		}
	}
}

func (t *Tracer) send(ctx context.Context, batch []*Span) error {
	body, err := json.Marshal(t.message(batch))
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := t.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection is used again
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answers %s", answer.Status)
	}
	return nil
}

// The messages of OTLP, as JSON.
type (
	exported struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resource     `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes []attribute `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope  `json:"scope"`
		Spans []span `json:"spans"`
	}
	scope struct {
		Name string `json:"name"`
	}
	span struct {
		Trace      string      `json:"traceId"`
		ID         string      `json:"spanId"`
		Parent     string      `json:"parentSpanId,omitempty"`
		Name       string      `json:"name"`
		Kind       int         `json:"kind"`
		Start      string      `json:"startTimeUnixNano"`
		End        string      `json:"endTimeUnixNano"`
		Attributes []attribute `json:"attributes,omitempty"`
		Status     *status     `json:"status,omitempty"`
	}
	status struct {
		Code int `json:"code"`
	}
	attribute struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	value struct {
		Text   string `json:"stringValue,omitempty"`
		Number string `json:"intValue,omitempty"`
	}
)

// Numbers of OTLP.
const (
	internalKind = 1
	serverKind   = 2
	errorCode    = 2
)

func text(key, v string) attribute       { return attribute{key, value{Text: v}} }
func number(key string, v int) attribute { return attribute{key, value{Number: strconv.Itoa(v)}} }

func nanos(at time.Time) string { return strconv.FormatInt(at.UnixNano(), 10) }

// message has a span for each request, and one for each of its phases.
func (t *Tracer) message(batch []*Span) exported {
	var all []span
	for _, s := range batch {
		trace, id := hex.EncodeToString(s.trace[:]), hex.EncodeToString(s.id[:])
		x := span{Trace: trace, ID: id, Name: s.name, Kind: serverKind, Start: nanos(s.start), End: nanos(s.end), Attributes: s.attributes}
		if s.parent != [8]byte{} {
			x.Parent = hex.EncodeToString(s.parent[:])
		}
		if s.failed {
			x.Status = &status{errorCode}
		}
		all = append(all, x)
		for _, p := range s.phases {
			var child [8]byte
			random(child[:])
			all = append(all, span{Trace: trace, ID: hex.EncodeToString(child[:]), Parent: id, Name: p.name, Kind: internalKind, Start: nanos(p.start), End: nanos(p.end)})
		}
	}
	return exported{[]resourceSpans{{resource{t.resource}, []scopeSpans{{scope{"tenon-serve"}, all}}}}}
}
