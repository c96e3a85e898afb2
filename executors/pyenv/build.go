package pyenv

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// A build makes one environment in a folder that it has locked.
//
// Concurrent builds take turns in each stage, so that a package that two of them need is
// downloaded once and compiled once: while one compiles, the next one fetches.
type build struct {
	env  *Env
	dir  string
	in   *interpreter
	held *os.File // the lock of the folder

	report func(Progress)
	at     Progress
}

// Files in the root of the cache that a build locks while it fetches and while it
// compiles.
const (
	fetchTurn   = "fetch.lock"
	compileTurn = "compile.lock"
)

func (b *build) run(ctx context.Context, lockText []byte) error {
	if err := os.RemoveAll(b.dir); err != nil {
		return err
	}
	if err := b.turn(ctx, fetchTurn, func(turn *os.File) error { return b.fetch(ctx, turn, lockText) }); err != nil {
		return err
	}
	return b.turn(ctx, compileTurn, func(turn *os.File) error {
		if err := b.share(ctx); err != nil {
			return err
		}
		if err := b.compile(ctx, turn); err != nil {
			return err
		}
		// From now on others can share files with this environment.
		return files.Write(filepath.Join(b.dir, marker), []byte(b.in.String()+"\n"), 0o600)
	})
}

// turn calls f while the build holds a lock file that all builds share.
func (b *build) turn(ctx context.Context, name string, f func(turn *os.File) error) error {
	turn, err := files.Lock(ctx, filepath.Join(b.env.opts.Dir, name))
	if err != nil {
		return err
	}
	defer turn.Close()
	return f(turn)
}

// fetch installs the packages. Their files are hard links into uv's cache if that is on
// the same file system.
func (b *build) fetch(ctx context.Context, turn *os.File, lockText []byte) error {
	held := []*os.File{b.held, turn}
	b.at.Stage = Fetching
	b.report(b.at)
	if _, err := b.env.uv(ctx, uvRun{held: held}, "venv", "--no-project", "--python", b.in.Path, b.dir); err != nil {
		return err
	}
	path := filepath.Join(b.dir, "requirements.txt")
	if err := os.WriteFile(path, lockText, 0o644); err != nil {
		return err
	}
	said := reader{at: &b.at, sizes: map[string]int64{}}
	_, err := b.env.uv(ctx, uvRun{held: held, line: func(line string) {
		if said.read(line) {
			b.report(b.at)
		}
	}}, "pip", "sync", "--require-hashes", "--allow-empty-requirements", "--link-mode", "hardlink",
		"--python", filepath.Join(b.dir, "bin", "python"), path)
	return err
}

// A reader parses what uv prints about packages. It only affects progress reports.
type reader struct {
	at    *Progress
	sizes map[string]int64 // of current downloads, by package
}

var (
	resolved    = lazyregexp.New(`^Resolved (\d+) packages? `)
	downloading = lazyregexp.New(`^Downloading (\S+) \(([\d.]+)([KMGT]?i?B)\)$`)
	downloaded  = lazyregexp.New(`^ *Downloaded (\S+)$`)
)

// read reports whether the line changed the progress.
func (r reader) read(line string) bool {
	if m := resolved.FindStringSubmatch(line); m != nil {
		r.at.Packages, _ = strconv.Atoi(m[1])
		return true
	}
	if m := downloading.FindStringSubmatch(line); m != nil {
		n, _ := strconv.ParseFloat(m[2], 64)
		r.sizes[m[1]] = int64(n * units[strings.TrimSuffix(m[3], "iB")])
		r.at.Total += r.sizes[m[1]]
		return true
	}
	if m := downloaded.FindStringSubmatch(line); m != nil {
		r.at.Bytes += r.sizes[m[1]]
		delete(r.sizes, m[1])
		return true
	}
	return false
}

var units = map[string]float64{"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

//go:embed precompile.py
var precompile string

// compile compiles what no other environment has compiled. It skips a module that cannot
// be compiled, which may be meant for another version of Python.
func (b *build) compile(ctx context.Context, turn *os.File) error {
	b.at.Stage = Compiling
	cmd := command(ctx, []*os.File{b.held, turn}, filepath.Join(b.dir, "bin", "python"), "-I", "-W", "ignore", "-c", precompile, sitePackages(b.dir))
	cmd.Env = []string{"LC_ALL=C.UTF-8"}
	var said strings.Builder
	last := time.Time{}
	cmd.Stderr, cmd.Stdout = &said, &lines{to: func(line string) {
		_, _ = fmt.Sscan(line, &b.at.Files, &b.at.AllFiles)
		if b.at.Files == b.at.AllFiles || time.Since(last) > 200*time.Millisecond {
			last = time.Now()
			b.report(b.at)
		}
	}}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("compile to bytecode: %w: %s", err, explain(said.String()))
	}
	return nil
}

// sitePackages returns the folder of an environment's packages.
func sitePackages(dir string) string {
	found, _ := filepath.Glob(filepath.Join(dir, "lib", "python*", "site-packages"))
	if len(found) == 0 {
		return filepath.Join(dir, "lib", "site-packages")
	}
	return found[0]
}
