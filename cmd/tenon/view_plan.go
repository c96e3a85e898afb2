package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local/disk"
	"github.com/tenon-ml/tenon/planner"
)

// actionMarks mark what happens to a unit.
var actionMarks = map[planner.Action]struct{ mark, color string }{
	planner.Run:     {"~", yellow},
	planner.Reuse:   {"=", faint},
	planner.Create:  {"+", green},
	planner.Update:  {"~", yellow},
	planner.Replace: {"±", yellow},
	planner.Release: {"→", cyan},
	planner.Delete:  {"-", red},
	planner.None:    {"=", faint},
}

const (
	reasonLimit = 60  // how much of a value a reason shows
	lineLimit   = 100 // how much of an error a line shows if the full text follows
)

// named returns the name of a system in an environment, for headers.
func (a *app) named(system, env string) string {
	if env == "" {
		return a.paint(bold, system)
	}
	return a.paint(bold, system) + " in " + a.paint(bold, env)
}

func (a *app) printPlan(p *planner.Plan, all bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s (%s)\n", a.named(p.System.Name, p.State.Env), p.System.Target.Name, p.System.Target.Executor)
	var items []planner.Item
	for _, i := range p.Items {
		if all || changes(i) || i.Audit {
			items = append(items, i)
		}
	}
	shown := foldExpansions(p, items)
	if all {
		shown = unfolded(items)
	}
	width := 0
	for _, i := range shown {
		width = max(width, len(i.Unit))
	}
	for _, m := range p.Moves {
		width = max(width, len(m.To))
	}
	changed := resourceItems(p.Infrastructure)
	for _, i := range changed {
		width = max(width, min(len(i.Unit), widestResource))
	}
	if len(shown)+len(p.Moves)+len(changed) > 0 {
		b.WriteByte('\n')
	}
	for _, m := range p.Moves {
		fmt.Fprintf(&b, "  %s %s  %s  was %s\n", a.paint(cyan, "→"), pad(m.To, width), a.paint(cyan, pad("move", 8)), m.From)
	}
	for _, i := range slices.Concat(unfolded(changed), shown) {
		a.writeItem(&b, i.Item, width)
		if i.note != "" {
			fmt.Fprintf(&b, "      %s\n", i.note)
		}
	}
	a.writeAdvice(&b, p, all)
	a.writeKnown(&b, p)
	a.writeTrusted(&b, p)
	a.writeWarnings(&b, p.Warnings)
	a.writePrepare(&b, p)
	for _, t := range p.Taken {
		fmt.Fprintf(&b, "\n%s %s\n", a.paint("1;"+yellow, "warning:"), t)
	}
	b.WriteString("\n" + a.summary(p) + "\n" + infrastructureSummary(p.Infrastructure) + standing(p.Infrastructure))
	if line := preparing(p); line != "" {
		b.WriteString(line + "\n")
	}
	for _, i := range p.Items {
		if i.Releasing != "" {
			fmt.Fprintf(&b, "Release in progress: %s: %s; see %s.\n", i.Unit, i.Releasing, a.again("tenon release status"))
		}
	}
	writePerHour(&b, p.PerHour)
	writePerRequest(&b, p.PerRequest)
	a.writeCosts(&b, p)
	writeTransfer(&b, p.Transfer)
	a.writePools(&b, p)
	a.writeChoice(&b, p)
	a.writeQuotas(&b, p.Quotas)
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

// widestResource is how wide the column of names gets for addresses of resources, which may be long.
const widestResource = 60

// resourceItems returns the changes of resources as items.
func resourceItems(i *planner.Infrastructure) (all []planner.Item) {
	if i == nil {
		return nil
	}
	for _, r := range i.Resources {
		all = append(all, planner.Item{Unit: r.Address, Action: r.Action, Reasons: r.Reasons})
	}
	return all
}

// infrastructureSummary is a line about the infrastructure, or empty if the target has none.
func infrastructureSummary(i *planner.Infrastructure) string {
	switch {
	case i == nil:
		return ""
	case i.Unmanaged != "":
		return "Infrastructure: not managed: " + i.Unmanaged + ".\n"
	case !i.Changes():
		return fmt.Sprintf("Infrastructure: unchanged (%s).\n", i.Tool)
	}
	var parts []string
	outside, last := 0, 0
	for _, r := range i.Resources {
		if r.Outside {
			outside++
		}
		if r.Last {
			last++
		}
	}
	for _, a := range []planner.Action{planner.Create, planner.Update, planner.Replace, planner.Delete} {
		n := i.Count(a)
		if a == planner.Delete {
			n -= last
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d to %s", n, a))
		}
	}
	if last > 0 {
		parts = append(parts, fmt.Sprintf("%d to delete after the units", last))
	}
	line := "Infrastructure: " + strings.Join(parts, ", ")
	if i.Unchanged > 0 {
		line += fmt.Sprintf("; %d unchanged", i.Unchanged)
	}
	if outside > 0 {
		line += fmt.Sprintf("; %d changed outside of tenon", outside)
	}
	return fmt.Sprintf("%s (%s).\n", line, i.Tool)
}

func (a *app) writeItem(b *strings.Builder, i planner.Item, width int) {
	m := actionMarks[i.Action]
	mark := m.mark
	if isNew(i) {
		mark, m.color = "+", green
		i.Reasons = i.Reasons[:1] // changed inputs add nothing to the first reason
	}
	action := string(i.Action)
	switch {
	case i.Unless:
		action += "?"
	case i.Audit:
		action, m.color = "audit", cyan
	}
	line := fmt.Sprintf("  %s %s  %s", a.paint(m.color, mark), pad(i.Unit, width), a.paint(m.color, pad(action, 8)))
	if i.Estimate.Runs > 0 && i.Action == planner.Run {
		line += "  " + a.paint(faint, "~"+took(i.Estimate.Time)+basis(i.Estimate))
	}
	if i.Unstable {
		line += "  " + a.paint(faint, "not deterministic")
	}
	if len(i.Reasons) == 1 && !isDiff(i.Reasons[0]) {
		fmt.Fprintf(b, "%s  %s\n", line, i.Reasons[0].What)
		return
	}
	fmt.Fprintln(b, strings.TrimRight(line, " "))
	for _, r := range i.Reasons {
		fmt.Fprintf(b, "      %s\n", a.reason(r))
	}
}

// writeKnown lists the inputs of models that would be leaks if they were not declared to
// be known.
func (a *app) writeKnown(b *strings.Builder, p *planner.Plan) {
	for _, e := range p.System.Entities {
		if len(e.Known) > 0 {
			fmt.Fprintf(b, "\n%s %s reveal its label, later rows or its test rows; `known` allows them: %s\n",
				a.paint(cyan, "note:"), "inputs of "+e.ID, strings.Join(e.Known, ", "))
		}
	}
}

// writeWarnings writes warnings, each with its place and what to do.
func (a *app) writeWarnings(b *strings.Builder, all []ir.Warning) {
	for _, w := range all {
		fmt.Fprintf(b, "\n%s %s\n", a.paint("1;"+yellow, "warning:"), w.Message)
		if w.At != "" {
			fmt.Fprintf(b, "  --> %s\n", a.paint(cyan, w.At))
		}
		if w.Hint != "" {
			fmt.Fprintf(b, "  = help: %s\n", w.Hint)
		}
	}
}

// writeTrusted lists the columns of features whose declarations would be refused if they
// were not trusted.
func (a *app) writeTrusted(b *strings.Builder, p *planner.Plan) {
	for _, e := range p.System.Entities {
		if len(e.Trusted) > 0 {
			fmt.Fprintf(b, "\n%s the query of %s may break the declaration of columns that `trust` lists: %s\n",
				a.paint(cyan, "note:"), e.ID, strings.Join(e.Trusted, ", "))
		}
	}
}

// mostAdvice limits how much advice a plan shows by default.
const mostAdvice = 5

// writeAdvice lists the units that request far more, or hardly more, than they used.
func (a *app) writeAdvice(b *strings.Builder, p *planner.Plan, all bool) {
	var lines []string
	for _, i := range p.Items {
		for _, advice := range i.Advice {
			lines = append(lines, i.Unit+" "+adviceText(advice))
		}
	}
	if len(lines) == 0 {
		return
	}
	b.WriteByte('\n')
	for n, line := range lines {
		if n == mostAdvice && !all {
			fmt.Fprintf(b, "  %s request far more than they use, or barely enough: see tenon plan --all\n", plural(int64(len(lines)-n), "more unit"))
			break
		}
		fmt.Fprintf(b, "  %s %s\n", a.paint(cyan, "i"), line)
	}
}

func adviceText(d planner.Advice) string {
	amount, write, average := disk.Size, func(n int64) string { return fmt.Sprintf("%q", strings.ReplaceAll(disk.Size(n), " ", "")) }, ""
	if d.Need == "cpu" {
		amount, write, average = coresOf, func(n int64) string { return number(float64(n) / 1000) }, " on average"
	}
	in := "its last run"
	if d.Runs > 1 {
		in = fmt.Sprintf("%d runs", d.Runs)
	}
	would := fmt.Sprintf("%s: %s would be enough", d.Need, write(d.Would))
	switch {
	case d.Used > d.Asked:
		return fmt.Sprintf("used %s%s in %s, more than the %s it requests: %s", amount(d.Used), average, in, amount(d.Asked), would)
	case d.Would > d.Asked:
		return fmt.Sprintf("used %s of the %s it requests in %s: %s", amount(d.Used), amount(d.Asked), in, would)
	}
	return fmt.Sprintf("requests %s and used %s at most%s in %s: %s", amount(d.Asked), amount(d.Used), average, in, would)
}

// coresOf formats thousandths of a core.
func coresOf(milli int64) string {
	if milli == 1000 {
		return "1 core"
	}
	return number(float64(milli)/1000) + " cores"
}

func isNew(i planner.Item) bool { return len(i.Reasons) > 0 && i.Reasons[0].What == "new" }

func isDiff(r planner.Reason) bool { return r.Before != "" || r.After != "" }

func (a *app) reason(r planner.Reason) string {
	switch {
	case !isDiff(r):
		return r.What
	case r.Before == "":
		return fmt.Sprintf("%s: %s", r.What, a.paint(green, clip(r.After)))
	case r.After == "":
		return fmt.Sprintf("%s: %s", r.What, a.paint(red, "was "+clip(r.Before)))
	}
	before, after := clipBoth(r.Before, r.After)
	return fmt.Sprintf("%s: %s -> %s", r.What, a.paint(red, before), a.paint(green, after))
}

// clipBoth clips two long values so that their difference stays visible.
func clipBoth(before, after string) (string, string) {
	b, a := []rune(strings.Join(strings.Fields(before), " ")), []rune(strings.Join(strings.Fields(after), " "))
	if max(len(b), len(a)) <= reasonLimit {
		return string(b), string(a)
	}
	same := 0
	for same < min(len(b), len(a)) && b[same] == a[same] {
		same++
	}
	const context = 20
	if same <= context {
		return clip(before), clip(after)
	}
	return "..." + clip(string(b[same-context:])), "..." + clip(string(a[same-context:]))
}

func clip(s string) string { return clipTo(s, reasonLimit) }

// clipTo makes one line of at most n characters.
func clipTo(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n-3]) + "..."
	}
	return s
}

// clip shortens a line to fit on a terminal; elsewhere it keeps the whole line.
func (a *app) clip(s string) string {
	if a.terminal {
		return clipTo(s, lineLimit)
	}
	return strings.Join(strings.Fields(s), " ")
}

func pad(s string, n int) string {
	if len(s) >= n {
		return s
	}
	return s + strings.Repeat(" ", n-len(s))
}

// summary is the last line of a plan.
func (a *app) summary(p *planner.Plan) string {
	s := p.Summary()
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d to %s", n, what))
		}
	}
	add(s.Run, "run")
	if s.Unless > 0 && len(parts) > 0 {
		parts[len(parts)-1] += fmt.Sprintf(" (%d unless inputs turn out unchanged)", s.Unless)
	}
	add(s.Create, "create")
	add(s.Update, "update")
	add(s.Release, "release")
	add(s.Replace, "replace")
	add(s.Delete, "delete")
	earlier, audited := 0, 0
	for _, i := range p.Items {
		if i.Restores() {
			earlier++
		}
		if i.Audit {
			audited++
		}
	}
	add(earlier, "reuse from an earlier run")
	add(len(p.Moves), "move")
	add(audited, "run again and compare")
	stay := s.Reuse - earlier + s.None
	if len(parts) == 0 {
		if stay == 0 {
			return "Nothing to do: the system is empty."
		}
		if p.Infrastructure.Changes() {
			return fmt.Sprintf("Only the infrastructure changes: all %s up to date.", unitsAre(stay))
		}
		return fmt.Sprintf("Nothing to do: all %s up to date.", unitsAre(stay))
	}
	line := "Plan: " + strings.Join(parts, ", ")
	if stay > 0 {
		line += fmt.Sprintf("; %d unchanged", stay)
	}
	line += "."
	var lengths []string
	if s.Time.Runs > 0 {
		text := fmt.Sprintf("about %s, based on earlier runs", took(s.Time.Time))
		if s.Similar > 0 {
			text += fmt.Sprintf(" (%s estimated from similar ones)", plural(int64(s.Similar), "job"))
		}
		lengths = append(lengths, text)
	}
	if s.Limit > 0 {
		lengths = append(lengths, fmt.Sprintf("at most %s, as timeouts and retries allow", took(s.Limit)))
	}
	if len(lengths) > 0 {
		text := strings.Join(lengths, "; ")
		line += " " + strings.ToUpper(text[:1]) + text[1:] + "."
	}
	return line
}

// basis says what the estimate of a unit that has not run before follows from.
func basis(e planner.Estimate) string {
	if e.From == "" {
		return ""
	}
	from := e.From
	if e.Of != "" {
		from += " of " + e.Of
	}
	text := fmt.Sprintf(" estimated from %s, %s", from, plural(int64(e.Runs), "run"))
	if e.FromRows > 0 {
		text += fmt.Sprintf(", scaled from %d to %d rows", e.FromRows, e.Rows)
	}
	return text
}

func unitsAre(n int) string {
	if n == 1 {
		return "1 unit is"
	}
	return fmt.Sprintf("%d units are", n)
}
