package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
)

// Beyond what cue takes, a compilation may take a quarter of that, and this long to analyse
// a query.
const (
	compileRatio = 1.25
	perQuery     = time.Millisecond
)

// memoryRatio is how much memory an entity may take, compared with cue.
const memoryRatio = 1.2

// measureCompile compares a cold compile with `cue vet -c` of the same files.
func (b *bench) measureCompile(ctx context.Context) error {
	const name = "compile"
	checked := false
	var smaller *tableRow
	for _, n := range b.compile {
		if !b.wants(name, n) {
			continue
		}
		b.say(name, n)
		dir := b.path(fmt.Sprintf("compile-%d", n))
		if err := writeSystem(dir, entities(n)); err != nil {
			return err
		}
		compile := command{args: []string{b.tenon, "compile", dir}, check: has(fmt.Sprintf(": %d units\n", n)),
			prepare: func() error { return b.forget(dir) }}
		vet := command{dir: dir, args: []string{b.cue, "vet", "-c", "."}, check: silent}
		if !checked {
			if err := b.wantsFault(ctx, dir, compile, vet); err != nil {
				return err
			}
			checked = true
		}
		tenon, other, err := b.versus(ctx, leastRuns(n), compile, vet)
		if err != nil {
			return err
		}
		row := tableRow{Case: name, Size: n, Of: "entities", Tenon: tenon, Beside: "cue vet -c", Other: &other, Goals: []goal{compileGoal(tenon, other, queries(entities(n)))}}
		if smaller != nil {
			row.Goals = append(row.Goals, memoryGoal(*smaller, row))
		}
		smaller = &row
		if err := b.add(ctx, row, compile); err != nil {
			return err
		}
		if err := files.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

func compileGoal(m, other timing, queries int) goal {
	limit := time.Duration(compileRatio*float64(other.Wall)) + time.Duration(queries)*perQuery
	return goal{
		Want: fmt.Sprintf("at most %s and %s for each of %d queries", times(compileRatio), short(perQuery), queries),
		Got:  short(m.Wall) + " of " + short(limit), Met: m.Wall <= limit,
	}
}

// memoryGoal compares what each entity adds to the peak of tenon and of cue, between
// systems of two sizes.
func memoryGoal(small, large tableRow) goal {
	got := float64(large.Tenon.Peak-small.Tenon.Peak) / float64(max(1, large.Other.Peak-small.Other.Peak))
	return goal{Want: "at most " + times(memoryRatio) + " the memory of an entity", Got: times(got) + " the memory", Met: got <= memoryRatio}
}

// queries counts the entities with a query.
func queries(all []*entity) (n int) {
	for _, e := range all {
		if len(e.reads) > 0 {
			n++
		}
	}
	return n
}

// forget removes everything that tenon may have cached of earlier compilations.
func (b *bench) forget(dir string) error {
	return errors.Join(files.RemoveAll(filepath.Join(dir, ".tenon")), files.RemoveAll(b.path("cache")))
}

// wantsFault makes sure that the commands look at all entities: with a fault in
// one of them, they have to fail.
func (b *bench) wantsFault(ctx context.Context, dir string, commands ...command) error {
	fault := filepath.Join(dir, "fault.cue")
	if err := os.WriteFile(fault, []byte("package bench\n\nsources: t00000: schema: amount: min: \"none\"\n"), 0o644); err != nil {
		return err
	}
	for _, c := range commands {
		_, err := b.run(ctx, c)
		if f := (*failure)(nil); !errors.As(err, &f) || has("min")(f.output) != nil {
			return fmt.Errorf("%v takes a system with a fault: %w", c.args, err)
		}
	}
	return os.Remove(fault)
}
