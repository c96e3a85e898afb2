package planner_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

func noticed(all []planner.MarkedNotice) (lines []string) {
	for _, n := range all {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s", n.Type, n.Unit, n.Text)))
	}
	return lines
}

func why(w string) func(*state.LoopAct) { return costing(planner.LoopDetail{Why: w}) }

// Each thing that happened is one notice, without what a program printed.
func TestNotices(t *testing.T) {
	const private = "could not convert 'Jane Doe' to a number"
	for _, tt := range []struct {
		name string
		r    planner.NoticeRecord
		want []string
	}{
		{"a training", planner.NoticeRecord{Acts: inOrder(
			loopAct(1, state.LoopRetrain, because(inputs, "temp: ks 0.31 > 0.1")), loopAct(2, state.LoopRetrained, of(1), because("", "revision 3"), inRevision(3)))},
			[]string{"training.begun loops/late temp: ks 0.31 > 0.1", "training.ended loops/late revision 3"}},
		{"one that failed", planner.NoticeRecord{
			Acts:   inOrder(loopAct(1, state.LoopRetrain), loopAct(2, state.LoopFailed, of(1), because("", private), inRevision(3))),
			Failed: map[int]planner.FailedUnit{3: {Unit: "models/late/train"}}},
			[]string{"training.begun loops/late", "training.failed loops/late models/late/train failed in revision 3"}},
		{"one that was refused", planner.NoticeRecord{
			Acts: inOrder(loopAct(1, state.LoopRetrain), loopAct(2, state.LoopFailed, of(1), because("", private)))},
			[]string{"training.begun loops/late", "training.failed loops/late it was refused before it began"}},
		{"one that was gated away", planner.NoticeRecord{
			Acts:   inOrder(loopAct(1, state.LoopRetrain), loopAct(2, state.LoopFailed, of(1), because("", private), inRevision(3))),
			Failed: map[int]planner.FailedUnit{3: {Unit: "models/late/gate", Verdict: "roc_auc 0.61 < 0.65"}}},
			[]string{"training.begun loops/late", "training.gated loops/late the model did not pass its gates: roc_auc 0.61 < 0.65"}},
		{"a rollback", planner.NoticeRecord{Acts: inOrder(loopAct(1, state.LoopRollback, because(truth, "back from revision 3 to 2")), loopAct(2, state.LoopRolledBack, of(1), inRevision(4)))},
			[]string{"rollback.ended loops/late back from revision 3 to 2"}},
		{"a rollback that failed", planner.NoticeRecord{Acts: inOrder(loopAct(1, state.LoopRollback), loopAct(2, state.LoopFailed, of(1), because("", private), inRevision(4)))},
			[]string{"rollback.failed loops/late revision 4 failed"}},
		{"a release that a loop ended is one notice", planner.NoticeRecord{
			Acts:     inOrder(loopAct(1, state.LoopRollback, costing(planner.LoopDetail{Abort: "deployments/api"})), loopAct(2, state.LoopRolledBack, of(1), inRevision(4))),
			Rejected: map[string]planner.RejectedVersion{"deployments/api": {Rejected: state.Rejected{Name: "late v3", Reason: "accuracy 0.4 < 0.6", Revision: 4}, At: hours(2)}}},
			[]string{"release.rejected deployments/api late v3 was rejected: accuracy 0.4 < 0.6"}},
		{"a challenger that could not answer", planner.NoticeRecord{
			Rejected: map[string]planner.RejectedVersion{"deployments/api": {Rejected: state.Rejected{Name: "late v3", Reason: "it cannot answer: " + private, Revision: 4}, At: hours(2)}}},
			[]string{"release.rejected deployments/api late v3 was rejected: it cannot answer"}},
		{"holds", planner.NoticeRecord{Acts: inOrder(
			loopAct(1, state.LoopHold, why("pin"), because("", "models/late is pinned")), loopAct(2, state.LoopHold, why("cool_down")), loopAct(3, state.LoopHold, why("back-off 2"), because("", "it failed 2 times in a row")),
			loopAct(4, state.LoopAlert, why("failures"), because("retrain", private)), loopAct(5, state.LoopAlert, why("cost"), because("cost", "a training costs about 5 USD")), loopAct(6, state.LoopAlert, why("human"), because("", "Ann rolled back")))},
			[]string{"loop.held loops/late models/late is pinned", "loop.back_off loops/late it failed 2 times in a row", "loop.alert loops/late a training failed several times in a row",
				"loop.alert loops/late a training costs about 5 USD", "loop.held loops/late Ann rolled back"}},
		{"what people do is not news", planner.NoticeRecord{Acts: inOrder(loopAct(1, state.LoopTrigger), loopAct(2, state.LoopPause), loopAct(3, state.LoopResume), loopAct(4, state.LoopSkipped))}, nil},
		{"an alert begins and ends once", planner.NoticeRecord{Measurements: map[string][]state.Measurement{inputs: { // newest first
			{Monitor: inputs, Number: 6, At: hours(6), Verdict: "ok"}, {Monitor: inputs, Number: 5, At: hours(5), Verdict: "warn"}, {Monitor: inputs, Number: 4, At: hours(4), Verdict: "unknown"},
			{Monitor: inputs, Number: 3, At: hours(3), Verdict: "alert"}, {Monitor: inputs, Number: 2, At: hours(2), Verdict: "alert", Reason: "temp: ks 0.31 > 0.1"}, {Monitor: inputs, Number: 1, At: hours(1), Verdict: "ok"}}}},
			[]string{"monitor.alert monitors/inputs temp: ks 0.31 > 0.1", "monitor.resolved monitors/inputs the verdict is warn again"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.Loop = "loops/late"
			all, after := planner.Notices(tt.r, planner.NoticeMark{})
			if diff := cmp.Diff(tt.want, noticed(all)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if again, _ := planner.Notices(tt.r, after); len(again) > 0 {
				t.Errorf("after the last mark there is more: %v", noticed(again))
			}
			// From each mark on, the rest follows, with the same ids.
			for i, n := range all {
				rest, _ := planner.Notices(tt.r, n.Mark)
				if diff := cmp.Diff(noticed(all[i+1:]), noticed(rest)); diff != "" {
					t.Errorf("after %d (-want +got)\n%s", i, diff)
				}
				if len(rest) > 0 && rest[0].ID != all[i+1].ID {
					t.Errorf("the id of %s has changed", rest[0].Type)
				}
			}
		})
	}
}

// A receiver that was declared later gets what happened since.
func TestFirstMark(t *testing.T) {
	r := planner.NoticeRecord{
		Loop:         "loops/late",
		Acts:         inOrder(loopAct(1, state.LoopRetrain), loopAct(2, state.LoopRetrained, of(1)), loopAct(4, state.LoopRetrain, because("", "new"))),
		Measurements: map[string][]state.Measurement{inputs: {{Monitor: inputs, Number: 2, At: hours(4), Verdict: "alert", Reason: "still"}, {Monitor: inputs, Number: 1, At: hours(2), Verdict: "alert"}}},
		Rejected:     map[string]planner.RejectedVersion{"deployments/api": {Rejected: state.Rejected{Revision: 2}, At: hours(2)}},
	}
	all, _ := planner.Notices(r, planner.FirstMark(r, hours(3)))
	if diff := cmp.Diff([]string{"training.begun loops/late new", "monitor.alert monitors/inputs still"}, noticed(all)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Of a record of notices, what was sent long ago goes. A receiver that got nothing for long keeps its mark.
func TestPruneNotices(t *testing.T) {
	to := func(receiver, more string) func(*state.LoopAct) {
		return func(a *state.LoopAct) { a.Detail = fmt.Appendf(nil, `{"to":%q%s}`, receiver, more) }
	}
	const notice = `,"notice":{}`
	acts := inOrder(
		loopAct(1, state.LoopNotice, to("a", notice)), loopAct(1, state.LoopNotice, to("b", notice)), // sent
		loopAct(1, state.LoopNotified, of(1)), loopAct(1, state.LoopNotified, of(2)),
		loopAct(2, state.LoopNotice, to("c", "")),                                            // a mark alone
		loopAct(3, state.LoopNotice, to("a", notice)), loopAct(3, state.LoopNotified, of(6)), // the last of a
		loopAct(4, state.LoopNotice, to("d", notice)), loopAct(4, state.LoopNotice, to("d", "")), // not sent
		loopAct(9, state.LoopNotice, to("e", notice)), loopAct(9, state.LoopNotified, of(10)),
		loopAct(9, state.LoopNotice, to("e", "")))
	if gone := planner.PruneNotices(acts, hours(10), 2*time.Hour); !slices.Equal(gone, []int64{3, 1}) {
		t.Errorf("gone are %v", gone)
	}
	if gone := planner.PruneNotices(acts, hours(100), 2*time.Hour); !slices.Equal(gone, []int64{11, 10, 3, 1}) {
		t.Errorf("later, gone are %v", gone)
	}
	if !state.IsNotices(state.NoticesOf("loops/late")) || state.IsNotices("loops/late") {
		t.Error("the record of a loop is not one of notices")
	}
}

func TestStanding(t *testing.T) {
	now := hours(10)
	s := planner.LoopState{Since: loopStart, Acts: inOrder(
		loopAct(1, state.LoopRetrain), loopAct(1.5, state.LoopRetrained, of(1), inRevision(2)),
		loopAct(8, state.LoopRetrain), loopAct(8.5, state.LoopFailed, of(3), because("", "no space")))}
	l := lateLoop()
	got := planner.StandingOf(l, s, now)
	if got.Failed[state.LoopRetrain] != 1 || !got.FailedAt.Equal(hours(8.5)) || !got.Trained.Equal(hours(1)) || got.Held != "" {
		t.Errorf("%+v", got)
	}
	s.Acts = inOrder(loopAct(1, state.LoopTrigger, by("Ann")), loopAct(2, state.LoopHold, why("pin")))
	s.Pins = map[string]state.Pin{l.Model: {Unit: l.Model, By: "Bob", At: hours(1)}}
	if got = planner.StandingOf(l, s, now); !strings.Contains(got.Held, "pinned by Bob") || !got.HeldAt.Equal(hours(2)) || got.Doing != "hold" {
		t.Errorf("%+v", got)
	}
	s.Pins, s.Acts = nil, inOrder(loopAct(9.9, state.LoopRetrain))
	if got = planner.StandingOf(l, s, now.Add(time.Minute)); got.Doing != "retrain" {
		t.Errorf("%+v", got)
	}
}
