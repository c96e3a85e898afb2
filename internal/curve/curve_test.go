package curve

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// logged returns the lines of a program that logs x^2 for the steps.
func logged(steps ...int64) string {
	var b strings.Builder
	for _, n := range steps {
		fmt.Fprintf(&b, `{"step": %d, "time": %d, "values": {"loss": %d}}`+"\n", n, 1000+n, n*n)
	}
	return b.String()
}

func read(t *testing.T, text string) *Curves {
	t.Helper()
	c, err := Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func steps(c *Curve) (all []int64) {
	for _, p := range c.All() {
		all = append(all, p.Step)
	}
	return all
}

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []int64
	}{
		{"values among other lines", `{"done": 1}` + "\n" + logged(1, 2) + "x\n" + `{"step": 5, "values": {"loss": null}}` + "\n" + logged(3), []int64{1, 2, 3}},
		{"a line without its end", logged(1, 2) + `{"step": 3, "values": {"loss": 1}}`, []int64{1, 2}},
		{"a line that is too long", logged(1) + strings.Repeat(" ", 3*MaxLine) + logged(2) + logged(3), []int64{1, 3}},
		{"a program that begins again", logged(1, 2, 3, 4) + logged(3, 4, 5), []int64{1, 2, 3, 4, 5}},
		{"the same file twice", logged(1, 2, 3) + logged(1, 2, 3), []int64{1, 2, 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := steps(read(t, test.text).Curves["loss"]); !reflect.DeepEqual(got, test.want) {
				t.Errorf("steps %v, want %v", got, test.want)
			}
		})
	}
}

func TestALongCurveIsThinnedButItsEndsAndExtremesAreExact(t *testing.T) {
	var c Curves
	const n = 12345
	for i := range int64(n) {
		x := math.Cos(float64(i) / 1000)
		if i == 7777 {
			x = -5
		}
		c.Add(step.Progress{Step: i, Values: map[string]step.Value{"loss": step.Value(x)}})
	}
	got := c.Curves["loss"]
	all := got.All()
	if len(all) > MaxPoints+1 || len(all) < MaxPoints/2 || got.Every != 16 {
		t.Errorf("%d points, one of %d", len(all), got.Every)
	}
	if all[0].Step != 0 || all[len(all)-1].Step != n-1 || got.Lowest.Step != 7777 || got.Highest.Step != 0 {
		t.Errorf("from %d to %d, lowest at %d, highest at %d", all[0].Step, all[len(all)-1].Step, got.Lowest.Step, got.Highest.Step)
	}
}

func TestValuesThatAreNoFiniteNumbersSurvive(t *testing.T) {
	c := read(t, `{"step": 1, "values": {"loss": "NaN"}}`+"\n"+`{"step": 2, "values": {"loss": "-Infinity"}}`+"\n"+`{"step": 3, "values": {"loss": 2}}`+"\n")
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"curves":{"loss":{"points":[[1,"NaN",0],[2,"-Infinity",0],[3,2,0]],"every":1,"last":[3,2,0],"lowest":[3,2,0],"highest":[3,2,0]}}}`
	if string(b) != want {
		t.Errorf("got %s", b)
	}
	var again Curves
	if err := json.Unmarshal(b, &again); err != nil || !math.IsNaN(float64(again.Curves["loss"].Points[0].Value)) {
		t.Errorf("read back: %v", err)
	}
}

func TestLimitsOfNames(t *testing.T) {
	var c Curves
	for i := range MaxCurves + 3 {
		c.Add(step.Progress{Values: map[string]step.Value{fmt.Sprint(i): 1}})
	}
	c.Add(step.Progress{Values: map[string]step.Value{strings.Repeat("x", MaxName+1): 1}})
	if len(c.Curves) != MaxCurves || c.LeftOut != 4 {
		t.Errorf("%d curves, %d values left out", len(c.Curves), c.LeftOut)
	}
}

func TestAnAttemptThatResumedContinuesTheCurveOfTheOneBefore(t *testing.T) {
	c := read(t, logged(4, 5, 6))
	c.Continue(read(t, logged(1, 2, 3, 4, 5)))
	got := c.Curves["loss"]
	if want := []int64{1, 2, 3, 4, 5, 6}; !reflect.DeepEqual(steps(got), want) {
		t.Errorf("steps %v, want %v", steps(got), want)
	}
	if got.Lowest.Step != 1 || got.Highest.Step != 6 {
		t.Errorf("lowest at %d, highest at %d", got.Lowest.Step, got.Highest.Step)
	}
	fresh := read(t, logged(1, 2))
	fresh.Continue(read(t, logged(1, 2, 3)))
	if want := []int64{1, 2}; !reflect.DeepEqual(steps(fresh.Curves["loss"]), want) {
		t.Errorf("an attempt that began at the start has steps %v", steps(fresh.Curves["loss"]))
	}
}

// A file that is damaged is an error, not a panic.
func TestParse(t *testing.T) {
	c := read(t, logged(1, 2, 3))
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Parse(b); err != nil || !reflect.DeepEqual(steps(got.Curves["loss"]), []int64{1, 2, 3}) {
		t.Errorf("%s becomes %+v, %v", b, got, err)
	}
	if got, err := Parse([]byte("{}")); err != nil || len(got.Curves) != 0 {
		t.Errorf("no curves: %+v, %v", got, err)
	}
	for text, want := range map[string]string{
		`{"curves":{"a":null}}`:                                `the curve "a" is damaged`,
		`{"curves":{"a":{"points":[[1,2,3]],"last":[1,2,3]}}}`: `the curve "a" is damaged`,
		`{"curves":{"a":{"points":[null],"every":1}}}`:         "a point is [step, value, time]",
		`{"curves":{"a":{"points":[[1,2]],"every":1}}}`:        "a point is [step, value, time]",
		`{"curves":`: "unexpected end of JSON input",
	} {
		if got, err := Parse([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s: %+v and error %v, want %s", text, got, err, want)
		}
	}
}
