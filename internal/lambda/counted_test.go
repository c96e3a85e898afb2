package lambda

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// An instance prints its first count at once, and others two seconds after the last one, each with what was
// answered since then. Requests that do not ask the model do not count.
func TestAnInstanceCountsWhatItAnswers(t *testing.T) {
	var out bytes.Buffer
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	begin := now
	c := &counted{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			now = now.Add(100 * time.Millisecond)
			if status := map[string]int{"bad": 400, "fails": 500}[r.URL.RawQuery]; status != 0 {
				w.WriteHeader(status)
			}
		}),
		asks: func(r *http.Request) bool { return r.URL.Path == "/predict" }, out: &out, now: func() time.Time { return now },
	}
	ask := func(url string) { c.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, url, nil)) }
	for _, url := range []string{"/readyz", "/predict", "/predict?bad", "/readyz", "/predict?fails"} {
		ask(url)
	}
	now = now.Add(seldom)
	ask("/predict")
	var got []Count
	for line := range strings.Lines(out.String()) {
		n, is := ReadCount(strings.TrimSuffix(line, "\n"))
		if !is {
			t.Fatalf("%q is no count", line)
		}
		got = append(got, n)
	}
	if len(got) != 2 {
		t.Fatalf("it printed %s", out.String())
	}
	first, second := got[0], got[1]
	if !first.Since.Equal(begin.Add(100*time.Millisecond)) || first.Requests != 1 || first.Failed+first.Refused != 0 {
		t.Errorf("first %+v", first)
	}
	if !second.Since.Equal(begin.Add(200*time.Millisecond)) || second.Requests != 3 || second.Refused != 1 || second.Failed != 1 {
		t.Errorf("second %+v", second)
	}
	var slow int64
	for i, n := range second.Latency {
		if i > 0 && n > 0 && (step.LatencyBuckets[i-1] >= 0.1 || step.LatencyBuckets[i] < 0.1) {
			t.Errorf("%d requests are in the bucket up to %v s", n, step.LatencyBuckets[i])
		}
		slow += n
	}
	if slow != 3 || second.Latency[len(second.Latency)-1] == 0 {
		t.Errorf("latency %v", second.Latency)
	}
	for _, line := range []string{"", "tenon-observed", "tenon-observed {", `{"since":"2026-01-01T00:00:00Z"}`} {
		if n, is := ReadCount(line); is {
			t.Errorf("%q is a count: %s", line, func() []byte { b, _ := json.Marshal(n); return b }())
		}
	}
}
