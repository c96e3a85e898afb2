package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
)

// promoteGoal is what a promotion of 1,000 units may take.
const promoteGoal = time.Second

// measurePromotion measures the promotion of a deployed environment to one in which nothing
// was applied yet: every result is taken over, and nothing runs.
func (b *bench) measurePromotion(ctx context.Context) error {
	const name, n, runs = "promote an environment", 1000, 5
	if !b.wants(name, n) {
		return nil
	}
	b.say(name, n)
	dir := b.path("promote")
	all := entities(n)
	if err := b.deploy(ctx, dir, all); err != nil {
		return err
	}
	var declared strings.Builder
	declared.WriteString("package bench\n\nenvironments: dev: {}\n")
	for i := range runs {
		fmt.Fprintf(&declared, "environments: %s: {}\n", target(i))
	}
	f := &folder{dir: dir}
	if f.write("environments.cue", declared.String()); f.err != nil {
		return f.err
	}
	reused := has(fmt.Sprintf(": %d reused.", n))
	if _, err := b.run(ctx, command{dir: dir, args: []string{b.tenon, "apply", "-e", "dev", "--yes"}, check: reused}); err != nil {
		return err
	}
	promote := func(i int) command {
		return command{dir: dir, args: []string{b.tenon, "promote", "dev", target(i), "--yes"}, check: func(out string) error {
			return errors.Join(has(fmt.Sprintf("to %s: 0 to run", target(i)))(out), reused(out))
		}}
	}
	var plans, samples []sample
	for i := range runs {
		// The sources were compiled for a plan before, as a review of the promotion does.
		plan, err := b.run(ctx, command{dir: dir, args: []string{b.tenon, "plan", "-e", target(i)}})
		if err != nil {
			return err
		}
		s, err := b.run(ctx, promote(i))
		if err != nil {
			return err
		}
		plans, samples = append(plans, plan), append(samples, s)
	}
	took, plan := medians(samples), medians(plans)
	row := tableRow{Case: name, Size: n, Of: "units", Tenon: took, Beside: "its first plan", Other: &plan, Goals: []goal{wallGoal(took, promoteGoal)}}
	if err := b.add(ctx, row, command{dir: dir, args: []string{b.tenon, "plan", "-e", "dev"}}); err != nil {
		return err
	}
	return files.RemoveAll(dir)
}

func target(i int) string { return fmt.Sprintf("prod%d", i) }
