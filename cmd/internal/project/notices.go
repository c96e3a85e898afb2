package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/control"
	"github.com/tenon-ml/tenon/cmd/internal/notify"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// Notices returns what a controller sends. Closing it closes the workspace.
func (w *Workspace) Notices() control.Mailer {
	return &mailer{controlled: w.Controlled(ApplyOptions{}).(*controlled), client: notify.NewClient(), firing: map[string]map[string]notify.Alert{}, sent: map[string]time.Time{}}
}

// A mailer sends what the record has. What is sent, and what is still to be sent, is in the record; firing
// are the alerts that each Alertmanager has.
type mailer struct {
	*controlled
	client *notify.Client
	firing map[string]map[string]notify.Alert // by receiver and labels
	sent   map[string]time.Time               // when a receiver got all of them
}

const (
	// noticesLast is how long a notice that nobody takes is tried again.
	noticesLast = 24 * time.Hour
	// alertsLast is how long an Alertmanager keeps an alert that is not sent again.
	alertsLast = 5 * time.Minute
)

// A posted notice is what the record of notices has of one. Notice is nil for a mark alone.
type posted struct {
	To     string             `json:"to"` // the receiver
	Notice *planner.Notice    `json:"notice,omitempty"`
	Mark   planner.NoticeMark `json:"mark"`
}

// A declarer is a deployed loop or monitor with receivers.
type declarer struct {
	unit      *ir.Unit
	since     time.Time // when it was applied
	receivers []ir.Receiver
}

// declarers returns the loops and monitors with receivers, sorted, and everything that is deployed.
func (n *mailer) declarers(ctx context.Context) (all []declarer, current map[string]state.Current, err error) {
	if current, err = n.store.Current(ctx); err != nil {
		return nil, nil, err
	}
	for _, cur := range current {
		if cur.Kind != ir.Record {
			continue
		}
		u, err := n.appliedAt(ctx, cur)
		if err != nil {
			return nil, nil, err
		}
		if to := u.Receivers(); len(to) > 0 {
			all = append(all, declarer{unit: u, since: cur.Since, receivers: to})
		}
	}
	slices.SortFunc(all, func(a, b declarer) int { return strings.Compare(a.unit.ID, b.unit.ID) })
	return all, current, nil
}

// Pending implements [control.Mailer].
func (n *mailer) Pending(ctx context.Context, now time.Time) (all []control.Letter, err error) {
	declarers, current, err := n.declarers(ctx)
	if err != nil {
		return nil, err
	}
	system, err := n.systemName(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range declarers {
		if !slices.ContainsFunc(d.receivers, func(r ir.Receiver) bool { return r.Webhook != nil }) {
			continue
		}
		found, err := n.pendingOf(ctx, system, d, current, now)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// systemName returns the name of the system that was applied last.
func (w *Workspace) systemName(ctx context.Context) (string, error) {
	last, err := w.store.Revisions(ctx, 1)
	if err != nil || len(last) == 0 {
		return "", err
	}
	return last[0].System, nil
}

// pendingOf records the new notices of a loop or a monitor for its webhooks, and returns those that were not
// sent.
func (n *mailer) pendingOf(ctx context.Context, system string, d declarer, current map[string]state.Current, now time.Time) (all []control.Letter, err error) {
	log := state.NoticesOf(d.unit.ID)
	acts, err := n.store.LoopActs(ctx, log, time.Time{}, 0)
	if err != nil {
		return nil, err
	}
	marks := map[string]planner.NoticeMark{}
	ended := map[int64]bool{}
	for _, a := range acts { // newest first
		if a.Of > 0 {
			ended[a.Of] = true
			continue
		}
		var p posted
		if json.Unmarshal(a.Detail, &p) != nil {
			continue
		}
		if _, ok := marks[p.To]; !ok {
			marks[p.To] = p.Mark
		}
		if p.Notice != nil && !ended[a.Number] {
			all = append(all, n.letter(system, d, a, p))
		}
	}
	slices.Reverse(all)
	for _, r := range d.receivers {
		if r.Webhook == nil {
			continue
		}
		to := r.String()
		mark, known := marks[to]
		record, err := n.noticeRecord(ctx, system, d, current, mark, known)
		if err != nil {
			return nil, err
		}
		if !known {
			mark = planner.FirstMark(*record, d.since)
		}
		found, after := planner.Notices(*record, mark)
		for _, m := range found {
			p := posted{to, &m.Notice, m.Mark}
			a, err := n.post(ctx, log, now, p)
			if err != nil {
				return nil, err
			}
			all = append(all, n.letter(system, d, a, p))
		}
		// So that a later controller need not look at everything again.
		if !known && len(found) == 0 || farther(after, mark) {
			if _, err := n.post(ctx, log, now, posted{To: to, Mark: after}); err != nil {
				return nil, err
			}
		}
	}
	// Those of a receiver that is not declared any more have nobody to go to.
	return slices.DeleteFunc(all, func(l control.Letter) bool {
		return !slices.ContainsFunc(d.receivers, func(r ir.Receiver) bool { return r.String() == l.To })
	}), nil
}

// farther reports whether a mark is so much ahead of another one that it is worth an entry.
func farther(after, than planner.NoticeMark) bool {
	for monitor, m := range after.Measured {
		if m.At.Sub(than.Measured[monitor].At) > noticesLast {
			return true
		}
	}
	return false
}

func (n *mailer) letter(system string, d declarer, a state.LoopAct, p posted) control.Letter {
	l := control.Letter{Log: a.Loop, Number: a.Number, Recorded: a.At, To: p.To, Declared: d.unit.ID, System: system, Env: n.Env(), Notice: *p.Notice}
	if i := slices.IndexFunc(d.receivers, func(r ir.Receiver) bool { return r.String() == p.To }); i >= 0 {
		l.Receiver = d.receivers[i]
	}
	return l
}

func (n *mailer) post(ctx context.Context, log string, now time.Time, p posted) (a state.LoopAct, err error) {
	detail, err := json.Marshal(p)
	if err != nil {
		return a, err
	}
	a = state.LoopAct{Loop: log, At: now, Act: state.LoopNotice, Detail: detail}
	if p.Notice != nil {
		a.Reason, a.Cause, a.Revision = p.Notice.Text, string(p.Notice.Type), p.Notice.Revision
	}
	a.Number, err = n.store.AddLoopAct(ctx, a)
	return a, err
}

// noticeRecord reads what notices are made from, as far as it is after a mark.
func (n *mailer) noticeRecord(ctx context.Context, system string, d declarer, current map[string]state.Current, mark planner.NoticeMark, known bool) (*planner.NoticeRecord, error) {
	r := &planner.NoticeRecord{System: system, Env: n.Env(), Measurements: map[string][]state.Measurement{}, Rejected: map[string]planner.RejectedVersion{}, Failed: map[int]planner.FailedUnit{}}
	monitors := []string{d.unit.ID}
	var err error
	if l := d.unit.Loop; l != nil {
		r.Loop, monitors = d.unit.ID, l.Monitors()
		if r.Acts, err = n.store.LoopActs(ctx, r.Loop, time.Time{}, 0); err != nil {
			return nil, err
		}
		for unit, cur := range current {
			entity, _ := ir.SplitID(unit)
			if cur.Kind != ir.Service || !slices.Contains(l.Deployments, entity) || cur.Route == nil || cur.Route.Rejected == nil {
				continue
			}
			x := planner.RejectedVersion{Rejected: *cur.Route.Rejected, At: d.since}
			if x.Revision > mark.Rejected[unit] {
				switch made, err := n.store.Revision(ctx, x.Revision); {
				case errors.Is(err, state.ErrNotFound): // it was collected, so it is older than the receiver
					x.At = d.since.Add(-1)
				case err != nil:
					return nil, err
				default:
					x.At = made.Started
				}
			}
			r.Rejected[unit] = x
		}
	}
	for _, monitor := range monitors {
		since := d.since
		if at, ok := mark.Measured[monitor]; ok && known {
			since = at.At
		}
		if r.Measurements[monitor], err = n.store.Measurements(ctx, monitor, since, 0); err != nil {
			return nil, err
		}
	}
	for _, a := range r.Acts {
		if a.Act != state.LoopFailed || a.Revision == 0 || a.Number <= mark.Acts || a.At.Before(d.since) {
			continue
		}
		if r.Failed[a.Revision], err = n.failedUnit(ctx, a.Revision); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// verdictPort is the output of what decides whether a model passes its gates.
const verdictPort = "verdict"

// failedUnit finds what failed in a revision.
func (n *mailer) failedUnit(ctx context.Context, revision int) (f planner.FailedUnit, err error) {
	runs, err := n.store.RunsOf(ctx, revision)
	if err != nil {
		return f, err
	}
	i := slices.IndexFunc(runs, func(r state.Run) bool { return r.Outcome == state.Failure })
	if i < 0 {
		return f, nil
	}
	f.Unit = runs[i].Unit
	r, err := n.revision(ctx, revision)
	if err != nil {
		return f, err
	}
	p, err := n.recordedPlan(ctx, r)
	if err != nil {
		return f, nil // it was removed by hand, so what gates said is not known
	}
	u := p.System.Unit(f.Unit)
	if u != nil && slices.ContainsFunc(u.Outputs, func(o ir.Output) bool { return o.Port == verdictPort }) {
		f.Verdict = runs[i].Error
	}
	return f, nil
}

// Deliver implements [control.Mailer].
func (n *mailer) Deliver(ctx context.Context, l control.Letter) error {
	w := l.Receiver.Webhook
	if w == nil {
		return errors.New("it is not a webhook any more")
	}
	raw, err := n.secret(*w)
	if err != nil {
		return err
	}
	to, err := notify.CheckWebhook(raw, l.Receiver.PlainHTTP)
	if err != nil {
		return err
	}
	return n.client.Webhook(ctx, to, notify.EventOf(l.System, l.Env, l.Declared, l.Notice))
}

// Settle implements [control.Mailer].
func (n *mailer) Settle(ctx context.Context, l control.Letter, failed error, now time.Time) (settled bool, err error) {
	a := state.LoopAct{Loop: l.Log, At: now, Act: state.LoopNotified, Of: l.Number}
	if failed != nil {
		if refused := (*notify.RefusedError)(nil); !errors.As(failed, &refused) && now.Sub(l.Recorded) < noticesLast {
			return false, nil
		}
		a.Act, a.Reason = state.LoopFailed, fmt.Sprintf("not delivered to %s: %v", l.To, failed)
	}
	if _, err = n.store.AddLoopAct(ctx, a); errors.Is(err, state.ErrOvertaken) { // another controller was faster
		err = nil
	}
	return true, err
}
