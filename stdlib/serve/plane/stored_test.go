package plane

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/stores"
)

// fakeStored are features that fetch rows of a store. The row 1 waits until release is closed,
// and the row 2 is in a store that is away.
type fakeStored struct {
	Features
	waits   chan struct{}
	release chan struct{}
}

func (f fakeStored) NewRow() RowComputer {
	return struct {
		RowComputer
		fetcher
	}{f.Features.NewRow(), f}
}

func (f fakeStored) Fetch(_ context.Context, n int, row func(int) []rowsql.Value, wait func(func() error) error) error {
	for i := range n {
		switch row(i)[0].Int() {
		case 1:
			err := wait(func() error {
				f.waits <- struct{}{}
				<-f.release
				return nil
			})
			if err != nil {
				return err
			}
		case 2:
			return wait(func() error { return &stores.Error{Table: "w", URL: "redis://h", Err: io.ErrUnexpectedEOF} })
		}
	}
	return nil
}

// A request that waits for a store does not keep others from being computed, unless as many
// wait as may.
func TestRequestsAreComputedWhileOthersWaitForStores(t *testing.T) {
	f := fakeStored{computed(oneColumn, nil), make(chan struct{}, 10), make(chan struct{})}
	p, _ := planeOf(t, func(c *Config) { c.AtOnce, c.Waiting, c.Features = 1, 1, f })
	codes := make(chan int, 4)
	send := func() {
		go func() { codes <- ask(p, "POST", "/predict", oneRow).Code }()
	}
	send()
	<-f.waits
	answered(t, ask(p, "POST", "/predict", `{"instances": [{"n": 5}]}`), 200, "")
	send()
	<-f.waits // it keeps its slot
	send()
	until(t, "the third request does not wait", func() bool { return p.waiting.Load() == 1 })
	answered(t, ask(p, "POST", "/predict", `{"instances": [{"n": 5}]}`), 429, "")
	close(f.release)
	for range 3 {
		if code := <-codes; code != 200 {
			t.Errorf("a request that waited has the status %d", code)
		}
	}
	if n := p.fetching.Load(); n != 0 {
		t.Errorf("%d requests wait", n)
	}
}

// A request that nobody waits for any more when its rows are there is not computed.
func TestRequestsThatEndWhileTheyWaitForStores(t *testing.T) {
	for name, tt := range map[string]struct {
		end    func(leave context.CancelFunc, ctx context.Context)
		status string
	}{
		"the deadline has passed": {func(_ context.CancelFunc, ctx context.Context) { <-ctx.Done() }, "504"},
		"the client has left":     {func(leave context.CancelFunc, _ context.Context) { leave() }, "499"},
	} {
		t.Run(name, func(t *testing.T) {
			features := computed(oneColumn, func([]rowsql.Value) (bool, error) {
				t.Error("the features are computed")
				return true, nil
			})
			f := fakeStored{features, make(chan struct{}, 1), make(chan struct{})}
			p, _ := planeOf(t, func(c *Config) { c.AtOnce, c.Waiting, c.Features = 1, 1, f })
			within, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer stop()
			ctx, leave := context.WithCancel(t.Context())
			if tt.status == "504" {
				ctx = within
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { _ = recover() }() // the connection of a client that has left is closed so
				p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/predict", strings.NewReader(oneRow)).WithContext(ctx))
			}()
			<-f.waits
			tt.end(leave, ctx)
			close(f.release)
			<-done
			if text := string(p.text()); !strings.Contains(text, `tenon_http_requests_total{code="`+tt.status+`"`) {
				t.Errorf("wanted status %s in\n%s", tt.status, text)
			}
			leave()
		})
	}
}

func TestATableThatCannotBeReadIsNamed(t *testing.T) {
	var log logged
	f := fakeStored{computed(oneColumn, nil), nil, nil}
	p, _ := planeOf(t, func(c *Config) { c.Features, c.Log = f, log.add })
	for range 3 {
		w := ask(p, "POST", "/predict", `{"instances": [{"n": 5}, {"n": 2}]}`)
		answered(t, w, 503, `{"detail":"the table w cannot be read now; the log of the service says why"}`)
		if w.Header().Get("Retry-After") != "1" {
			t.Error("it does not say when to try again")
		}
	}
	if said := log.String(); strings.Count(said, `the table "w" cannot be read from redis://h: unexpected EOF`) != 1 {
		t.Errorf("the log says %q", said)
	}
	if !errors.Is(&stores.Error{Err: io.EOF}, io.EOF) {
		t.Error("the cause is not in the error")
	}
}
