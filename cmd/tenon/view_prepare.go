package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
)

// writePrepare writes what a plan has to prepare before units can start, and why it
// cannot be prepared here.
func (a *app) writePrepare(b *strings.Builder, p *planner.Plan) {
	if len(p.Prepare) == 0 {
		return
	}
	b.WriteByte('\n')
	var problems []string
	units := map[string][]string{} // by problem
	for _, m := range p.Prepare {
		line := fmt.Sprintf("  %s %s  %s, for %s", a.paint(green, "+"), m.What, packagesOf(m.Packages), several(m.Units))
		if m.Estimate.Runs > 0 {
			line += "  " + a.paint(faint, "~"+took(m.Estimate.Time))
		}
		b.WriteString(line + "\n")
		if m.Problem == "" {
			continue
		}
		if !slices.Contains(problems, m.Problem) {
			problems = append(problems, m.Problem)
		}
		units[m.Problem] = append(units[m.Problem], m.Units...)
	}
	for _, text := range problems {
		slices.Sort(units[text])
		fmt.Fprintf(b, "\n%s %s\n  needed by %s\n", a.paint("1;"+yellow, "warning:"), text, strings.Join(slices.Compact(units[text]), ", "))
	}
}

// preparing summarizes what a plan has to prepare.
func preparing(p *planner.Plan) string {
	s := p.Preparing()
	if s.Count == 0 {
		return ""
	}
	line := fmt.Sprintf("Before units start, %s prepared: %s to download at most", areOf(s.Count), sized(s.Packages, s.Bytes, s.Unsized))
	if s.Bytes == 0 {
		line = fmt.Sprintf("Before units start, %s prepared: %s to install", areOf(s.Count), plural(int64(s.Packages), "package"))
	}
	if s.Time > 0 {
		line += fmt.Sprintf("; about %s, based on earlier runs", took(s.Time))
	}
	return line + "."
}

func areOf(n int) string {
	if n == 1 {
		return "1 environment is"
	}
	return fmt.Sprintf("%d environments are", n)
}

func packagesOf(packages []planner.Package) string {
	var bytes int64
	unsized := 0
	for _, p := range packages {
		if bytes += p.Bytes; p.Bytes == 0 {
			unsized++
		}
	}
	return sized(len(packages), bytes, unsized)
}

// sized describes the number of packages, and their size as far as it is known.
func sized(n int, bytes int64, unsized int) string {
	text := plural(int64(n), "package")
	if bytes > 0 {
		text += ", " + bytesOf(bytes)
	}
	if unsized > 0 && bytes > 0 {
		text += fmt.Sprintf(" and %d of unknown size", unsized)
	}
	return text
}

// several names the first few of some units.
func several(units []string) string {
	if len(units) > 2 {
		return fmt.Sprintf("%s and %d more units", units[0], len(units)-1)
	}
	return strings.Join(units, " and ")
}

// prepareEvery is how often to print the progress of a preparation without bars.
const prepareEvery = 10 * time.Second

// preparing shows the progress of a preparation.
func (v *applyView) preparing(e executors.Event) {
	e.Unit = e.What // shown in place of a unit
	_, seen := v.prepares[e.What]
	if v.bars != nil {
		if !seen {
			v.prepares[e.What] = e.Time
			v.addBar(e)
		}
		v.progress(e)
		return
	}
	if seen && e.Time.Sub(v.prepares[e.What]) < prepareEvery {
		return
	}
	v.prepares[e.What] = e.Time
	text := e.Message
	if text == "" {
		text = "being prepared for " + several(e.Units)
	}
	v.line("·", faint, e, text)
}

// prepared shows the end of a preparation.
func (v *applyView) prepared(e executors.Event) {
	e.Unit = e.What
	if e.Error != "" {
		v.line("✗", red, e, "failed: "+clipTo(e.Error, lineLimit))
		return
	}
	text := took(e.Duration)
	if e.Message != "" {
		text += "  " + e.Message
	}
	v.line("✓", green, e, text)
}

// together lists the units that failed for the same reason before any of them started.
func together(failed []*executors.UnitError) []*executors.UnitError {
	var out []*executors.UnitError
	for _, f := range failed {
		i := slices.IndexFunc(out, func(o *executors.UnitError) bool {
			return o.LogTail == nil && f.LogTail == nil && !o.PredecessorReady && !f.PredecessorReady && o.Err.Error() == f.Err.Error()
		})
		if i < 0 {
			same := *f
			out = append(out, &same)
			continue
		}
		out[i].Unit += ", " + f.Unit
	}
	return out
}
