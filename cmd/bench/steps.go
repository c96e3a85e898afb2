package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
)

const (
	stepCost = 5 * time.Millisecond // more than ninja takes
	stepRuns = 3                    // at least
)

// measureSteps measures an apply of steps that do next to nothing beside ninja
// with the same commands. Both run two at once, and begin from nothing.
func (b *bench) measureSteps(ctx context.Context) error {
	const name = "apply trivial steps"
	n := b.steps
	if !b.wants(name, n) {
		return nil
	}
	b.say(name, n)
	dir := b.path("steps")
	if err := writeSteps(dir, n); err != nil {
		return err
	}
	apply := command{args: []string{b.tenon, "apply", "--yes", dir}, check: has(fmt.Sprintf(": %d ran.", n)),
		prepare: func() error { return b.forget(dir) }}
	ninja := command{dir: dir, args: []string{b.ninja, "-j2"}, check: ninjaRuns(n),
		prepare: func() error {
			return errors.Join(files.RemoveAll(filepath.Join(dir, "out")), files.RemoveAll(filepath.Join(dir, ".ninja_log")))
		}}
	tenon, other, err := b.versus(ctx, stepRuns, apply, ninja)
	if err != nil {
		return err
	}
	more := (tenon.Wall - other.Wall) / time.Duration(n)
	row := Row{Case: name, Size: n, Of: "steps", Tenon: tenon, Beside: "ninja -j2", Other: &other, Goals: []Goal{{
		Want: "at most " + short(stepCost) + " more a step", Got: short(more) + " more a step", Met: more <= stepCost,
	}}}
	return b.add(ctx, row, apply)
}

// writeSteps writes n steps that each write a number to a file, and the same for
// ninja. A step of tenon finds out from its document which file that is.
func writeSteps(dir string, n int) error {
	var cue, graph strings.Builder
	cue.WriteString(`package bench

import (
	"tenon.dev/step"
	"tenon.dev/tenon"
)

tenon.#System
name: "steps"

resources: two: tenon.#Pool & {cpu: 2, memory: "1GiB"}
`)
	graph.WriteString("rule step\n  command = echo $number >$out\n")
	for i := range n {
		fmt.Fprintf(&cue, `
steps: s%05d: step.#Command & {
	command: ["sh", "-c", #"read -r d <"$TENON_STEP"; d=${d#*'"path":"'}; echo %d >"${d%%%%'"'*}""#]
	outputs: number: kind: "file"
	needs: {cpu: 1, pool: "two"}
}
`, i, i)
		fmt.Fprintf(&graph, "build out/s%05d: step\n  number = %d\n", i, i)
	}
	f := &folder{dir: dir}
	f.module()
	f.write("steps.cue", cue.String())
	f.write("build.ninja", graph.String())
	return f.err
}
