package project

import (
	"testing"
	"time"

	"github.com/tenon-ml/tenon/planner/state"
)

// A version answers since it was deployed or got its share, whenever its process was started again.
func TestSinceWhenAVersionAnswers(t *testing.T) {
	at := func(minutes int) time.Time {
		return time.Date(2026, 3, 1, 12, minutes, 0, 0, time.UTC)
	}
	revisions := []state.Revision{ // the newest first
		{Number: 5, Act: state.Repair, Outcome: state.Done, Finished: at(50)},
		{Number: 4, Act: state.Release, Outcome: state.Done, Finished: at(40)},
		{Number: 3, Act: state.Release, Outcome: state.Failure, Finished: at(45)},
		{Number: 2, Act: state.Apply, Outcome: state.Done, Finished: at(20)},
		{Number: 1, Act: state.Apply, Outcome: state.Done, Finished: at(10)},
	}
	route := &state.Route{Since: at(30), Versions: []state.RouteVersion{{Name: "v1", Revision: 1, Weight: 90}, {Name: "v2", Revision: 2, Weight: 10}}}
	shadow := route.Clone()
	shadow.Challenger().Weight, shadow.Champion().Weight = 0, 100
	for name, c := range map[string]struct {
		current   state.Current
		revisions []state.Revision
		version   string
		since     time.Time
	}{
		"deployed":                             {state.Current{Revision: 1, Since: at(9)}, revisions[4:], "", at(9)},
		"repaired":                             {state.Current{Revision: 2, Since: at(50)}, revisions[3:], "", at(20)},
		"released and repaired":                {state.Current{Revision: 2, Since: at(50)}, revisions, "", at(40)},
		"deployed by a revision that was lost": {state.Current{Revision: 1, Since: at(9)}, nil, "", at(9)},
		"in a step of a release":               {state.Current{Revision: 2, Since: at(19), Route: route}, revisions[3:], "v2", at(30)},
		"beside a shadow":                      {state.Current{Revision: 2, Since: at(19), Route: shadow}, revisions[3:], "", at(10)},
	} {
		t.Run(name, func(t *testing.T) {
			if version, since := answers(c.current, c.revisions); version != c.version || !since.Equal(c.since) {
				t.Errorf("%q since %s, want %q since %s", version, since, c.version, c.since)
			}
		})
	}
}
