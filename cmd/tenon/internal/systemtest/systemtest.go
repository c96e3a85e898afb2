package systemtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Folder contains the tests of a system.
const Folder = "tests"

// Options say what to test, and how to compile and print.
type Options struct {
	Dir  string         // the system's folder
	Only *regexp.Regexp // run the tests with such a name; nil runs all
	Full bool           // differences show all lines, not only those around

	// Compile compiles the system in a folder and writes nothing. What is wrong
	// with it comes as text. An edited system may ask for packages that are not
	// locked.
	Compile func(ctx context.Context, dir string, tags []string, edited bool) (r *compiler.Result, faults string, err error)
	// Plan prints a plan.
	Plan func(*planner.Plan) (string, error)
	// SQL runs the queries of features.
	SQL duck.Engine
	// Python runs features in Python.
	Python RunFunc
	// Revision returns the system as a revision applied it.
	Revision func(ctx context.Context, number int) (*ir.System, error)
	// Waiting is called for a test that takes long. It may be nil.
	Waiting func(file string)
}

// A RunFunc runs a unit on Parquet files, by input port, with an empty folder to work in,
// and returns the path of its output. blobs hold its code. What the program says when it
// fails is a [ProgramError].
type RunFunc func(ctx context.Context, u ir.Unit, blobs map[string][]byte, tables map[string]string, work string) (table string, err error)

// A ProgramError is what a program said when it failed.
type ProgramError struct{ Text string }

func (e *ProgramError) Error() string { return e.Text }

// A Result is how one test came out.
type Result struct {
	Name     string        `json:"name"`
	File     string        `json:"file"`            // relative to the system
	About    string        `json:"about,omitempty"` // what it specifies
	Took     time.Duration `json:"took_ns"`
	Failures []Failure     `json:"failures,omitempty"`
	// Updated is the archive with goldens as things are now. It is nil where
	// that would not make the test pass.
	Updated []byte `json:"-"`
}

// A Failure is one thing that is not as a test expects.
type Failure struct {
	Line    int    `json:"line,omitempty"` // in the test
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"` // lines to show below: a difference, faults

	golden string // the section that differs
	now    string // and what it would be
}

// ErrNone is returned where a system has no tests.
var ErrNone = errors.New("no tests")

// Run runs the tests side by side and reports them in the order of their names.
func Run(ctx context.Context, o Options, report func(Result)) error {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return fmt.Errorf("find the system: %w", err)
	}
	o.Dir = dir
	files, err := find(o)
	if err != nil {
		return err
	}
	r := &runner{Options: o, compiled: map[string]func() compiled{}}
	if r.root, err = moduleRoot(dir); err != nil {
		return err
	}
	results := make([]chan Result, len(files))
	for i := range results {
		results[i] = make(chan Result, 1)
	}
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	go func() {
		for i, file := range files {
			slots <- struct{}{}
			go func() {
				results[i] <- r.test(ctx, file)
				<-slots
			}()
		}
	}()
	for i, file := range files {
		res := r.await(results[i], file)
		if ctx.Err() == nil {
			report(res)
		}
	}
	return context.Cause(ctx)
}

// slow is how long nothing is said of a test that others wait for.
const slow = 2 * time.Second

func (r *runner) await(result <-chan Result, file string) Result {
	if r.Waiting == nil {
		return <-result
	}
	select {
	case res := <-result:
		return res
	case <-time.After(slow):
		r.Waiting(file)
		return <-result
	}
}

// find lists the files of the tests, and those that look like one and are not.
func find(o Options) ([]string, error) {
	if info, err := os.Stat(o.Dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("no such folder: %s", o.Dir)
	}
	entries, err := os.ReadDir(filepath.Join(o.Dir, Folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("look for tests: %w", err)
	}
	var files []string
	tests := 0
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		// The tests of Python code, and what they read, may be in the same folder.
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || ext == ".py" || ext == ".md" {
			continue
		}
		if ext == ".txtar" {
			tests++
		}
		if o.Only == nil || o.Only.MatchString(strings.TrimSuffix(e.Name(), ".txtar")) {
			files = append(files, e.Name())
		}
	}
	switch {
	case tests == 0 && len(files) == 0:
		return nil, ErrNone
	case len(files) == 0:
		return nil, fmt.Errorf("none of %d tests matches %q", tests, o.Only)
	}
	return files, nil
}

// A runner runs the tests of one system.
type runner struct {
	Options
	root string // of its module

	mu       sync.Mutex
	compiled map[string]func() compiled // as it is declared, by tags
}

type compiled struct {
	sys    *ir.System
	blobs  map[string][]byte // code and locks, by digest
	faults string
	err    error
}

// declared is the system without edits. All tests share it.
func (r *runner) declared(ctx context.Context, tags []string) compiled {
	key := strings.Join(tags, "\n")
	r.mu.Lock()
	once, ok := r.compiled[key]
	if !ok {
		once = sync.OnceValue(func() compiled { return r.compile(ctx, r.Dir, r.root, tags, false) })
		r.compiled[key] = once
	}
	r.mu.Unlock()
	return once()
}

// compile compiles the system in dir. Files of its module beside it are named
// by their path in the module, wherever it is.
func (r *runner) compile(ctx context.Context, dir, root string, tags []string, edited bool) compiled {
	result, faults, err := r.Compile(ctx, dir, tags, edited)
	c := compiled{faults: strings.ReplaceAll(faults, root+string(filepath.Separator), ""), err: err}
	if result != nil {
		c.sys, c.blobs = result.System, result.Blobs
	}
	return c
}

// test runs one test.
func (r *runner) test(ctx context.Context, name string) Result {
	began := time.Now()
	t := &test{runner: r, res: Result{Name: strings.TrimSuffix(name, ".txtar"), File: Folder + "/" + name}}
	defer func() { _ = os.RemoveAll(t.temp) }()
	t.run(ctx)
	t.res.Took = time.Since(began) - t.shared
	t.res.Updated = t.archive.with(t.res.Failures)
	return t.res
}

// A test is one that runs.
type test struct {
	*runner
	archive archive
	head    head
	shared  time.Duration // spent on what other tests need as well
	temp    string        // contains the copy of the system, if there is one
	res     Result
}

func (t *test) fail(line int, format string, args ...any) {
	t.failure(Failure{Line: line, Message: fmt.Sprintf(format, args...)})
}

func (t *test) failure(f Failure) { t.res.Failures = append(t.res.Failures, f) }

func (t *test) run(ctx context.Context) {
	if filepath.Ext(t.res.File) != ".txtar" {
		t.fail(0, "not run: the names of tests end in .txtar")
		return
	}
	b, err := os.ReadFile(filepath.Join(t.Dir, filepath.FromSlash(t.res.File)))
	if err != nil {
		t.fail(0, "it cannot be read: %v", err)
		return
	}
	var faults []Failure
	t.archive = parseArchive(b)
	t.head, faults = parseHead(t.archive.comment)
	t.res.About = t.head.about
	t.res.Failures = append(faults, t.archive.faults()...)
	if len(t.res.Failures) > 0 {
		return
	}
	before := t.declaredFor(ctx)
	c := before
	if t.head.edited() {
		if c = t.edited(ctx, before.sys); len(t.res.Failures) > 0 {
			return
		}
	}
	if t.compiles(c) {
		t.expectIR(c.sys)
		t.expectPlan(ctx, before, c.sys)
		t.expectFeature(ctx, c)
	}
	t.orphans()
}

// declaredFor is the system without this test's edits.
func (t *test) declaredFor(ctx context.Context) compiled {
	began := time.Now()
	defer func() { t.shared = time.Since(began) }()
	return t.declared(ctx, t.head.tags)
}

// compiles compares the result of the compiler with the expected one.
func (t *test) compiles(c compiled) bool {
	expected := t.head.errors != nil && t.head.feature == nil
	switch {
	case c.err != nil:
		t.fail(0, "%v", c.err)
	case expected && c.faults == "":
		t.archive.use("errors")
		t.fail(t.head.errors.line, "the system compiles, but errors are expected")
		return false
	case expected:
		t.golden(t.head.errors, "errors", c.faults)
		return false
	case c.faults != "":
		t.failure(Failure{Message: "the system does not compile", Detail: c.faults})
	default:
		return true
	}
	t.archive.useAll() // it is unknown which are inputs
	return false
}

// golden compares a section with what it should be.
func (t *test) golden(d *directive, name, now string) {
	s := t.archive.use(name)
	if s == nil {
		t.failure(missing(d, name, now))
		return
	}
	if first, diff := difference(lines(s.body()), lines(now), t.Full); diff != "" {
		t.failure(Failure{Line: s.line + 1 + first, Message: name + " is not as expected (-want +got)", Detail: diff, golden: name, now: now})
	}
}

func missing(d *directive, name, now string) Failure {
	return Failure{Line: d.line, Message: fmt.Sprintf("section -- %s -- is missing; use --update to write it", name), golden: name, now: now}
}

// orphans fails the test for sections that no directive names: they would look
// as if they were compared.
func (t *test) orphans() {
	for _, s := range t.archive.sections {
		if s.used {
			continue
		}
		t.fail(s.line, "section -- %s -- is unused: %s", s.name, t.head.uses(s.name))
	}
}
