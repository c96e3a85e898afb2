package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
)

// An applyView shows the progress of an apply: bars on a terminal, plain lines elsewhere,
// one JSON event per line with --json.
type applyView struct {
	a        *app
	json     bool
	width    int
	urls     map[string]string    // of services
	quiet    map[string]bool      // units that the plan leaves unchanged
	waits    map[string]string    // what units wait for, as last printed
	prepares map[string]time.Time // when the progress of a preparation was last printed
	known    map[string]bool      // units with another result deployed, or none
	again    string               // the command that continues after a stop or a failure

	bars *mpb.Progress // on a terminal
	mu   sync.Mutex
	unit map[string]*unitBar
}

type unitBar struct {
	bar     *mpb.Bar
	message string
}

// event is a line of --json: an event of the engine, or the end.
type event struct {
	Type   string            `json:"type"`
	Time   *time.Time        `json:"time,omitempty"`
	Result *executors.Result `json:"result,omitempty"`
}

func (a *app) printJSONLine(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("print an event: %w", err)
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", b)
	return err
}

func (a *app) newView(asJSON bool, p *planner.Plan) *applyView {
	v := &applyView{a: a, json: asJSON, again: a.again("tenon apply"), unit: map[string]*unitBar{}, quiet: map[string]bool{}, known: map[string]bool{}, urls: map[string]string{}, waits: map[string]string{}, prepares: map[string]time.Time{}}
	if p.System != nil {
		for _, u := range p.System.Units {
			if u.Endpoint != nil {
				v.urls[u.ID] = project.EndpointURL(u.Endpoint)
			}
		}
	}
	for _, i := range p.Items {
		if changes(i) || i.Audit {
			v.width = max(v.width, len(i.Unit))
		} else {
			v.quiet[i.Unit] = true
		}
		v.known[i.Unit] = i.Restores() || isNew(i)
	}
	for _, i := range resourceItems(p.Infrastructure) {
		v.width = max(v.width, min(len(i.Unit), widestResource))
	}
	for _, m := range p.Prepare {
		v.width = max(v.width, len(m.What))
	}
	if p.BackTo > 0 {
		v.again = a.again(fmt.Sprintf("tenon rollback @%d", p.BackTo))
	}
	for _, m := range p.Moves {
		v.width = max(v.width, len(m.To))
	}
	if a.terminal && !asJSON {
		v.bars = mpb.New(mpb.WithOutput(a.stdout), mpb.WithWidth(24), mpb.WithRefreshRate(120*time.Millisecond))
	}
	return v
}

// event shows one event. The engine calls it for one event at a time.
func (v *applyView) event(e executors.Event) {
	if v.json {
		_ = v.a.printJSONLine(e)
		return
	}
	if v.quiet[e.Unit] && e.Type == executors.EventReused {
		return
	}
	switch e.Type {
	case executors.EventStarted:
		if v.bars != nil {
			v.addBar(e)
			return
		}
		what := "started"
		if e.Message != "" {
			what += ", " + e.Message
		}
		if e.Adopted {
			what = "found running"
		}
		if len(e.Devices) > 0 {
			what += " on " + strings.Join(e.Devices, ", ")
		}
		if e.Attempt > 1 {
			what += fmt.Sprintf(", attempt %d", e.Attempt)
		}
		v.line("·", faint, e, what)
	case executors.EventPreparing:
		v.preparing(e)
	case executors.EventPrepared:
		v.prepared(e)
	case executors.EventResource:
		e.Unit = e.What
		v.line("·", faint, e, e.Message)
	case executors.EventProgress:
		v.progress(e)
	case executors.EventFinished:
		v.line("✓", green, e, took(e.Duration)+metricsLine(e.Metrics))
	case executors.EventReady:
		v.line("✓", green, e, strings.TrimSpace("ready "+took(e.Duration)+"  "+cmp.Or(e.Endpoint, v.urls[e.Unit])))
	case executors.EventReused:
		text := "reused: its inputs turned out unchanged"
		if v.known[e.Unit] {
			text = "reused from an earlier run"
		}
		if e.Message != "" {
			text = "reused: " + e.Message
		}
		v.line("=", faint, e, text)
	case executors.EventRetried:
		v.line("!", yellow, e, fmt.Sprintf("failed, retrying in %s: %s", took(e.Duration), clipTo(e.Error, lineLimit)))
	case executors.EventFailed:
		v.line("✗", red, e, "failed: "+clipTo(e.Error, lineLimit))
	case executors.EventBlocked:
		v.line("-", faint, e, "not run: it depends on "+e.By)
	case executors.EventCanceled:
		v.line("-", faint, e, "stopped")
	case executors.EventPreempted:
		v.line("!", yellow, e, fmt.Sprintf("preempted after %s: its GPUs are guaranteed to %s; it will run again", took(e.Duration), e.By))
	case executors.EventReleased:
		v.line("→", cyan, e, e.Message)
	case executors.EventMoved:
		v.line("→", cyan, e, "moved "+e.Message)
	case executors.EventAudited:
		if e.Error != "" {
			v.line("!", yellow, e, e.Error)
			return
		}
		v.line("✓", green, e, took(e.Duration)+"  same bytes")
	case executors.EventDestroyed:
		if v.urls[e.Unit] != "" {
			v.line("-", faint, e, "stopped the previous version")
			return
		}
		v.line("-", red, e, "destroyed")
	}
}

func (v *applyView) line(mark, color string, e executors.Event, text string) {
	v.dropBar(e.Unit)
	line := fmt.Sprintf("  %s %s  %s\n", v.a.paint(color, mark), pad(e.Unit, v.width), strings.TrimRight(text, " "))
	var w io.Writer = v.a.stdout
	if v.bars != nil {
		w = v.bars
	}
	_, _ = io.WriteString(w, line)
}

func (v *applyView) addBar(e executors.Event) {
	u := &unitBar{}
	message := func(decor.Statistics) string {
		v.mu.Lock()
		defer v.mu.Unlock()
		return u.message
	}
	u.bar = v.bars.New(100, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name("  "+v.a.paint(blue, "▸")+" "+pad(e.Unit, v.width)+"  "), decor.Elapsed(decor.ET_STYLE_GO, decor.WC{W: 6})),
		mpb.AppendDecorators(decor.Any(message)),
	)
	v.unit[e.Unit] = u
}

func (v *applyView) progress(e executors.Event) {
	u := v.unit[e.Unit]
	text := e.Message
	if e.Waits != "" {
		text = "waits: " + e.Waits
	}
	if u == nil { // a line for each progress event would be too many
		if e.Waits != "" && v.waits[e.Unit] != e.Waits {
			v.waits[e.Unit] = e.Waits
			v.line("·", faint, e, v.a.clip(text))
		}
		return
	}
	v.mu.Lock()
	u.message = text
	v.mu.Unlock()
	if e.Total > 0 {
		u.bar.SetCurrent(int64(min(99, 100*e.Done/e.Total)))
	}
}

func (v *applyView) dropBar(unit string) {
	if u := v.unit[unit]; u != nil {
		u.bar.Abort(true)
		delete(v.unit, unit)
	}
}

// end prints the last line of an apply, and the log of what failed.
func (v *applyView) end(ctx context.Context, r *executors.Result, err error) error {
	if v.bars != nil {
		for unit := range v.unit {
			v.dropBar(unit)
		}
		v.bars.Wait()
	}
	if r == nil {
		return err
	}
	if v.json {
		if perr := v.a.printJSONLine(event{Type: "end", Result: r}); perr != nil {
			return errors.Join(err, perr)
		}
		if err != nil {
			return errReported
		}
		return nil
	}
	out := v.a.stdout
	for _, f := range together(r.Failed) {
		fmt.Fprintf(out, "\n%s %s: %s\n", v.a.paint("1;"+red, "error:"), f.Unit, describeFailure(f.Err))
		if len(f.LogTail) > 0 {
			fmt.Fprintf(out, "  the last lines of its log (tenon logs %s):\n", f.Unit)
			for _, l := range f.LogTail {
				fmt.Fprintf(out, "  | %s\n", printable(l))
			}
		}
		if f.PredecessorReady {
			fmt.Fprintln(out, "  The previous version keeps serving.")
		}
	}
	for _, line := range auditLines(r.Audits) {
		fmt.Fprintf(out, "\n%s %s\n", v.a.paint("1;"+yellow, "warning:"), line)
	}
	fmt.Fprintf(out, "\n%s\n", v.summary(r))
	switch {
	case err == nil:
		return nil
	case r.Fault != "":
		return errors.New(r.Fault)
	case errors.Is(context.Cause(ctx), errStopped):
		fmt.Fprintf(out, "Stopped. Run %s to continue.\n", v.again)
		return errStopped
	case len(r.Failed) > 0:
		fmt.Fprintf(out, "Completed work is kept. Fix the cause and run %s again to continue.\n", v.again)
		return errReported
	}
	return err
}

// auditLines describe what an audit found, and the remedy.
func auditLines(audits []executors.Audit) []string {
	var lines []string
	for _, f := range audits {
		if text := f.String(); text != "" {
			lines = append(lines, fmt.Sprintf("%s: %s", f.Unit, text))
		}
		if len(f.Differs) > 0 {
			lines[len(lines)-1] += "\n  What is deployed did not change. Look for a missing seed or row order, or a use of the clock; see tenon show."
		}
	}
	return lines
}

// describeFailure puts each violated rule of a table on its own line.
func describeFailure(err error) string {
	var broken *executors.ViolationError
	if !errors.As(err, &broken) {
		return err.Error()
	}
	text := fmt.Sprintf("output %s violates its schema", broken.Port)
	for _, v := range broken.Violations {
		text += "\n  " + v.Message
	}
	return text
}

func (v *applyView) summary(r *executors.Result) string {
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	c := r.Counts
	add(c.Ran, "ran")
	add(c.Reused, "reused")
	add(c.Created, "created")
	add(c.Updated, "updated")
	add(c.Replaced, "replaced")
	add(c.Deleted, "deleted")
	add(c.Unchanged, "unchanged")
	add(len(r.Failed), "failed")
	add(len(r.Blocked), "not run")
	add(len(r.Canceled), "stopped")
	add(len(r.Audits), "run again and compared")
	word := v.a.paint("1;"+green, "Applied")
	if len(r.Failed) > 0 || len(r.Canceled) > 0 || r.Fault != "" {
		word = v.a.paint("1;"+red, "Not fully applied")
	}
	return fmt.Sprintf("%s as revision %d in %s: %s.", word, r.Revision, took(r.Took), strings.Join(parts, ", "))
}

// headline metrics are shown first; tenon show has the rest.
var headline = []string{"rows", "roc_auc", "accuracy", "f1", "r2", "mean_absolute_error", "root_mean_squared_error"}

func metricsLine(m map[string]float64) string {
	var parts []string
	for _, name := range headline {
		if x, ok := m[name]; ok && len(parts) < 3 {
			parts = append(parts, name+" "+number(x))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "  " + strings.Join(parts, ", ")
}

func number(x float64) string {
	if x == float64(int64(x)) {
		return fmt.Sprintf("%d", int64(x))
	}
	return fmt.Sprintf("%.4g", x)
}

// printable keeps the control characters of a line off the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r == 0xfffd {
			return '.'
		}
		return r
	}, s)
}
