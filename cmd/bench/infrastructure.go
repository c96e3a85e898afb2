package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
)

// infrastructureGoal is what the infrastructure of 1,000 units may take, of a system that is compiled already.
const infrastructureGoal = time.Second

// measureInfrastructure measures what it takes to write the infrastructure of a system in AWS, beside the same compilation
// from the cache without it.
func (b *bench) measureInfrastructure(ctx context.Context) error {
	const name, n = "infrastructure", 1000
	if !b.wants(name, n) {
		return nil
	}
	b.say(name, n)
	dir, to := b.path("infrastructure"), b.path("terraform")
	if err := writeSystem(dir, entities(n)); err != nil {
		return err
	}
	f := &folder{dir: dir}
	f.write("target.cue", "package bench\n\nimport \"tenon.dev/tenon\"\n\ntarget: *\"local\" | string @tag(target)\ntargets: aws: tenon.#AWS & {region: \"eu-central-1\"}\n")
	if f.err != nil {
		return f.err
	}
	if err := os.MkdirAll(filepath.Join(dir, ".tenon"), 0o755); err != nil { // where compilations are cached
		return err
	}
	write := command{args: []string{b.tenon, "compile", "-t", "target=aws", "--format=terraform", "--out", to, dir}, check: has("bench on aws (aws): "),
		prepare: func() error { return files.RemoveAll(to) }}
	compile := command{args: []string{b.tenon, "compile", dir}, check: has(": 1000 units\n")}
	for _, c := range []command{write, compile} { // fills the cache
		if _, err := b.run(ctx, c); err != nil {
			return err
		}
	}
	tenon, other, err := b.versus(ctx, leastRuns(n), write, compile)
	if err != nil {
		return err
	}
	row := tableRow{Case: name, Size: n, Of: "units", Tenon: tenon, Beside: "tenon compile, cached", Other: &other, Goals: []goal{wallGoal(tenon, infrastructureGoal)}}
	if err := b.add(ctx, row, write); err != nil {
		return err
	}
	return files.RemoveAll(dir)
}
