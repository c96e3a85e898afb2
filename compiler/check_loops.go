package compiler

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/cron"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/duration"
)

// checkLoops checks when models are trained again, and resolves it. It needs the monitors.
func (c *checker) checkLoops(pools []ir.Pool) {
	var loops []*looping
	for _, id := range c.order {
		e := c.entities[id]
		if e.section != "loops" || c.broken[id] {
			continue
		}
		// The fault of a monitor or of a model is reported there.
		if slices.ContainsFunc(e.ports, func(p port) bool { return c.broken[p.from] }) {
			c.broken[id] = true
			continue
		}
		l := &looping{checker: c, e: e, model: e.input("model").out.entity}
		l.findDeployments()
		l.resolve(pools)
		loops = append(loops, l)
	}
	c.checkSameModel(loops)
	c.checkLoopCycles(loops)
}

// looping resolves one loop.
type looping struct {
	*checker
	e           *entity
	model       *entity
	deployments []*entity     // that serve the model
	triggers    []port        // monitors and tables that call for a training
	last        time.Duration // the longest time from one time of a schedule to the next
}

func (l *looping) at(label string, field ...string) diag.Span {
	return l.sys.At(label, l.e.path(field...)...)
}

func (l *looping) refuse(message, hint string, spans ...diag.Span) {
	l.fail(l.e, diag.Diagnostic{Message: message, Hint: hint, Spans: spans})
}

func (l *looping) findDeployments() {
	for _, id := range l.order {
		if e := l.entities[id]; e.section == "deployments" && e.servedModel() == l.model {
			l.deployments = append(l.deployments, e)
		}
	}
}

// servedModel returns the model that an entity serves, or nil.
func (e *entity) servedModel() *entity {
	for _, p := range e.ports {
		if p.kind == ir.Model && p.out != nil {
			return p.out.entity
		}
	}
	return nil
}

func (l *looping) resolve(pools []ir.Pool) {
	out := &ir.Loop{
		Model: l.model.id(), CatchUp: ir.CatchUp(l.e.string("catch_up")), CoolDown: duration.Parse(l.e.string("cool_down")),
	}
	for _, d := range l.deployments {
		out.Deployments = append(out.Deployments, d.id())
	}
	slices.Sort(out.Deployments)
	for _, f := range []string{"when", "release.judge", "rollback.on"} {
		if list, ok := l.e.fields.at(f).([]any); ok && len(list) == 0 {
			l.refuse(fmt.Sprintf("%s of %s is empty", f, l.e), "name what it is about, or remove the loop or the field", l.at("", strings.Split(f, ".")...))
		}
	}
	when, _ := l.e.fields.get("when").([]any)
	for i := range when {
		t, _ := when[i].(object)
		out.When = append(out.When, l.trigger(t, i))
	}
	if out.CoolDown >= duration.Century {
		l.tooLarge(l.e, l.at("", "cool_down").Pos, "less than a hundred years")
	}
	if l.last > 0 && out.CoolDown > l.last {
		l.warn(l.e, fmt.Sprintf("%s cools down for %s, but its schedule fires at least every %s: not every time begins a training", l.e, l.e.string("cool_down"), shortly(l.last)),
			"shorten cool_down, or fire less often", "cool_down")
	}
	out.AtMost = l.limit(pools)
	out.Judge = l.judges()
	out.Rollback = l.rollbacks()
	out.Notify = l.receivers(l.e)
	if !l.broken[l.e.id()] {
		l.e.loop = out
	}
}

// trigger resolves what calls for a training.
func (l *looping) trigger(t object, i int) ir.LoopTrigger {
	n := strconv.Itoa(i)
	here := l.at("", "when", n)
	var kinds []string
	for _, k := range []string{"schedule", "monitor", "data"} {
		if t.has(k) {
			kinds = append(kinds, k)
		}
	}
	switch {
	case len(kinds) == 0:
		l.refuse(fmt.Sprintf("an entry of when of %s calls for nothing", l.e), `write {schedule: "0 3 * * *"} or {monitor: monitors.NAME.out}`, here)
	case len(kinds) > 1:
		l.refuse(fmt.Sprintf("an entry of when of %s has both %s", l.e, strings.Join(kinds, " and ")), "write two entries: each of them calls for a training",
			l.sys.Label("", l.e.path("when", n, kinds[0])...), l.sys.Label("", l.e.path("when", n, kinds[1])...))
	case t.has("zone") && kinds[0] != "schedule":
		l.refuse(fmt.Sprintf("an entry of when of %s has a zone, but no schedule", l.e), "remove it", l.sys.Label("", l.e.path("when", n, "zone")...))
	case t.has("every") && kinds[0] != "data":
		l.refuse(fmt.Sprintf("an entry of when of %s has every, but no data", l.e), "remove it: a monitor has an every of its own", l.sys.Label("", l.e.path("when", n, "every")...))
	case t.has("rows") != (kinds[0] == "data"):
		hint, at := "add how many new rows call for a training: rows: 10000", here
		if t.has("rows") {
			hint, at = "remove it, or name the table: data: sources.NAME.out", l.sys.Label("", l.e.path("when", n, "rows")...)
		}
		l.refuse(fmt.Sprintf("an entry of when of %s has only one of data and rows", l.e), hint, at)
	case kinds[0] == "schedule":
		return l.schedule(t, n)
	default:
		p := *l.e.input("when." + n + "." + kinds[0])
		l.triggers = append(l.triggers, p)
		if kinds[0] == "monitor" {
			l.measured(p, "calls for trainings of "+l.model.String())
			return ir.LoopTrigger{Monitor: p.out.entity.component.unit(p.from, p.port)}
		}
		return l.waitsForRows(t, p, n)
	}
	return ir.LoopTrigger{}
}

func (l *looping) schedule(t object, n string) ir.LoopTrigger {
	out := ir.LoopTrigger{Schedule: stringOf(t.get("schedule")), Zone: "UTC"}
	at := l.at("", "when", n, "schedule")
	if t.has("zone") {
		out.Zone = stringOf(t.get("zone"))
	}
	s, err := cron.Parse(out.Schedule, out.Zone)
	var fault *cron.Error
	if errors.As(err, &fault) {
		if fault.Zone {
			at = l.at("", "when", n, "zone")
		}
		l.refuse(fmt.Sprintf("%s in when of %s", fault.Message, l.e), fault.Hint, at)
		return out
	}
	if s.Never() {
		l.refuse(fmt.Sprintf("the schedule %q of %s can never fire: no month has such a day", out.Schedule, l.e), "change the day of the month or the month", at)
		return out
	}
	if gap := s.LongestGap(); l.last == 0 || gap < l.last {
		l.last = gap
	}
	return out
}

// limit resolves how many trainings there may be.
func (l *looping) limit(pools []ir.Pool) *ir.LoopLimit {
	o, ok := l.e.fields.get("at_most").(object)
	if !ok {
		return nil
	}
	here := l.sys.Label("", l.e.path("at_most")...)
	out := &ir.LoopLimit{Runs: int(whole(o.get("runs"))), Per: duration.Parse(stringOf(o.get("per")))}
	switch {
	case !o.has("runs") && !o.has("cost"):
		l.refuse(fmt.Sprintf("at_most of %s limits nothing", l.e), `add a number of trainings, runs: 4, or what they may cost, cost: "20 USD"`, here)
		return nil
	case !o.has("per"):
		l.refuse(fmt.Sprintf("at_most of %s does not say in which time", l.e), `add the length of the period: per: "7d"`, here)
		return nil
	case out.Per <= 0 || out.Per >= duration.Century:
		l.refuse(fmt.Sprintf("the period of at_most of %s is %s", l.e, stringOf(o.get("per"))), `write a length of time such as "7d", less than a hundred years`, l.at("", "at_most", "per"))
		return nil
	}
	if !o.has("cost") {
		return out
	}
	out.Cost, out.Currency = l.amount(l.e, pools, "at_most", "at_most", "cost")
	if out.Cost == nil {
		return nil
	}
	return out
}

// inputs returns the inputs whose names begin with a path, in order.
func (l *looping) inputs(path string) (all []port) {
	for _, p := range l.e.ports {
		if strings.HasPrefix(p.name, path+".") {
			all = append(all, p)
		}
	}
	return all
}

// reference is the place where an input is written.
func (l *looping) reference(p port) diag.Span {
	if _, at := l.sys.Reference(l.e.path(l.e.inputField(p.name)...)...); at.Line > 0 {
		return at
	}
	return l.at("", l.e.inputField(p.name)...)
}

// about reports a monitor that does not measure a deployment of the model.
func (l *looping) about(p port, does string) *entity {
	d := p.out.entity.input("on").out.entity
	if slices.Contains(l.deployments, d) {
		if !l.measured(p, does) {
			return nil
		}
		return d
	}
	serves := "no model"
	if m := d.servedModel(); m != nil {
		serves = m.String()
	}
	l.refuse(fmt.Sprintf("%s %s, but it measures %s, which serves %s and not %s", p.out.entity, does, d, serves, l.model), l.monitorHint(),
		l.reference(p), l.sys.Label("what it measures", p.out.entity.path("on")...))
	return nil
}

// monitorHint names a monitor of a deployment of the model, if there is one.
func (l *looping) monitorHint() string {
	for _, id := range l.order {
		e := l.entities[id]
		if e.section == "monitors" && !l.broken[id] && slices.Contains(l.deployments, e.input("on").out.entity) {
			return fmt.Sprintf("name a monitor of the model, such as %s.out", e)
		}
	}
	return fmt.Sprintf("declare a monitor on a deployment of %s", l.model)
}

// judges resolves the monitors that judge a release.
func (l *looping) judges() (units []string) {
	for _, p := range l.inputs("release.judge") {
		d := l.about(p, "judges releases of "+l.model.String())
		if d == nil {
			continue
		}
		if m := p.out.entity.monitor; m != nil && m.Experiment != nil { // a step waits for its verdict, however long it lasts
			units = append(units, p.from)
			continue
		}
		steps := d.releaseField()
		if steps == "" {
			l.refuse(fmt.Sprintf("%s judges releases of %s, but %s replaces a version at once", p.out.entity, l.model, d),
				fmt.Sprintf(`add steps to %s: release: {steps: [10, 50, 100], each: "1h"}`, d), l.reference(p), l.sys.Label("has no release", d.path()...))
			continue
		}
		each := duration.Parse(stringOf(d.fields.at(steps + ".each")))
		if needs, parts, hint := l.verdictAfter(p.out.entity, d); needs > each {
			l.refuse(fmt.Sprintf("%s judges releases of %s, but may have no verdict on a step within the %s that it lasts: that takes up to %s, %s",
				p.out.entity, l.model, shortly(each), shortly(needs), parts), hint,
				l.reference(p), l.sys.At("how long a step lasts", d.path(steps, "each")...), l.spanOf(p.out.entity))
			continue
		}
		units = append(units, p.from)
	}
	return units
}

// releaseField returns the field with the steps of a deployment, or "" if it has none.
func (e *entity) releaseField() string {
	for i := range e.component.stages {
		if f := e.component.stages[i].Release; f != "" && present(e.fields, f) {
			return f
		}
	}
	return ""
}

// shortly writes a length of time as the language does: "12h", "1d", "90m".
func shortly(d time.Duration) string {
	for _, u := range []struct {
		name string
		of   time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if d >= u.of && d%u.of == 0 {
			return strconv.FormatInt(int64(d/u.of), 10) + u.name
		}
	}
	return d.String()
}

// rollbacks resolves the monitors whose alert takes a version back.
func (l *looping) rollbacks() (units []string) {
	for _, p := range l.inputs("rollback.on") {
		if l.about(p, "takes back versions of "+l.model.String()) != nil {
			units = append(units, p.from)
		}
	}
	return units
}
