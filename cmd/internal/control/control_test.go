package control

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

const api = "deployments/api"

func died() []planner.Fault { return []planner.Fault{{Unit: api, Why: "process died: killed"}} }

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestServiceThatDiedIsMendedAtOnce(t *testing.T) {
	r := &record{faults: died()}
	equal(t, watch(t, r, &fakeClock{}, 10*time.Second, Options{}),
		"0s started watching",
		"0s repaired deployments/api deployments/api: process died: killed",
		"10s stopped the test is over")
}

// A service that dies again and again is started at growing intervals, also by a controller that was
// killed in between.
func TestCrashLoopBacksOff(t *testing.T) {
	r, clock := &record{faults: died()}, &fakeClock{}
	clock.slept = func() { r.faults = died() }
	for range 3 { // controllers, one after the other
		watch(t, r, clock, time.Minute, Options{})
	}
	var at []string
	for i := len(r.mended) - 1; i >= 0; i-- {
		at = append(at, r.mended[i].at.String())
	}
	equal(t, at, "0s", "10s", "30s", "1m10s", "2m30s")
}

// A service that runs may be busy.
func TestSilentServiceIsNotReplacedAtOnce(t *testing.T) {
	r := &record{faults: []planner.Fault{{Unit: api, Why: "it runs but is not ready", Silent: true}}}
	equal(t, watch(t, r, &fakeClock{}, 40*time.Second, Options{}),
		"0s started watching",
		"0s fault deployments/api it may be busy: it runs but is not ready",
		"30s repaired deployments/api deployments/api: it runs but is not ready",
		"40s stopped the test is over")
	r = &record{faults: []planner.Fault{{Unit: api, Why: "it runs but is not ready", Silent: true}}}
	clock := &fakeClock{}
	clock.slept = func() {
		if clock.elapsed == 20*time.Second {
			r.faults = nil
		}
	}
	equal(t, watch(t, r, clock, 40*time.Second, Options{}),
		"0s started watching",
		"0s fault deployments/api it may be busy: it runs but is not ready",
		"20s healthy deployments/api no longer: it runs but is not ready",
		"40s stopped the test is over")
}

func TestErrorsBackOffAndAreRetried(t *testing.T) {
	for _, where := range []string{"open", "look"} {
		r, clock := &record{errs: map[string]error{where: errors.New("no connection")}, faults: died()}, &fakeClock{}
		clock.slept = func() {
			if clock.elapsed >= 12*time.Second {
				r.errs = nil
			}
		}
		want := []string{"0s failed no connection", "1s failed no connection", "3s failed no connection", "7s failed no connection", "15s started watching", "15s recovered state",
			"15s repaired deployments/api deployments/api: process died: killed", "30s stopped the test is over"}
		if where == "look" {
			want = append([]string{"0s started watching"}, append(want[:4:4], want[5:]...)...)
		}
		equal(t, watch(t, r, clock, 30*time.Second, Options{}), want...)
	}
}

func TestFailedRepairIsRetried(t *testing.T) {
	r, clock := &record{faults: died()}, &fakeClock{}
	r.mend = func([]string) error {
		if clock.elapsed == 0 {
			return errors.New("port 8080 is in use")
		}
		return nil
	}
	equal(t, watch(t, r, clock, 20*time.Second, Options{}),
		"0s started watching",
		"0s failed repair deployments/api: port 8080 is in use",
		"10s repaired deployments/api deployments/api: process died: killed, after 1 attempt",
		"10s recovered repair",
		"20s stopped the test is over")
}

// Whoever has the lock goes first, and nothing is mended meanwhile: what is down may be part of what
// is applied.
func TestLockOfOthers(t *testing.T) {
	r, clock := &record{faults: died()}, &fakeClock{}
	r.sight.Held = &state.HeldError{Holder: state.Holder{Command: "tenon apply"}}
	clock.slept = func() {
		if clock.elapsed >= 10*time.Second {
			r.sight.Held = nil
		}
	}
	equal(t, watch(t, r, clock, 20*time.Second, Options{}),
		"0s started watching",
		"0s waits tenon apply holds the lock",
		"10s repaired deployments/api deployments/api: process died: killed",
		"20s stopped the test is over")
	r = &record{faults: died(), errs: map[string]error{"mend": &state.HeldError{Holder: state.Holder{Command: "tenon apply"}}}}
	got := watch(t, r, &fakeClock{}, 10*time.Second, Options{})
	if len(got) != 3 || !strings.HasPrefix(got[1], "0s waits for the lock") {
		t.Errorf("a lock that is taken between look and act: %q", got)
	}
}

func TestKilledApplyComesFirst(t *testing.T) {
	r := &record{faults: died()}
	r.sight.Killed = "revision 3, which was killed"
	watch(t, r, &fakeClock{}, 5*time.Second, Options{})
	equal(t, r.calls, "continue", "mend deployments/api")
}

func TestReleasesTakeTheirSteps(t *testing.T) {
	r, clock := &record{}, &fakeClock{wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	at := clock.wall.Add(8 * time.Second)
	r.sight.Releases = []Release{{Unit: api, Waits: "this step takes 8s", Until: at}}
	clock.slept = func() {
		if !clock.wall.Before(at) && len(r.sight.Releases) > 0 {
			r.sight.Releases[0].Due = true
		}
	}
	equal(t, watch(t, r, clock, 9*time.Second, Options{}),
		"0s started watching",
		"0s waits deployments/api this step takes 8s",
		"8s released deployments/api",
		"13s stopped the test is over")
}

func TestOnce(t *testing.T) {
	r := &record{faults: died()}
	equal(t, watch(t, r, &fakeClock{}, time.Hour, Options{Once: true}),
		"0s started watching",
		"0s repaired deployments/api deployments/api: process died: killed")
	r = &record{faults: died(), errs: map[string]error{"mend": errors.New("no image")}}
	equal(t, watch(t, r, &fakeClock{}, time.Hour, Options{Once: true}),
		"0s started watching",
		"0s failed repair deployments/api: no image",
		"error repair deployments/api: no image")
	if r.controller != nil {
		t.Error("it left its note behind")
	}
}

// A second controller does nothing until the first one is gone, or silent for long enough by the clock
// of the second.
func TestStandby(t *testing.T) {
	other := func() *state.Controller {
		return &state.Controller{ID: "other", Beat: 7, Holder: state.Holder{Host: "build-3", PID: 12}}
	}
	r, clock := &record{faults: died(), controller: other()}, &fakeClock{}
	clock.slept = func() {
		if clock.elapsed <= 20*time.Second {
			r.controller.Beat++
		}
	}
	got := watch(t, r, clock, time.Minute, Options{})
	if len(got) != 4 || !strings.HasPrefix(got[0], "0s standby process 12 on build-3") ||
		got[1] != "50s started watching in place of process 12 on build-3, which no longer does" || got[2] != "50s repaired deployments/api deployments/api: process died: killed" {
		t.Errorf("a silent one: %q", got)
	}
	r = &record{faults: died(), controller: other()}
	r.controller.Gone = true
	if got := watch(t, r, &fakeClock{}, 5*time.Second, Options{}); len(got) != 3 {
		t.Errorf("a dead one: %q", got)
	}
	r = &record{faults: died(), controller: other()}
	if got := watch(t, r, &fakeClock{}, time.Hour, Options{Once: true}); len(got) != 1 || len(r.calls) > 0 {
		t.Errorf("once, beside another one: %q", got)
	}
}

// A controller that was stopped for long finds that another one has taken over.
func TestControllerThatWasOvertaken(t *testing.T) {
	r, clock := &record{}, &fakeClock{}
	clock.slept = func() {
		if clock.elapsed == 20*time.Second {
			r.controller = &state.Controller{ID: "other", Beat: 1}
			r.faults = died()
		}
	}
	got := watch(t, r, clock, 30*time.Second, Options{})
	if len(r.calls) > 0 || len(got) != 3 || !strings.Contains(got[1], "standby") || r.controller == nil {
		t.Errorf("got %q, and it did %v", got, r.calls)
	}
}

func TestClockThatJumps(t *testing.T) {
	r, clock := &record{faults: died()}, &fakeClock{}
	clock.slept = func() {
		switch clock.elapsed {
		case 10 * time.Second:
			clock.wall = clock.wall.Add(-3 * time.Hour)
			r.faults = died()
		case 20 * time.Second:
			clock.wall = clock.wall.Add(8 * time.Hour)
		}
	}
	equal(t, watch(t, r, clock, 30*time.Second, Options{}),
		"0s started watching",
		"0s repaired deployments/api deployments/api: process died: killed",
		"10s clock the clock was set back by 3h0m0s",
		"10s repaired deployments/api deployments/api: process died: killed, after 1 attempt",
		"20s clock the machine slept, or its clock was set forward, by 8h0m0s",
		"30s stopped the test is over")
}

func TestWhatIsDueNextIsRecorded(t *testing.T) {
	r, clock := &record{faults: died()}, &fakeClock{}
	r.mended = []mended{{api, 0}, {api, 0}}
	var next state.Controller
	clock.slept = func() { next = *r.controller }
	watch(t, r, clock, 5*time.Second, Options{})
	if next.Next != "repair deployments/api" || !next.NextAt.Equal(time.Date(2026, 3, 1, 12, 0, 20, 0, time.UTC)) {
		t.Errorf("next is %q at %s", next.Next, next.NextAt)
	}
	if r.controller != nil {
		t.Error("it left its note behind")
	}
}

func TestSystemClock(t *testing.T) {
	c := SystemClock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Sleep(ctx, time.Hour)
	c.Sleep(t.Context(), time.Millisecond)
	if e := c.Elapsed(); e < time.Millisecond || e > time.Minute {
		t.Errorf("elapsed %s", e)
	}
}

// A controller that looks rarely is not taken for dead.
func TestControllerLivesBetweenTwoLooks(t *testing.T) {
	r, clock := &record{}, &fakeClock{}
	var beat int64
	var shown time.Duration
	clock.slept = func() {
		if r.controller.Beat > beat {
			beat, shown = r.controller.Beat, clock.elapsed
		} else if silent := clock.elapsed - shown; silent >= BeatsLast {
			t.Fatalf("it shows nothing for %s", silent)
		}
	}
	watch(t, r, clock, 10*time.Minute, Options{Every: 2 * time.Minute})
}

// What a person does between a decision and the lock counts.
func TestLoopDecidesAgainWithTheLock(t *testing.T) {
	r, pinned := &record{sight: Sight{Loops: []Loop{{Unit: "loops/late"}}}}, false
	r.decide = func(time.Time) planner.LoopDecision {
		switch {
		case len(r.acts) == 0:
			return planner.LoopDecision{Act: state.LoopRetrain, Reason: "drift"}
		case pinned && r.acts[0].Act == state.LoopRetrain:
			return planner.LoopDecision{Act: state.LoopGivenUp, Of: 1, Reason: "pinned"}
		}
		return planner.LoopDecision{Reason: "nothing to do"}
	}
	r.carry = func(int64, planner.LoopDecision) (Acted, error) {
		pinned = true
		return Acted{}, state.ErrOvertaken
	}
	equal(t, watch(t, r, &fakeClock{}, 5*time.Second, Options{}),
		"0s started watching",
		"0s decided loops/late retrain: drift",
		"0s decided loops/late given up: pinned",
		"0s waits loops/late nothing to do",
		"5s stopped the test is over")
}

// Tables that loops wait for are read at once, and then as often as the loop says, before it decides.
func TestTablesThatLoopsWaitForAreReadAgain(t *testing.T) {
	r := &record{}
	r.sight.Loops = []Loop{{Unit: "loops/late", Tables: []Table{{Unit: "sources/flights", Every: 20 * time.Second}}}}
	equal(t, watch(t, r, &fakeClock{}, 45*time.Second, Options{}),
		"0s started watching",
		"0s read sources/flights for loops/late",
		"20s read sources/flights for loops/late",
		"40s read sources/flights for loops/late",
		"45s stopped the test is over")
}

// A table is read for each loop that waits for it: one of them may be paused.
func TestTableThatTwoLoopsWaitFor(t *testing.T) {
	r := &record{}
	tables := []Table{{Unit: "sources/flights", Every: 20 * time.Second}}
	r.sight.Loops = []Loop{{Unit: "loops/early", Tables: tables}, {Unit: "loops/late", Tables: tables}}
	equal(t, watch(t, r, &fakeClock{}, 5*time.Second, Options{}),
		"0s started watching",
		"0s read sources/flights for loops/early",
		"0s read sources/flights for loops/late",
		"5s stopped the test is over")
}

// Metrics count events of all types.
func TestEventTypesAreComplete(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []EventType
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "EventType" {
				text, _ := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				declared = append(declared, EventType(text))
			}
		}
		return true
	})
	if !slices.Equal(declared, EventTypes) {
		t.Errorf("declared are %v, and listed are %v", declared, EventTypes)
	}
}
