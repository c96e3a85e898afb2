package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
)

// What a plan may take at most, by units; and how many times what ninja takes.
var planGoals = map[int]time.Duration{1000: 50 * time.Millisecond, 10_000: 300 * time.Millisecond}

const planRatio = 3

// editGoal is what a plan of 1,000 units may take after an edit of one .cue file.
const editGoal = 500 * time.Millisecond

// measurePlan measures plans of a deployed system, in comparison with `ninja -n` of the
// same graph: with nothing changed, with one definition changed, and with one
// data file changed.
func (b *bench) measurePlan(ctx context.Context) error {
	const none, definition, data = "plan", "plan, a .cue file changed", "plan, a data file changed"
	for _, n := range b.plan {
		if !b.wants(none, n) && !b.wants(definition, n) && !b.wants(data, n) {
			continue
		}
		b.say("plan: set up", n)
		all := entities(n)
		dir := b.path(fmt.Sprintf("plan-%d", n))
		if err := b.deploy(ctx, dir, all); err != nil {
			return err
		}
		source, feature := middle(all)
		written := feature.number
		f := &folder{dir: dir}
		for _, c := range []struct {
			name   string
			change func() error
			runs   int // units, after the change
			goals  bool
		}{
			{name: none, goals: true},
			{definition, func() error {
				feature.change()
				f.part(all, n/2)
				return errors.Join(f.err, writeNinja(dir, all))
			}, behind(all, feature), false},
			{data, func() error {
				source.change()
				f.write(source.data(), source.rows())
				return f.err
			}, behind(all, source), true},
		} {
			if !b.wants(c.name, n) {
				continue
			}
			b.say(c.name, n)
			// Make the change again before each plan; ninja then sees the same one.
			plan := command{args: []string{b.tenon, "plan", dir}, check: planRuns(c.runs, n), prepare: c.change, warm: true}
			ninja := command{dir: dir, args: []string{b.ninja, "-n"}, check: ninjaRuns(c.runs)}
			for _, warm := range []command{plan, ninja} {
				if _, err := b.run(ctx, warm); err != nil {
					return err
				}
			}
			tenon, other, err := b.versus(ctx, leastRuns(n), plan, ninja)
			if err != nil {
				return err
			}
			row := tableRow{Case: c.name, Size: n, Of: "units", Tenon: tenon, Beside: "ninja -n", Other: &other}
			if limit, ok := planGoals[n]; ok && c.goals {
				row.Goals = []goal{wallGoal(tenon, limit), ratioGoal(tenon, other, planRatio)}
			}
			if c.name == definition && n == 1000 {
				row.Goals = []goal{wallGoal(tenon, editGoal)}
			}
			if err := b.add(ctx, row, plan); err != nil {
				return err
			}
			if c.name == definition {
				feature.number = written
				f.part(all, n/2)
				if err := errors.Join(f.err, writeNinja(dir, all)); err != nil {
					return err
				}
				if _, err := b.run(ctx, command{args: plan.args, check: planRuns(0, n)}); err != nil {
					return err
				}
			}
		}
		if err := files.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// planRuns is a check that a plan of n units runs so many of them.
func planRuns(runs, n int) func(string) error {
	if runs == 0 {
		return has(fmt.Sprintf("Nothing to do: all %d units are up to date.", n))
	}
	return func(out string) error {
		return errors.Join(has(fmt.Sprintf("\nPlan: %d to run ", runs))(out), has(fmt.Sprintf("; %d unchanged.", n-runs))(out))
	}
}

// deploy makes a system that is deployed as it is written, for tenon and for ninja.
func (b *bench) deploy(ctx context.Context, dir string, all []*entity) error {
	if err := errors.Join(writeSystem(dir, all), writeNinja(dir, all)); err != nil {
		return err
	}
	if _, err := b.run(ctx, command{dir: dir, args: []string{b.ninja}, check: ninjaRuns(len(all))}); err != nil {
		return err
	}
	if len(all) <= b.applied {
		_, err := b.run(ctx, command{args: []string{b.tenon, "apply", "--yes", dir}, check: has(fmt.Sprintf(": %d ran.", len(all)))})
		return err
	}
	s, err := b.run(ctx, command{args: []string{b.tenon, "compile", "--json", dir}})
	if err != nil {
		return err
	}
	var sys ir.System
	if err := json.Unmarshal([]byte(s.out), &sys); err != nil {
		return fmt.Errorf("read the system in %s: %w", filepath.Base(dir), err)
	}
	return writeState(ctx, dir, sys.Name, unitsOf(&sys, all))
}

// unitsOf are the units of the entities, in their order.
func unitsOf(sys *ir.System, all []*entity) []*ir.Unit {
	byID := make(map[string]*ir.Unit, len(sys.Units))
	for i := range sys.Units {
		byID[sys.Units[i].ID] = &sys.Units[i]
	}
	units := make([]*ir.Unit, len(all))
	for i, e := range all {
		units[i] = byID[e.id()]
	}
	return units
}
