package release

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// A process prints its first count at once, and others two seconds after the last one, each with what was
// answered since then, also if no request comes after it.
func TestAProcessPrintsWhatItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		begin := time.Now()
		p := NewPrinted(&out, "a model")
		p.Started()
		ask := func(status int) {
			began := time.Now()
			time.Sleep(100 * time.Millisecond)
			p.Request(status, began)
		}
		for _, some := range [][]int{{200, 400, 503}, {200}} {
			for _, status := range some {
				ask(status)
			}
			time.Sleep(2 * seldom)
			synctest.Wait()
		}
		var got []Count
		for line := range strings.Lines(out.String()) {
			n, is := ReadCount(strings.TrimSuffix(line, "\n"))
			if !is || n.Of != "a model" {
				t.Fatalf("%q is no count", line)
			}
			got = append(got, n)
		}
		if len(got) != 4 {
			t.Fatalf("it printed %s", out.String())
		}
		start, first, second, third := got[0], got[1], got[2], got[3]
		if !start.Since.Equal(begin) || start.Requests != 0 {
			t.Errorf("at the start %+v", start)
		}
		if !first.Since.Equal(begin) || first.Requests != 1 || first.Failed+first.Refused != 0 {
			t.Errorf("first %+v", first)
		}
		if !second.Since.Equal(begin.Add(100*time.Millisecond)) || second.Requests != 2 || second.Refused != 1 || second.Failed != 1 {
			t.Errorf("second %+v", second)
		}
		if third.Requests != 1 {
			t.Errorf("third %+v", third)
		}
		var slow int64
		for i, n := range second.Latency {
			if i > 0 && n > 0 && (step.LatencyBuckets[i-1] >= 0.1 || step.LatencyBuckets[i] < 0.1) {
				t.Errorf("%d requests are in the bucket up to %v s", n, step.LatencyBuckets[i])
			}
			slow += n
		}
		if slow != 2 || second.Latency[len(second.Latency)-1] == 0 {
			t.Errorf("latency %v", second.Latency)
		}
	})
	for _, line := range []string{"", "tenon-observed", "tenon-observed {", `{"since":"2026-01-01T00:00:00Z"}`} {
		if n, is := ReadCount(line); is {
			t.Errorf("%q is a count: %+v", line, n)
		}
	}
}
