package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/containerd"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/internal/test/containerdtest"
	"github.com/tenon-ml/tenon/planner/state"
)

const (
	containersArg   = "run-containers" // makes the program run containers, and nothing else
	containersRatio = 1.15
	containersRuns  = 5 // at least
	containersRow   = "/bin/true in a container"
)

// containers says what is run, and how.
type containers struct {
	Place  containerd.Place
	Runner string
	Images string // folder of the store
	Image  string // reference, by digest
	Dir    string // of the run folders
	N      int
	Side   int  // how many side by side
	Gone   bool // the container's removal counts
	Ctr    bool // ctr runs them, from the image of this name
	Name   string
}

// measureContainers measures a program that does nothing, in a container of our
// executor beside one of ctr: by the same containerd, with the same image,
// snapshotter and runtime. Ours is a library and ctr a program, so ctr's time holds
// its start; it also holds the removal of the container.
func (b *bench) measureContainers(ctx context.Context) (err error) {
	rows := []struct {
		name    string
		n, side int
		gone    bool
		goals   bool
	}{
		{containersRow + ", start to exit", 10, 1, false, true},
		{containersRow + ", start to removed", 10, 1, true, false},
		{containersRow + ", two at a time", b.containers, 2, true, true},
	}
	wanted := false
	for _, r := range rows {
		wanted = wanted || b.wants(r.name, r.n)
	}
	if !wanted {
		return nil
	}
	d, err := containerdtest.Start("/tmp")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	c, err := b.prepareContainers(ctx, d)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for i, r := range rows {
		if !b.wants(r.name, r.n) {
			continue
		}
		b.say(r.name, r.n)
		c.N, c.Side, c.Gone = r.n, r.side, r.gone
		batch := func(ctr bool) (command, error) {
			c.Ctr, c.Dir = ctr, b.path(fmt.Sprintf("containers-%d-%t", i, ctr))
			text, err := json.Marshal(c)
			return command{args: []string{self, containersArg, string(text)}, took: time.ParseDuration}, err
		}
		ours, err := batch(false)
		if err != nil {
			return err
		}
		theirs, err := batch(true)
		if err != nil {
			return err
		}
		if _, err := b.run(ctx, ours); err != nil { // so that containerd has the image
			return err
		}
		tenon, other, err := b.versus(ctx, containersRuns, ours, theirs)
		if err != nil {
			return err
		}
		row := tableRow{Case: r.name, Size: r.n, Of: "containers, for each", Tenon: tenon, Beside: "ctr run", Other: &other}
		if r.goals {
			row.Goals = []goal{ratioGoal(tenon, other, containersRatio)}
		}
		if err := b.add(ctx, row, ours); err != nil {
			return err
		}
	}
	return nil
}

// prepareContainers makes what containers are made from.
func (b *bench) prepareContainers(ctx context.Context, d *containerdtest.Daemon) (c containers, err error) {
	c = containers{
		Place:  containerd.Place{Address: d.Address, Namespace: d.Namespace, Snapshotter: containerd.DefaultSnapshotter},
		Runner: b.path("tenon-run"), Images: b.path("images"),
	}
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", c.Runner, "github.com/tenon-ml/tenon/cmd/tenon-run")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return c, fmt.Errorf("build tenon-run: %w\n%s", err, out)
	}
	tarball := b.path("true.tar")
	if err := writeImage(ctx, tarball, "/bin/true"); err != nil {
		return c, err
	}
	store := image.New(image.Options{Dir: c.Images})
	const ref = "localhost/true:1"
	if _, err := store.Import(ctx, tarball, ref); err != nil {
		return c, err
	}
	if c.Image, err = store.Pin(ctx, ref, false); err != nil {
		return c, err
	}
	built, err := store.Build(ctx, image.RecipeFor(trueTask(c, 0).Unit, c.Image, image.Parts{}))
	if err != nil {
		return c, err
	}
	digest, err := built.Digest()
	c.Name = containerd.ImageName(digest.String())
	return c, err
}

// writeImage writes a root file system with programs of this machine, and what they
// are linked with.
func writeImage(ctx context.Context, path string, programs ...string) error {
	linked, err := exec.CommandContext(ctx, "ldd", programs...).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", strings.Join(programs, " "), err)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	names := append(programs, regexp.MustCompile(`/\S+[^\s:]`).FindAllString(string(linked), -1)...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name[1:], Mode: 0o755, Size: int64(len(b))}); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), f.Close())
}

func trueTask(c containers, i int) executors.Task {
	name := fmt.Sprintf("steps-true-run-%d-%d", os.Getpid(), i)
	return executors.Task{
		Unit: ir.Unit{ID: "steps/true/run", Entity: "steps/true", Kind: ir.Job, Component: "command",
			Code: ir.Code{Runtime: ir.Command, Image: c.Image, Command: []string{"/bin/true"}}},
		Key: strconv.Itoa(i), Name: name, Image: c.Image, Dir: filepath.Join(c.Dir, name),
	}
}

// runContainers runs the containers and prints how long one took: the whole time,
// by their number.
func runContainers(ctx context.Context, text string, out io.Writer) (err error) {
	var c containers
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	e := containerd.New(containerd.Options{Place: c.Place, Runner: c.Runner, Build: image.New(image.Options{Dir: c.Images}).Build})
	defer func() { err = errors.Join(err, e.Close()) }()
	one := func(i int) error { return c.ctr(ctx, i) }
	var mu sync.Mutex
	var ended []state.Handle
	if !c.Ctr {
		one = func(i int) error {
			t := trueTask(c, i)
			if err := os.MkdirAll(t.Dir, 0o755); err != nil {
				return err
			}
			h, err := e.Apply(ctx, t, nil)
			if err != nil {
				return err
			}
			st, err := e.Wait(ctx, h)
			if err == nil && st.Phase != state.Succeeded {
				err = errors.New(st.Message)
			}
			if err == nil && c.Gone {
				return e.Destroy(ctx, h)
			}
			mu.Lock()
			defer mu.Unlock()
			ended = append(ended, h)
			return err
		}
	}
	stop, err := profileSelf()
	if err != nil {
		return err
	}
	defer stop()
	began := time.Now()
	err = sideBySide(c.N, c.Side, one)
	took := time.Since(began) / time.Duration(c.N)
	for _, h := range ended {
		err = errors.Join(err, e.Destroy(ctx, h))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(out, took)
	return err
}

func (c containers) ctr(ctx context.Context, i int) error {
	cmd := exec.CommandContext(ctx, "ctr", "--address", c.Place.Address, "--namespace", c.Place.Namespace, "run", "--rm", "--null-io",
		"--snapshotter", c.Place.Snapshotter, c.Name, fmt.Sprintf("true-%d-%d", os.Getpid(), i), "/bin/true")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ctr run: %w\n%s", err, out)
	}
	return nil
}

// sideBySide calls do for the numbers below n, so many at a time.
func sideBySide(n, side int, do func(i int) error) error {
	numbers := make(chan int)
	errs := make(chan error, side)
	for range side {
		go func() {
			var err error
			for i := range numbers {
				if err == nil {
					err = do(i)
				}
			}
			errs <- err
		}()
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	var err error
	for range side {
		err = errors.Join(err, <-errs)
	}
	return err
}
