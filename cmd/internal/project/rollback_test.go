package project

import (
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/planner/state"
)

// Without a revision, tenon rollback goes back from the current one.
func TestPreviousRevision(t *testing.T) {
	whole := func(deployed string) state.Revision {
		return state.Revision{Act: state.Apply, Outcome: state.Done, Deployed: deployed}
	}
	back := func(to int, deployed string) state.Revision {
		return state.Revision{Act: state.Rollback, BackTo: to, Outcome: state.Done, Deployed: deployed}
	}
	step := func(deployed string) state.Revision {
		return state.Revision{Act: state.Release, Outcome: state.Done, Deployed: deployed}
	}
	abort := func(to int) state.Revision {
		return state.Revision{Act: state.Release, BackTo: to, Outcome: state.Done}
	}
	failed := state.Revision{Act: state.Apply, Outcome: state.Failure}
	failedBack := state.Revision{Act: state.Rollback, BackTo: 1, Outcome: state.Failure}
	refreshed := state.Revision{Act: state.Refresh, Outcome: state.Done, Deployed: "with newer labels"}
	destroyed := state.Revision{Act: state.Destroy, Outcome: state.Done, Deployed: "nothing"}
	for name, tt := range map[string]struct {
		revisions []state.Revision // oldest first
		now       string
		want      int // 0 for none
	}{
		"the one before":                                 {[]state.Revision{whole("a"), whole("b")}, "b", 1},
		"the first has none before":                      {[]state.Revision{whole("a")}, "a", 0},
		"the same deployment is not a way back":          {[]state.Revision{whole("a"), whole("b"), whole("b")}, "b", 1},
		"a failed one is passed over":                    {[]state.Revision{whole("a"), failed, whole("c")}, "c", 1},
		"after a failed one, the deployment before it":   {[]state.Revision{whole("a"), whole("b"), failed}, "some of c", 2},
		"also if that is still deployed":                 {[]state.Revision{whole("a"), whole("b"), failed}, "b", 2},
		"twice goes back twice":                          {[]state.Revision{whole("a"), whole("b"), whole("c"), back(2, "b")}, "b", 1},
		"never forward to what was left":                 {[]state.Revision{whole("a"), whole("b"), back(1, "a")}, "a", 0},
		"a rollback, then a failed apply":                {[]state.Revision{whole("a"), whole("b"), back(1, "a"), failed}, "some of c", 3},
		"a rollback that failed is done again":           {[]state.Revision{whole("a"), whole("b"), failedBack}, "some of a", 1},
		"during a release, the champion":                 {[]state.Revision{whole("a"), whole("b"), step("b")}, "b", 1},
		"after a release, the champion before":           {[]state.Revision{whole("a"), whole("b"), step("b"), step("b")}, "b", 1},
		"after an abort, all of the champion's":          {[]state.Revision{whole("a"), whole("b"), step("b"), abort(1)}, "a and some of b", 1},
		"during a release, no version that was rejected": {[]state.Revision{whole("a"), whole("b"), step("b"), abort(1), whole("c"), step("c")}, "c", 1},
		"after two aborts":                               {[]state.Revision{whole("a"), whole("b"), abort(1), whole("c"), step("c"), abort(3)}, "a and some of c", 1},
		"new labels are no deployment":                   {[]state.Revision{whole("a"), whole("b"), refreshed, refreshed}, "with newer labels", 1},
		"also before the current one":                    {[]state.Revision{whole("a"), refreshed, whole("b")}, "b", 1},
		"new labels of the first":                        {[]state.Revision{whole("a"), refreshed}, "with newer labels", 0},
		"after a destroy":                                {[]state.Revision{whole("a"), whole("b"), destroyed}, "nothing", 2},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range tt.revisions {
				tt.revisions[i].Number = i + 1
			}
			slices.Reverse(tt.revisions)
			got := 0
			if r := earlier(tt.revisions, tt.now); r != nil {
				got = r.Number
			}
			if got != tt.want {
				t.Errorf("back to @%d, want @%d", got, tt.want)
			}
		})
	}
}
