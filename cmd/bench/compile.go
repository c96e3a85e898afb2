package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/internal/files"
)

// measureCompile measures a cold compile beside `cue vet -c` of the same files.
func (b *bench) measureCompile(ctx context.Context) error {
	const name = "compile"
	checked := false
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
		row := Row{Case: name, Size: n, Of: "entities", Tenon: tenon, Beside: "cue vet -c", Other: &other, Goals: []Goal{ratioGoal(tenon, other, 1.25)}}
		if err := b.add(ctx, row, compile); err != nil {
			return err
		}
		if err := files.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
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
