package plane

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A request that is sent again and again, to a writer that keeps nothing.
type repeated struct {
	plane   *Plane
	request *http.Request
	body    *bytes.Reader
	header  http.Header
	status  int
}

func (r *repeated) Header() http.Header         { return r.header }
func (r *repeated) WriteHeader(status int)      { r.status = status }
func (r *repeated) Write(b []byte) (int, error) { return len(b), nil }

func (r *repeated) send(t testing.TB) {
	_, _ = r.body.Seek(0, io.SeekStart)
	if r.plane.ServeHTTP(r, r.request); r.status != 200 {
		t.Fatal(r.status)
	}
}

// manyRows is a body with so many rows for a plane.
func manyRows(t testing.TB, rows int) (*Plane, []byte) {
	p, x := planeOf(t, nil)
	var doc struct{ Instances []json.RawMessage }
	if err := json.Unmarshal(x.Request, &doc); err != nil {
		t.Fatal(err)
	}
	for len(doc.Instances) < rows {
		doc.Instances = append(doc.Instances, doc.Instances...)
	}
	body, err := json.Marshal(map[string]any{"instances": doc.Instances[:rows]})
	if err != nil {
		t.Fatal(err)
	}
	return p, body
}

func repeatedly(t testing.TB, rows int) *repeated {
	p, body := manyRows(t, rows)
	r := &repeated{plane: p, body: bytes.NewReader(body), header: http.Header{}}
	r.request = httptest.NewRequest("POST", "/predict", nil)
	r.request.Body, r.request.ContentLength = io.NopCloser(r.body), int64(len(body))
	r.send(t)
	return r
}

// What a request costs does not grow with its rows: decoding, predicting, answering and
// counting allocate nothing.
func TestRowsAllocateNothing(t *testing.T) {
	for _, rows := range []int{1, 10, 1000} {
		p, body := manyRows(t, rows)
		x := p.newWork()
		x.body.Write(body)
		if n := testing.AllocsPerRun(100, func() {
			p.slots <- struct{}{}
			if !p.compute(t.Context(), x, true) {
				t.Fatal("refused")
			}
			p.metrics.predicted(x.classes, x.numbers)
		}); n != 0 {
			t.Errorf("%v allocations for %d rows", n, rows)
		}
	}
}

func BenchmarkPredict(b *testing.B) {
	for _, rows := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d rows", rows), func(b *testing.B) {
			r := repeatedly(b, rows)
			b.ReportAllocs()
			for b.Loop() {
				r.send(b)
			}
		})
	}
}
