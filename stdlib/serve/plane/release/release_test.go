package release

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/stdlib/step"
)

func routeOf(t *testing.T, shares ...any) *Route {
	t.Helper()
	var r step.Route
	for i := 0; i < len(shares); i += 2 {
		r.Versions = append(r.Versions, step.RouteVersion{Name: shares[i].(string), Weight: shares[i+1].(int)})
	}
	x, err := New(r)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

const keys = 100_000

func key(i int) []byte { return fmt.Appendf(nil, "customer %d", i) }

func TestWeightsAreKept(t *testing.T) {
	for _, r := range []*Route{
		routeOf(t, "v1", 99, "v2", 1), routeOf(t, "v1", 90, "v2", 10), routeOf(t, "v1", 0, "v2", 100),
		routeOf(t, "v1", 50, "v2", 30, "v3", 20), routeOf(t, "v1", 100), routeOf(t, "v1", 34, "v2", 33, "v3", 33, "v4", 0),
	} {
		for how, choose := range map[string]func(int) int{"random": func(int) int { return r.Random() }, "sticky": func(i int) int { return r.Of(key(i)) }} {
			got := make([]int, len(r.Versions))
			for i := range keys {
				got[choose(i)]++
			}
			for i, v := range r.Versions {
				// Five standard deviations.
				p := float64(v.Weight) / 100
				if off := math.Abs(float64(got[i]) - p*keys); off > 5*math.Sqrt(keys*p*(1-p)) {
					t.Errorf("%s: %s has %d of %d requests, and the weight %d", how, v.Name, got[i], keys, v.Weight)
				}
			}
		}
	}
}

// A key that has got a version keeps it while the weight of that version grows.
func TestKeysOnlyMoveToAVersionThatGrows(t *testing.T) {
	steps := []*Route{routeOf(t, "v1", 99, "v2", 1), routeOf(t, "v1", 90, "v2", 10), routeOf(t, "v1", 50, "v2", 50), routeOf(t, "v1", 0, "v2", 100)}
	for i := range keys {
		had := 0
		for n, r := range steps {
			got := r.Of(key(i))
			if got < had {
				t.Fatalf("%s moves back at step %d", key(i), n)
			}
			had = got
		}
	}
}

// A third version takes keys of the others, in proportion, and moves no other key.
func TestAnotherVersionMovesOnlyItsOwnKeys(t *testing.T) {
	two, three := routeOf(t, "v1", 50, "v2", 50), routeOf(t, "v1", 40, "v2", 40, "v3", 20)
	for i := range keys {
		if a, b := two.Of(key(i)), three.Of(key(i)); a != b && b != 2 {
			t.Fatalf("%s moves from %d to %d", key(i), a, b)
		}
	}
}

// Who has tried one version is seldom who tries the next one.
func TestEachVersionHasOtherKeys(t *testing.T) {
	first, second := routeOf(t, "v1", 90, "v2", 10), routeOf(t, "v2", 90, "v3", 10)
	both := 0
	for i := range keys {
		if first.Of(key(i)) == 1 && second.Of(key(i)) == 1 {
			both++
		}
	}
	if both > keys/100 { // as many as by chance
		t.Errorf("%d of %d keys get both", both, keys)
	}
}

func TestRoutesThatAreNone(t *testing.T) {
	v := func(name string, weight int, shadow float64) step.RouteVersion {
		return step.RouteVersion{Name: name, Weight: weight, Shadow: shadow}
	}
	for want, versions := range map[string][]step.RouteVersion{
		"a route has no versions":             nil,
		"a version of a route has no name":    {v("", 100, 0)},
		"v1 is in the route twice":            {v("v1", 50, 0), v("v1", 50, 0)},
		"the weight of v1 is -1, wanted 0":    {v("v1", -1, 0), v("v2", 101, 0)},
		"the weights are 99 together":         {v("v1", 98, 0), v("v2", 1, 0)},
		"the shadow of v2 is 1.5, wanted 0":   {v("v1", 100, 0), v("v2", 0, 1.5)},
		"the shadow of v2 is NaN, wanted 0":   {v("v1", 100, 0), v("v2", 0, math.NaN())},
		"a route has 17 versions, at most 16": make([]step.RouteVersion, 17),
		"":                                    {v("v1", 100, 0), v("v2", 0, 1)},
	} {
		_, err := New(step.Route{Versions: versions})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestAFileThatIsNoRouteChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "route")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"serial": 4, "versions": [{"name": "v1", "weight": 100}]}`)
	applied, said := make(chan step.Route, 10), make(chan string, 10)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	go Follow(ctx, path, 4, func(r step.Route) error {
		if r.By == "nothing" {
			return fmt.Errorf("no such column")
		}
		applied <- r
		return nil
	}, func(line string) { said <- line })
	for text, want := range map[string]string{
		`{"serial": 5, "ver`:             "unexpected end of JSON input",
		`{"serial": 3, "versions": []}`:  "route 3 comes after route 4",
		`{"serial": 5, "by": "nothing"}`: "no such column",
	} {
		write(text)
		select {
		case line := <-said:
			if !strings.HasPrefix(line, "error: route 4 stays: ") || !strings.Contains(line, want) {
				t.Errorf("%q, want %q", line, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("nothing is said about %s", text)
		}
	}
	write(`{"serial": 6}`)
	began := time.Now()
	select {
	case r := <-applied:
		if r.Serial != 6 {
			t.Errorf("route %d is applied", r.Serial)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it is not applied")
	}
	select {
	case line := <-said:
		t.Errorf("it says %q", line)
	default:
	}
}

func TestLatencies(t *testing.T) {
	var c Counts
	for _, took := range []time.Duration{0, 50 * time.Microsecond, 51 * time.Microsecond, time.Second, time.Hour} {
		c.Request(200, took)
	}
	var o step.Observation
	c.AddTo(&o)
	if o.Requests != 5 || len(o.Latency) != len(step.LatencyBuckets)+1 || o.Latency[0] != 2 || o.Latency[1] != 1 || o.Latency[len(step.LatencyBuckets)] != 1 {
		t.Errorf("%+v", o)
	}
	for i, n := range o.Latency[2:len(step.LatencyBuckets)] {
		if n > 0 && (step.LatencyBuckets[i+2] < 1 || step.LatencyBuckets[i+1] >= 1) {
			t.Errorf("a second is in the bucket up to %g", step.LatencyBuckets[i+2])
		}
	}
}

func TestSegmentsAreBounded(t *testing.T) {
	var d Differences
	for i := range 1000 {
		d.Segment("v2", "id", fmt.Sprint(i), i%2 == 0)
		d.Segment("v2", "country", []string{"PT", "DE", "FR"}[i%3], i%3 == 1)
		d.Segment("v2", "same", "x", true)
		d.Segment("v2", "long", strings.Repeat("x", 100), true)
	}
	var o step.Observed
	d.AddTo(&o)
	var b strings.Builder
	for _, s := range o.Segments {
		fmt.Fprintf(&b, "%s=%s %d/%d ", s.Column, s.Value, s.Different, s.Compared)
	}
	if got := b.String(); got != "country=DE 333/333 country=PT 0/334 country=FR 0/333 " {
		t.Error(got)
	}
}

func TestTheLastExamplesAreKept(t *testing.T) {
	var d Differences
	for i := range 100 {
		d.Example(step.Example{Row: map[string]any{"n": i}})
	}
	var o step.Observed
	d.AddTo(&o)
	if len(o.Examples) != step.MostExamples || o.Examples[step.MostExamples-1].Row["n"] != 99 {
		t.Errorf("%v", o.Examples)
	}
}

func TestShownTexts(t *testing.T) {
	for text, want := range map[string]string{
		"abc": "abc", strings.Repeat("é", 150): strings.Repeat("é", 100) + "...", strings.Repeat("\n", 150): strings.Repeat("\n", 150),
	} {
		b, _ := json.Marshal(text)
		b, err := json.Marshal(Shown(b))
		var got string
		if err != nil || json.Unmarshal(b, &got) != nil || got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestNumbersThatAreEqual(t *testing.T) {
	for _, c := range []struct {
		a, b float64
		want bool
	}{{1, 1, true}, {1, 1 + 1e-12, true}, {1, 1 + 1e-6, false}, {0, 0, true}, {0, 1e-300, false}, {-5, 5, false}} {
		if Near(c.a, c.b) != c.want {
			t.Errorf("%g and %g: %v", c.a, c.b, !c.want)
		}
	}
}
