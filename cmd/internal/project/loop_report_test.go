package project

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// Shares follow from the plans of revisions: a training begins with the first step of its release, and the
// champion that comes back is the version that it was.
func TestSharesOfVersions(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 3, 1, 12, minute, 0, 0, time.UTC) }
	u := &ir.Unit{ID: "deployments/api", Release: &ir.Release{Steps: []int{10, 100}}}
	made := func(revision int, act state.Act, key string) (state.Revision, planner.Item, []state.Run) {
		return state.Revision{Number: revision, Act: act, Outcome: state.Done}, planner.Item{Unit: u.ID, Action: planner.Replace},
			[]state.Run{{Unit: u.ID, Key: key, Attempt: 1, Outcome: state.Done, Finished: at(revision)}}
	}
	routed := func(revision int, champion, challenger int) (state.Revision, planner.Item, []state.Run) {
		return state.Revision{Number: revision, Act: state.Release, Outcome: state.Done},
			planner.Item{Unit: u.ID, Action: planner.Release, Route: &state.Route{Since: at(revision), Versions: []state.RouteVersion{
				{Name: "late v1", Key: "a", Revision: 1, Weight: champion}, {Name: "late v2", Key: "b", Revision: 2, Weight: challenger},
			}}}, nil
	}
	s, names := &LoopService{Unit: u.ID}, map[string]string{}
	follow := func(r state.Revision, it planner.Item, runs []state.Run) { s.follow(r, it, u, runs, names) }
	follow(made(1, state.Apply, "a"))
	follow(made(2, state.Apply, "b"))
	follow(routed(3, 0, 100))
	follow(routed(4, 100, 0))
	follow(made(5, state.Rollback, "b")) // a rollback never releases in steps
	r, it, runs := made(6, state.Apply, "c")
	r.Outcome = state.Failure
	follow(r, it, runs)
	follow(made(7, state.Apply, "b")) // the same version, such as one on another port
	follow(state.Revision{Number: 8, Act: state.Destroy, Outcome: state.Done, Finished: at(8)}, planner.Item{Unit: u.ID, Action: planner.Delete}, nil)
	s.name(names)
	var got []string
	for _, share := range s.Shares {
		line := fmt.Sprintf("%s @%d:", share.From.Format("04"), share.Revision)
		for _, v := range share.Versions {
			line += fmt.Sprintf(" %s %d%%", v.Name, v.Weight)
		}
		got = append(got, line)
	}
	want := `01 @1: late v1 100%
02 @2: late v1 90% late v2 10%
03 @3: late v1 0% late v2 100%
04 @4: late v1 100% late v2 0%
05 @5: late v2 100%
07 @7: late v2 100%
08 @8:`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("the shares are\n%s\nnot\n%s", text, want)
	}
	s.since(at(4).Add(time.Second))
	if s.Shares[0].Revision != 4 || len(s.Shares) != 4 {
		t.Errorf("since then there are %d shares, the first of revision %d", len(s.Shares), s.Shares[0].Revision)
	}
}
