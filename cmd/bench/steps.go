package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
)

const (
	stepCost = 3 * time.Millisecond // all in all
	stepFlat = 1.25                 // times what a step takes among fewer
	stepRuns = 3                    // at least
)

// measureSteps measures applies of steps that do next to nothing, and ninja with
// the same commands. Both run two at once, and begin from nothing.
func (b *bench) measureSteps(ctx context.Context) error {
	const name = "apply trivial steps"
	var few time.Duration // what a step takes among the fewest
	for _, n := range b.steps {
		if !b.wants(name, n) {
			continue
		}
		b.say(name, n)
		dir := b.path(fmt.Sprintf("steps-%d", n))
		if err := writeSteps(dir, n); err != nil {
			return err
		}
		apply := command{args: []string{b.tenon, "apply", "--yes", dir}, check: has(fmt.Sprintf(": %d ran.", n)),
			prepare: func() error { return b.setAside(filepath.Join(dir, ".tenon")) }}
		ninja := command{dir: dir, args: []string{b.ninja, "-j2"}, check: ninjaRuns(n),
			prepare: func() error {
				return errors.Join(b.setAside(filepath.Join(dir, "out")), files.RemoveAll(filepath.Join(dir, ".ninja_log")))
			}}
		tenon, other, err := b.versus(ctx, stepRuns, apply, ninja)
		if err != nil {
			return err
		}
		each := tenon.Wall / time.Duration(n)
		goals := []goal{{
			Want: "at most " + short(stepCost) + " a step", Met: each <= stepCost,
			Got: fmt.Sprintf("%s a step, %s with ninja", short(each), short(other.Wall/time.Duration(n))),
		}}
		if few > 0 {
			goals = append(goals, goal{
				Want: fmt.Sprintf("at most %.3g× a step of %d", stepFlat, b.steps[0]), Met: float64(each) <= stepFlat*float64(few),
				Got: fmt.Sprintf("%.2f×", float64(each)/float64(few)),
			})
		} else {
			few = each
		}
		row := tableRow{Case: name, Size: n, Of: "steps", Tenon: tenon, Beside: "ninja -j2", Other: &other, Goals: goals}
		if err := b.add(ctx, row, apply); err != nil {
			return err
		}
	}
	return nil
}

// setAside moves away what an earlier run made. It is removed in the end, with all
// else: ext4 takes minutes until it forgets what was removed, and until then makes
// new files the more slowly the more there were.
func (b *bench) setAside(path string) error {
	aside, err := os.MkdirTemp(b.dir, "aside-")
	if err != nil {
		return err
	}
	err = os.Rename(path, filepath.Join(aside, "old"))
	if errors.Is(err, fs.ErrNotExist) {
		return os.Remove(aside)
	}
	return err
}

// writeSteps writes n steps that each write a number to a file, and the same for
// ninja. A step of tenon finds its output beside the document, because to read that
// byte by byte, as a shell does, would take longer than all else.
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
	command: ["sh", "-c", #"echo %d >"${TENON_STEP%%step.json}out/number""#]
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
