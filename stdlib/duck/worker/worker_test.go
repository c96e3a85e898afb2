package worker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/duck/worker"
)

// orphanVar makes the test binary a program that asks for the preview of this file
// and never ends.
const orphanVar = "TENON_TEST_ORPHAN"

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "serve":
		if err := worker.Serve(os.Stdin, os.Stdout, &slow{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case os.Getenv(orphanVar) != "":
		_, _ = worker.New(self()).Preview(context.Background(), os.Getenv(orphanVar), 1)
	default:
		os.Exit(m.Run())
	}
}

// slow is DuckDB, with two exceptions. The preview of a file that ends in .slow waits
// until it is cancelled, and then makes that file. To verify "die" ends the process.
type slow struct{ engine.Engine }

func (s *slow) Preview(ctx context.Context, path string, n int) (duck.Preview, error) {
	if filepath.Ext(path) != ".slow" {
		return s.Engine.Preview(ctx, path, n)
	}
	// It is there with its content, or not at all.
	if err := errors.Join(os.WriteFile(path+".part", fmt.Append(nil, os.Getpid()), 0o644), os.Rename(path+".part", path+".started")); err != nil {
		return duck.Preview{}, err
	}
	<-ctx.Done()
	return duck.Preview{}, os.WriteFile(path, nil, 0o644)
}

func (s *slow) Verify(ctx context.Context, path string, schema ir.Schema, keys []string, refs []duck.Reference) ([]duck.Violation, int64, error) {
	if path == "die" {
		fmt.Fprintln(os.Stderr, "out of luck")
		os.Exit(3)
	}
	return s.Engine.Verify(ctx, path, schema, nil, refs)
}

func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

func newClient(t *testing.T) *worker.Client {
	c := worker.New(self())
	t.Cleanup(c.Close)
	return c
}

// await waits for a file, and returns what is in it.
func await(t *testing.T, path string) string {
	t.Helper()
	for range 500 {
		if b, err := os.ReadFile(path); err == nil {
			return string(b)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("there is no %s", filepath.Base(path))
	return ""
}

var people = ir.Schema{{Name: "id", Type: "int64", Unique: true}, {Name: "day", Type: "date", Nullable: true}}

func text(s string) *string { return &s }

// What the process answers is what DuckDB answers, to every question.
func TestAnswersAreThoseOfDuckDB(t *testing.T) {
	ctx, dir, here, there := t.Context(), t.TempDir(), new(engine.Engine), newClient(t)
	csv, table := filepath.Join(dir, "p.csv"), filepath.Join(dir, "p.parquet")
	if err := os.WriteFile(csv, []byte("id,day\n1,2024-01-01\n2,\n2,\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Ingest(ctx, duck.Source{Files: []string{csv}}, people, table, engine.Limits{}); err != nil {
		t.Fatal(err)
	}
	rows := duck.Rows{Columns: []string{"id", "day"}, Values: [][]*string{{text("01"), text("2024-1-1")}, {text("2"), nil}}}
	wrong := duck.Rows{Columns: []string{"id"}, Values: [][]*string{{text("x")}}}
	tables := map[string]ir.Schema{"a": people, "b": people}
	out := duck.Table{Schema: people, OrderBy: []string{"id"}}
	for name, ask := range map[string]func(duck.Engine) (any, error){
		"describe": func(e duck.Engine) (any, error) {
			return e.Describe(ctx, tables, "SELECT a.id, b.day FROM a JOIN b ON a.id = b.day")
		},
		"bound":          func(e duck.Engine) (any, error) { return e.Bind(ctx, tables, "SELECT id + 1 AS x FROM a") },
		"not bound":      func(e duck.Engine) (any, error) { return e.Bind(ctx, tables, "SELECT idd FROM a") },
		"syntax":         func(e duck.Engine) (any, error) { return e.Describe(ctx, tables, "SELECT id FRM a") },
		"unknown column": func(e duck.Engine) (any, error) { return e.Describe(ctx, tables, "SELECT idd FROM a") },
		"evaluate": func(e duck.Engine) (any, error) {
			return e.Evaluate(ctx, "FROM a", map[string]duck.Literal{"a": {Schema: people, Rows: rows}}, out)
		},
		"evaluate badly": func(e duck.Engine) (any, error) {
			return e.Evaluate(ctx, "FROM a", map[string]duck.Literal{"a": {Schema: people, Rows: wrong}}, out)
		},
		"run time": func(e duck.Engine) (any, error) {
			return e.Evaluate(ctx, "SELECT error('no') AS id, day FROM a", map[string]duck.Literal{"a": {Schema: people, Rows: rows}}, out)
		},
		"typed": func(e duck.Engine) (any, error) { return e.Typed(ctx, rows, people) },
		"verify": func(e duck.Engine) (any, error) {
			v, n, err := e.Verify(ctx, table, people, nil, nil)
			return fmt.Sprint(v, n), err
		},
		"verify no file": func(e duck.Engine) (any, error) {
			v, n, err := e.Verify(ctx, table+"x", people, nil, nil)
			return fmt.Sprint(v, n), err
		},
		"csv":     func(e duck.Engine) (any, error) { return nil, e.CSV(ctx, table, filepath.Join(t.TempDir(), "a.csv")) },
		"preview": func(e duck.Engine) (any, error) { return e.Preview(ctx, table, 2) },
		"nulls":   func(e duck.Engine) (any, error) { return e.Nulls(ctx, table) },
		"infer": func(e duck.Engine) (any, error) {
			return e.Infer(ctx, "", map[string]duck.Source{"p": {Files: []string{csv}}})
		},
		"infer without texts for null": func(e duck.Engine) (any, error) {
			return e.Infer(ctx, "", map[string]duck.Source{"p": {Files: []string{csv}, CSV: duck.CSV{Nulls: []string{}}}})
		},
		"infer a query": func(e duck.Engine) (any, error) {
			return e.Infer(ctx, "SELECT count(*) AS n FROM p", map[string]duck.Source{"p": {Files: []string{table}}})
		},
		"infer a problem": func(e duck.Engine) (any, error) {
			return e.Infer(ctx, "SELECT n FROM p", map[string]duck.Source{"p": {Files: []string{csv}}})
		},
	} {
		want, wantErr := ask(here)
		got, gotErr := ask(there)
		if diff := cmp.Diff(want, got); diff != "" && wantErr == nil {
			t.Errorf("%s (-here +there)\n%s", name, diff)
		}
		if fmt.Sprint(wantErr) != fmt.Sprint(gotErr) {
			t.Errorf("%s: error %v, want %v", name, gotErr, wantErr)
		}
		var sql, wantSQL *duck.SQLError
		errors.As(gotErr, &sql)
		errors.As(wantErr, &wantSQL)
		var value, wantValue *duck.ValueError
		errors.As(gotErr, &value)
		errors.As(wantErr, &wantValue)
		if diff := cmp.Diff([]any{wantSQL, wantValue}, []any{sql, value}); diff != "" {
			t.Errorf("%s: details of the error (-here +there)\n%s", name, diff)
		}
	}
}

// Many calls at once are each answered with their own answer.
func TestCallsRunInParallel(t *testing.T) {
	c := newClient(t)
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			name := fmt.Sprintf("c%d", i)
			d, err := c.Describe(t.Context(), map[string]ir.Schema{"t": people}, "SELECT id AS "+name+" FROM t")
			if err != nil || len(d.Columns) != 1 || d.Columns[0].Name != name {
				t.Errorf("%s: %+v, %v", name, d, err)
			}
		})
	}
	wg.Wait()
}

// A call that nobody waits for any more ends, and others go on.
func TestACallIsCancelled(t *testing.T) {
	c, path := newClient(t), filepath.Join(t.TempDir(), "cancelled.slow")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := c.Preview(ctx, path, 1)
		ended <- err
	}()
	await(t, path+".started")
	if _, err := c.Describe(t.Context(), nil, "SELECT 1"); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	await(t, path)
	if _, err := c.Describe(ctx, nil, "SELECT 1"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A process that dies fails the calls that run, and the next one starts another.
func TestAProcessThatDiesIsReplaced(t *testing.T) {
	c := newClient(t)
	_, _, err := c.Verify(t.Context(), "die", people, nil, nil)
	if want := "tenon-duck has ended: exit status 3: out of luck"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if _, err := c.Describe(t.Context(), nil, "SELECT 1"); err != nil {
		t.Error(err)
	}
}

func TestCloseStopsRunningCalls(t *testing.T) {
	c, path := newClient(t), filepath.Join(t.TempDir(), "closed.slow")
	ended := make(chan error)
	go func() {
		_, err := c.Preview(t.Context(), path, 1)
		ended <- err
	}()
	pid, err := strconv.Atoi(await(t, path+".started"))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d: %v", pid, err)
	}
	await(t, path) // it was cancelled, not killed
	<-ended
	if _, err := c.Describe(t.Context(), nil, "SELECT 1"); err == nil {
		t.Error("a client that was closed answers")
	}
}

// A worker ends with the program that started it, even if that is killed.
func TestAWorkerDoesNotOutliveItsClient(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orphan.slow")
	cmd := exec.Command(self())
	cmd.Env = append(os.Environ(), orphanVar+"="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(await(t, path+".started"))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	await(t, path)
	for range 500 {
		if !runs(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d runs", pid)
}

// runs reports whether a process runs. One that nobody has waited for does not.
func runs(pid int) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "State:") {
			return !strings.Contains(s.Text(), "Z")
		}
	}
	return false
}

func TestRefusedPrograms(t *testing.T) {
	dir := t.TempDir()
	script := func(name, body string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	missing, other := filepath.Join(dir, "missing"), script("other", "echo hello; sleep 1000")
	out, err := exec.Command("sh", "-c", `"$0" serve </dev/null | sed 's/.*"version":"\([^"]*\)".*/\1/'`, self()).Output()
	if err != nil {
		t.Fatal(err)
	}
	this := strings.TrimSpace(string(out))
	newer := script("newer", `echo '{"protocol":99,"version":"1"}'; cat`)
	silent := script("silent", "echo no library >&2; exit 127")
	for program, want := range map[string]string{
		missing: "tenon-duck, which runs SQL, is not next to tenon: run `make build` to build both: fork/exec " + missing + ": no such file or directory",
		other:   other + " is not tenon-duck",
		newer:   newer + " has version 1, protocol 99, but this tenon has version " + this + ", protocol 1: run `make build` to build both",
		silent:  "tenon-duck has ended: exit status 127: no library",
	} {
		c := worker.New(program)
		for range 2 { // it does not get better
			if _, err := c.Program(t.Context()); err == nil || err.Error() != want {
				t.Errorf("error %v\nwant  %s", err, want)
			}
		}
		c.Close()
	}
}

// Nothing is left of a client that starts a process and does not use it.
func TestStartAndCloseAtOnce(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		c := worker.New(self())
		c.Start()
		c.Close()
	}
	for range 500 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, and %d before", runtime.NumGoroutine(), before)
}
