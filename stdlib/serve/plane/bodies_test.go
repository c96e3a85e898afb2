package plane

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
)

// Requests whose bodies are still being read cannot take more memory than there is for bodies.
func TestTheMemoryForBodiesIsLimited(t *testing.T) {
	p, _ := planeOf(t, func(c *Config) { c.Features = computed(oneColumn, nil) })
	p.mostBodies = 100
	slow, sends := io.Pipe()
	first := make(chan int)
	go func() {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest("POST", "/predict", slow))
		first <- w.Code
	}()
	send := func(text string) {
		if _, err := io.WriteString(sends, text); err != nil {
			t.Fatal(err)
		}
	}
	send(strings.Repeat(" ", 80))
	until(t, "the body is not counted", func() bool { return p.bodies.Load() == 80 })

	w := ask(p, "POST", "/predict", oneRow)
	answered(t, w, 429, `{"detail":"the bodies of requests need too much memory"}`)
	if w.Header().Get("Retry-After") != "1" {
		t.Error("it does not say when to try again")
	}
	if text := string(p.text()); !strings.Contains(text, `tenon_http_requests_total{code="429",deployment="api",path="/predict"} 1.0`+"\n") {
		t.Errorf("it is not counted in\n%s", text)
	}
	if n := p.bodies.Load(); n != 80 {
		t.Errorf("the body of a request that was refused takes %d bytes", n-80)
	}

	p.mostBodies = 200
	send(oneRow)
	_ = sends.Close()
	if code := <-first; code != 200 {
		t.Errorf("the request that was read first has the status %d", code)
	}
	answered(t, ask(p, "POST", "/predict", oneRow), 200, "")
	if n := p.bodies.Load(); n != 0 {
		t.Errorf("%d bytes are held by nobody", n)
	}
}

// What a client announces but does not send counts as far as there is memory for it.
func TestAnnouncedBodiesAreCounted(t *testing.T) {
	p, _ := planeOf(t, func(c *Config) { c.Features = computed(oneColumn, nil) })
	p.mostBodies = mostAhead - 1
	r := httptest.NewRequest("POST", "/predict", strings.NewReader(oneRow))
	r.ContentLength = mostAhead
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	answered(t, w, 429, "")
	answered(t, ask(p, "POST", "/predict", oneRow), 200, "")
}

// A body of the largest size fits, whatever that is.
func TestTheLimitOfBodiesFitsTheLargest(t *testing.T) {
	for _, most := range []int64{1, 1 << 20, 1 << 30} {
		if got := mostBodies(most, 2); got < leastBodies || got < 6*most {
			t.Errorf("%d bytes for bodies of %d", got, most)
		}
	}
}
