package executors

import (
	"testing"
	"time"

	"github.com/tenon-ml/tenon/planner/state"
)

func TestOldestRevisionKept(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	const done, failed, killed, started = state.Done, state.Failure, state.Killed, state.Started
	for _, c := range []struct {
		name     string
		keep     Retention
		outcomes []state.Outcome // oldest first, a day apart, the last of today
		pending  []int           // revisions
		want     int
	}{
		{"nothing was applied", Retention{Revisions: 2}, nil, nil, 0},
		{"fewer than are kept", Retention{Revisions: 3}, []state.Outcome{done, done}, nil, 1},
		{"the newest", Retention{Revisions: 2}, []state.Outcome{done, done, done, done}, nil, 3},
		{"never less than the newest", Retention{}, []state.Outcome{done, done}, nil, 2},
		{"failed ones count", Retention{Revisions: 2}, []state.Outcome{done, done, failed, failed}, nil, 3},
		{"young ones stay", Retention{Revisions: 1, Age: 2 * day}, []state.Outcome{done, done, done, done}, nil, 3},
		{"those in the journal stay", Retention{Revisions: 1}, []state.Outcome{done, done, done, done}, []int{2}, 2},
		{"back to one that has swept", Retention{Revisions: 1}, []state.Outcome{done, done, killed, started}, nil, 2},
		{"one that was killed and swept after", Retention{Revisions: 2}, []state.Outcome{done, killed, done, done}, nil, 3},
		{"all were killed", Retention{Revisions: 1}, []state.Outcome{killed, killed, started}, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all []state.Revision
			for i, o := range c.outcomes {
				r := state.Revision{Number: i + 1, Outcome: o, Started: now.Add(-day * time.Duration(len(c.outcomes)-1-i))}
				all = append([]state.Revision{r}, all...)
			}
			var pending []state.Pending
			for _, n := range c.pending {
				pending = append(pending, state.Pending{Run: state.Run{Revision: n}})
			}
			if got := c.keep.oldest(all, pending, now); got != c.want {
				t.Errorf("from @%d on, want @%d", got, c.want)
			}
		})
	}
}
