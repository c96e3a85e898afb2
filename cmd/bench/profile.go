package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	module          = "github.com/tenon-ml/tenon/"
	tenonPackage    = module + "cmd/tenon"
	profileTime     = 2 * time.Second // of CPU, that a profile should be taken from
	profileRuns     = 100             // at most
	profileEntries  = 8
	profileVariable = "TENON_BENCH_PROFILE"
)

//go:embed profiled.go.txt
var profiledMain string

// add adds a row. If it misses a goal, its command is run once more under a
// profile.
func (b *bench) add(ctx context.Context, r tableRow, c command) (err error) {
	if r.missed() {
		if r.Profile, err = b.profile(ctx, c); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
	}
	b.rows = append(b.rows, r)
	return nil
}

// profile runs a command of tenon with a main function that writes a profile,
// and returns the top entries: tenon's own functions, each with what it spends
// in libraries and in the kernel. Short ones are run until there is something
// to see.
func (b *bench) profile(ctx context.Context, c command) (string, error) {
	fmt.Fprintln(b.progress, "  a goal is missed: again, with a profile ...")
	if c.args[0] == b.tenon {
		if err := b.buildProfiled(ctx); err != nil {
			return "", err
		}
		c.args = slices.Concat([]string{b.profiled}, c.args[1:])
	}
	top := []string{"tool", "pprof", "-top", "-nodecount=" + strconv.Itoa(profileEntries), "-show=^" + module + "|^main\\.", c.args[0]}
	if c.warm {
		c.env = []string{profileVariable + "=" + b.path("profile")}
		if _, err := b.run(ctx, c); err != nil {
			return "", err
		}
	}
	for cpu, i := time.Duration(0), 0; cpu < profileTime && i < profileRuns; i++ {
		file := b.path(fmt.Sprintf("profile-%d", i))
		c.env = []string{profileVariable + "=" + file}
		s, err := b.run(ctx, c)
		if err != nil {
			return "", err
		}
		cpu += s.cpu
		top = append(top, file)
	}
	out, err := goTool(ctx, top...)
	if err != nil {
		return "", err
	}
	return entries(out), nil
}

// entries takes the table out of what pprof prints, and how much of the time
// there is a profile of: a process that waits has none.
func entries(out string) string {
	var kept []string
	for line := range strings.Lines(strings.ReplaceAll(out, module, "")) {
		if len(kept) > 1 || strings.HasPrefix(line, "Duration:") || strings.HasPrefix(strings.TrimSpace(line), "flat ") {
			kept = append(kept, strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(kept, "\n")
}

// buildProfiled builds a tenon that differs in its main function.
func (b *bench) buildProfiled(ctx context.Context) error {
	if b.profiled != "" {
		return nil
	}
	dir, err := goTool(ctx, "list", "-f", "{{.Dir}}", tenonPackage)
	if err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(strings.TrimSpace(dir), "main.go"): b.path("main.go"),
	}})
	if err != nil {
		return err
	}
	f := &folder{dir: b.dir}
	f.write("main.go", profiledMain)
	f.write("overlay.json", string(overlay))
	if f.err != nil {
		return f.err
	}
	path := b.path("tenon-profiled")
	if _, err := goTool(ctx, "build", "-overlay", b.path("overlay.json"), "-o", path, tenonPackage); err != nil {
		return err
	}
	b.profiled = path
	return nil
}

func goTool(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, said.String())
	}
	return string(out), nil
}
