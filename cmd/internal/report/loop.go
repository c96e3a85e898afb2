package report

import (
	"cmp"
	"fmt"
	"html"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// LoopPage draws the report on a loop: what was measured, what the loop did, and which versions
// answered, over the same time.
func LoopPage(r *project.LoopReport) ([]byte, error) {
	d := &loopDrawing{LoopReport: r, axis: timeAxis{from: r.From, to: r.To}, ends: map[int64]*state.LoopAct{}, versions: map[string]int{}}
	for i, a := range r.Acts {
		if a.Of > 0 {
			d.ends[a.Of] = &r.Acts[i]
		}
		switch {
		case a.Act == state.LoopRetrained && a.Revision > 0:
			d.axis.events = append(d.axis.events, event{a.At, "ok"})
		case a.Act == state.LoopRolledBack:
			d.axis.events = append(d.axis.events, event{a.At, "alert"})
		}
	}
	for _, s := range r.Services {
		for _, share := range s.Shares {
			for _, v := range share.Versions {
				d.color(v) // in the order in which they were deployed
			}
		}
	}
	p := &page{Title: r.Unit, Heads: []head{{Facts: d.facts()}}, About: "Over time"}
	for _, text := range r.Notes {
		p.Notes = append(p.Notes, note{Text: text})
	}
	p.Timeline = append(p.Timeline, d.acts())
	if len(r.Monitors) > 0 {
		p.Timeline = append(p.Timeline, d.verdicts())
	}
	for i := range r.Services {
		s := &r.Services[i]
		p.Timeline = append(p.Timeline, d.shares(s), d.requests(s))
	}
	for i := range r.Monitors {
		figures, err := d.figures(&r.Monitors[i])
		if err != nil {
			return nil, err
		}
		p.Timeline = append(p.Timeline, figures...)
	}
	p.Timeline = append(p.Timeline, d.cost())
	p.Tables = append(p.Tables, d.actsTable(), d.revisionsTable())
	return p.html()
}

// A loopDrawing is a page in the making.
type loopDrawing struct {
	*project.LoopReport
	axis     timeAxis
	ends     map[int64]*state.LoopAct // by the number of the act that they end
	versions map[string]int           // the number of the color of a version, by its key
}

// begins reports whether an act is one that another one ends.
func begins(a state.LoopAct) bool { return a.Act == state.LoopRetrain || a.Act == state.LoopRollback }

func (d *loopDrawing) count(kind state.LoopActKind) (n int) {
	for _, a := range d.Acts {
		if a.Act == kind {
			n++
		}
	}
	return n
}

// failedTrainings counts failures but those of rollbacks.
func (d *loopDrawing) failedTrainings() int {
	n := d.count(state.LoopFailed)
	for _, a := range d.Acts {
		if end := d.ends[a.Number]; a.Act == state.LoopRollback && end != nil && end.Act == state.LoopFailed {
			n--
		}
	}
	return n
}

func (d *loopDrawing) facts() *table {
	t := &table{}
	t.fact("system", d.System)
	t.fact("environment", d.Env)
	t.fact("model", d.Loop.Loop.Model)
	t.fact("serves in", strings.Join(d.Loop.Loop.Deployments, ", "))
	t.fact("from", moment(d.From))
	t.fact("to", moment(d.To))
	now := "waits"
	if d.Next.Act != "" {
		now = string(d.Next.Act)
	}
	t.fact("now", now+": "+d.Next.Reason)
	failed := d.failedTrainings()
	trained := times(d.count(state.LoopRetrained) + failed)
	if failed > 0 {
		trained += fmt.Sprintf(", of which %d failed", failed)
	}
	t.fact("trained", trained)
	t.fact("rolled back", times(d.count(state.LoopRolledBack)))
	if d.Currency != "" {
		t.fact("cost of trainings", d.spent().Format(d.Currency))
	}
	var requests, rows int64
	for _, s := range d.Services {
		for _, n := range s.Traffic {
			requests, rows = requests+n.Requests, rows+n.Rows
		}
	}
	if rows > 0 {
		t.fact("answered", fmt.Sprintf("%d requests with %d rows", requests, rows))
	}
	return t
}

// times says how often something happened.
func times(n int) string {
	switch n {
	case 0:
		return "never"
	case 1:
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func (d *loopDrawing) spent() (sum money.Amount) {
	for _, a := range d.Acts {
		if !begins(a) {
			sum = sum.Plus(planner.ActCost(a))
		}
	}
	return sum
}

// The lanes of what happened.
const (
	trainingLane = iota
	releaseLane
	rollbackLane
	heldLane
	peopleLane
)

var actLanes = []string{"training", "release", "rollback", "held, alerts", "people"}

// laneOf is where an act is drawn, unless it ends another one.
var laneOf = map[state.LoopActKind]int{
	state.LoopRetrain: trainingLane, state.LoopRollback: rollbackLane, state.LoopSkipped: heldLane, state.LoopHold: heldLane, state.LoopAlert: heldLane,
	state.LoopPause: peopleLane, state.LoopResume: peopleLane, state.LoopTrigger: peopleLane,
}

// actClass is how an act is drawn that ended like this, or that is done at once.
var actClass = map[state.LoopActKind]string{
	state.LoopRetrained: "ok", state.LoopRolledBack: "alert", state.LoopFailed: "alert", state.LoopAlert: "alert", state.LoopHold: "warn", state.LoopSkipped: "warn",
}

// acts draws what the loop and people did, and the steps of releases.
func (d *loopDrawing) acts() figure {
	c := newLanes(&d.axis, "what happened", actLanes)
	for _, a := range slices.Backward(d.Acts) {
		lane, ok := laneOf[a.Act]
		if !ok {
			continue
		}
		to, class, text := a.At, cmp.Or(actClass[a.Act], "unknown"), actText(a)
		if begins(a) {
			to = d.To
			if end := d.ends[a.Number]; end != nil {
				end := *end
				if end.Reason == a.Reason {
					end.Reason = ""
				}
				to, class, text = end.At, cmp.Or(actClass[end.Act], "unknown"), text+"; "+actText(end)
			}
		}
		c.inLane(&d.axis, class, lane, a.At, to, moment(a.At)+" "+text)
	}
	for _, s := range d.Services {
		for i, share := range s.Shares {
			if len(share.Versions) < 2 || share.Versions[1].Weight == 0 && share.Versions[1].Shadow == 0 {
				continue // none is in progress, or the challenger was just rejected
			}
			v, end := share.Versions[1], d.until(&s, i)
			c.inLane(&d.axis, "s"+strconv.Itoa(d.color(v)), releaseLane, share.From, end, fmt.Sprintf("%s: %s answers %d %%, revision %d", moment(share.From), versionName(v), v.Weight, share.Revision))
			if c.px(d.axis.x(end))-c.px(d.axis.x(share.From)) > 32 {
				c.text("inside middle", (c.px(d.axis.x(share.From))+c.px(d.axis.x(end)))/2, c.py(releaseLane+0.5)+3.5, fmt.Sprintf("%d %%", v.Weight))
			}
		}
	}
	return figure{Title: "What happened", SVG: c.svg(), Notes: []note{{Text: "green lines: a new version was trained; red lines: one was taken back"}}}
}

// until is when a share of a service ended.
func (d *loopDrawing) until(s *project.LoopService, i int) time.Time {
	if i+1 < len(s.Shares) {
		return s.Shares[i+1].From
	}
	return d.To
}

func actText(a state.LoopAct) string {
	text := string(a.Act)
	if a.By != "" {
		text += " by " + a.By
	}
	if a.Reason != "" {
		text += ": " + a.Reason
	}
	return text
}

// colors is how many versions have a color of their own.
const colors = 6

// color returns the number of the color of a version, and gives it one if it has none.
func (d *loopDrawing) color(v project.VersionShare) int {
	i, ok := d.versions[v.Key]
	if !ok {
		i = len(d.versions)
		d.versions[v.Key] = i
	}
	return i % colors
}

func versionName(v project.VersionShare) string {
	return cmp.Or(v.Name, fmt.Sprintf("the version of revision %d", v.Revision))
}

// verdicts draws a lane for each monitor: a measurement counts until the next one.
func (d *loopDrawing) verdicts() figure {
	var names []string
	for _, m := range d.Monitors {
		names = append(names, strings.TrimPrefix(m.Unit, "monitors/"))
	}
	c := newLanes(&d.axis, "verdicts", names)
	for lane, h := range d.Monitors {
		next := d.To
		for _, m := range h.Measurements { // the newest first
			until := m.At.Add(2 * h.Monitor.Every)
			if next.Before(until) {
				until = next
			}
			c.inLane(&d.axis, m.Verdict, lane, m.At, until, strings.TrimSuffix(moment(m.At)+" "+m.Verdict+": "+m.Reason, ": "))
			next = m.At
		}
	}
	return figure{Title: "Verdicts of monitors", SVG: c.svg(), Notes: []note{{Text: "green: ok; yellow: a warning; red: an alert; grey: unknown"}}}
}

// shares draws which versions answered how much of the requests, by the weights of releases.
func (d *loopDrawing) shares(s *project.LoopService) figure {
	f := figure{Title: "Versions", Of: s.Unit}
	if len(s.Shares) == 0 {
		f.Reasons = []note{{Text: "no revision deployed it"}}
		return f
	}
	c := newTimeChart(&d.axis, "share of each version", "% of requests", 0, 100)
	named := map[string]bool{}
	for i, share := range s.Shares {
		from, low := share.From, 0.0
		if from.Before(d.From) {
			from = d.From
		}
		for _, v := range share.Versions {
			if v.Weight == 0 {
				continue
			}
			high := low + float64(v.Weight)
			c.rect("area s"+strconv.Itoa(d.color(v)), d.axis.x(from), low, d.axis.x(d.until(s, i)), high, 1,
				html.EscapeString(fmt.Sprintf("%s: %s answers %d %%, revision %d", moment(share.From), versionName(v), v.Weight, share.Revision)))
			low = high
			if !named[v.Key] {
				named[v.Key] = true
				f.Notes = append(f.Notes, note{d.color(v), versionName(v), fmt.Sprintf("deployed by revision %d", v.Revision)})
			}
		}
	}
	f.SVG = c.svg()
	return f
}

// requests draws what the log of a service has.
func (d *loopDrawing) requests(s *project.LoopService) figure {
	f := figure{Title: "Requests, every " + took(s.Step), Of: s.Unit}
	if len(s.Traffic) == 0 {
		f.Title, f.Reasons = "Requests", []note{{Text: cmp.Or(s.Unknown, "the request log has none of this time")}}
		return f
	}
	known := map[string]project.VersionShare{}
	for _, share := range s.Shares {
		for _, v := range share.Versions {
			known[v.VersionOf()] = v
		}
	}
	sums := map[time.Time]int64{}
	most, slowest := int64(1), time.Duration(0)
	for _, t := range s.Traffic {
		sums[t.Begin] += t.Requests
		most, slowest = max(most, sums[t.Begin]), max(slowest, t.P99)
	}
	c := newTimeChart(&d.axis, "requests of each version", "requests", 0, headroom*float64(most))
	below := map[time.Time]int64{}
	for _, t := range s.Traffic {
		v, ok := known[strconv.FormatInt(t.Version, 10)]
		if !ok {
			v = project.VersionShare{Key: fmt.Sprintf("version %d", t.Version), Name: fmt.Sprintf("version %d of the model", t.Version)}
			if len(known) == 1 { // no release has named the only version
				for _, only := range known {
					v = only
				}
			}
		}
		c.rect("area s"+strconv.Itoa(d.color(v)), d.axis.x(t.Begin), float64(below[t.Begin]), d.axis.x(t.Begin.Add(s.Step)), float64(below[t.Begin]+t.Requests), 1,
			html.EscapeString(fmt.Sprintf("%s: %s answered %d requests with %d rows, p99 %s", moment(t.Begin), versionName(v), t.Requests, t.Rows, t.P99)))
		below[t.Begin] += t.Requests
	}
	f.SVG = c.svg()
	f.Notes = []note{{Text: fmt.Sprintf("from the request log, which has no requests that failed; the highest p99 of an interval is %s", slowest)}}
	return f
}

// cost draws what trainings cost together.
func (d *loopDrawing) cost() figure {
	f := figure{Title: "Cost of trainings"}
	if d.Currency == "" {
		f.Reasons = []note{{Text: "no pool has a price"}}
		return f
	}
	xs, ys := []float64{0}, []float64{0}
	sum := 0.0
	for _, a := range slices.Backward(d.Acts) {
		if cost := planner.ActCost(a); cost > 0 && !begins(a) {
			x := d.axis.x(a.At)
			xs, ys = append(xs, x, x), append(ys, sum, sum+float64(cost)/float64(money.One))
			sum = ys[len(ys)-1]
		}
	}
	xs, ys = append(xs, d.axis.x(d.To)), append(ys, sum)
	c := newTimeChart(&d.axis, "cost of trainings", html.EscapeString(d.Currency), 0, max(headroom*sum, 1e-9))
	c.curve("line s0", xs, ys)
	f.SVG = c.svg()
	f.Notes = []note{{Text: d.spent().Format(d.Currency) + " in all"}}
	return f
}

func (d *loopDrawing) actsTable() *table {
	t := &table{Title: "Record", Class: "record", Head: texts("", "at", "act", "by", "revision", "reason")}
	if len(d.Acts) == 0 {
		t.Head, t.Note = nil, "The loop has done nothing."
	}
	for _, a := range d.Acts {
		revision := ""
		if a.Revision > 0 {
			revision = fmt.Sprintf("@%d", a.Revision)
		}
		row := texts(strconv.FormatInt(a.Number, 10), moment(a.At), string(a.Act), a.By, revision)
		t.Rows = append(t.Rows, append(row, cell{Text: a.Reason}))
	}
	return t
}

func (d *loopDrawing) revisionsTable() *table {
	t := &table{Title: "Revisions of the model and its deployments", Class: "record", Head: texts("", "began", "took", "act", "outcome", "why", "metrics")}
	for _, r := range d.Revisions {
		lasted := ""
		if !r.Finished.IsZero() {
			lasted = took(r.Finished.Sub(r.Started))
		}
		why := ""
		switch {
		case r.Cause != nil:
			why = r.Cause.String()
		case len(r.Reasons) > 0:
			why = reasonText(r.Reasons[len(r.Reasons)-1])
		}
		var metrics []string
		for _, name := range slices.SortedFunc(slices.Values(project.Estimates(r.Metrics)), byImportance) {
			metrics = append(metrics, name+" "+number(r.Metrics[name]))
		}
		row := texts(fmt.Sprintf("@%d", r.Number), moment(r.Started), lasted, string(r.Act), string(r.Outcome))
		t.Rows = append(t.Rows, append(row, cell{Text: why}, cell{Text: strings.Join(metrics[:min(len(metrics), 3)], ", "), Hint: strings.Join(metrics, ", ")}))
	}
	return t
}

func reasonText(r planner.Reason) string {
	if r.Before == "" && r.After == "" {
		return r.What
	}
	return fmt.Sprintf("%s: %s → %s", r.What, cmp.Or(r.Before, "–"), cmp.Or(r.After, "–"))
}
