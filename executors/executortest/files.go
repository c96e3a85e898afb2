package executortest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/internal/logfile"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// fileCases are about what passes between a program and its run folder.
func (s *suite) fileCases() []testCase {
	return []testCase{
		{"outputs, metrics and progress are where the contract says", s.outputs},
		{"the program finds its document, folders and arguments", s.document},
		{"paths may hold spaces, quotes and any letters", s.paths},
		{"time zone, locale, hashes and threads are the same on every machine", s.environment},
		{"data files may have any names", s.dataFiles},
		{"what a job reads has to be there, or the job does not start", s.missingInput},
		{"what a job did not write does not exist, and what it could not write is reported", s.wrongOutput},
		{"a secret reaches the program and nothing else", s.secrets},
		{"the log holds every byte as it was printed", s.binaryLog},
		{"the log holds standard output and standard error in order", s.streams},
		{"a log can be followed to its end", s.follow},
		{"a log is bounded on disk, and keeps its beginning and its end", s.boundedLog},
		{"following a log ends with its context", s.followCanceled},
		{"a job that writes too much is ended, with the reason", s.diskWhileRunning},
		{"a job that wrote too much has failed, however fast it was", s.diskAtTheEnd},
		{"a job within its disk is left alone", s.diskEnough},
	}
}

func (s *suite) outputs(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "work")
	h := s.apply(t, e, task, nil)
	wantPhase(t, wait(t, e, h), state.Succeeded)
	for path, want := range map[string]string{
		out(task, "result"):                             "42\n",
		filepath.Join(task.Dir, executors.MetricsFile):  `{"roc_auc":0.75}`,
		filepath.Join(task.Dir, executors.ProgressFile): `{"done":1,"total":2,"message":"half"}` + "\n",
	} {
		if got := read(t, path); got != want {
			t.Errorf("%s holds %q, want %q", path, got, want)
		}
	}
	if scratch := filepath.Join(task.Dir, "scratch/temporary"); s.Elsewhere == nil && read(t, scratch) != "x" {
		t.Errorf("%s does not hold what the program wrote", scratch)
	}
	if err := e.Destroy(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if read(t, out(task, "result")) != "42\n" || exists(filepath.Join(task.Dir, "scratch")) {
		t.Error("destroy has to remove scratch and to leave the outputs")
	}
}

// runReport runs the program "report" and returns what it found.
func (s *suite) runReport(t *testing.T, task executors.Task) program.Found {
	t.Helper()
	e := s.New(t)
	h := s.apply(t, e, task, nil)
	if st := wait(t, e, h); st.Phase != state.Succeeded {
		t.Fatalf("status %+v, log: %s", st, read(t, filepath.Join(task.Dir, "log")))
	}
	var f program.Found
	if err := json.Unmarshal([]byte(read(t, out(task, "found.json"))), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func (s *suite) document(t *testing.T) {
	task := s.job(t, "report", "--flag", "", "two words", `a"b'c$HOME`, "*")
	task.Unit.Params = json.RawMessage(`{"alpha":0.5}`)
	task.Unit.Seed = 7
	task.Unit.Needs = ir.Resources{MilliCPU: 2500, Memory: 64 << 20}
	if s.Elsewhere != nil { // where so much has to be free
		task.Unit.Needs.MilliCPU = 500
	}
	task.Unit.Outputs = append(task.Unit.Outputs, ir.Output{Port: "table", Kind: ir.Table,
		Schema: ir.Schema{{Name: "id", Type: "int64"}}, Keys: []string{"id"}})
	input, file := filepath.Join(task.Code, "input"), filepath.Join(task.Code, "a.csv")
	for _, path := range []string{input, file} {
		if err := os.WriteFile(path, []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	task.Inputs = map[string]step.Port{"data": {Kind: ir.File, Path: input, Digest: "sha256:00"}}
	task.Files = map[string][]string{"*.csv": {file}}
	f := s.runReport(t, task)

	if f.Cwd != f.Step.Code {
		t.Errorf("working directory is %s, want the code folder %s", f.Cwd, f.Step.Code)
	}
	if got := strings.Join(f.Args, "|"); got != `--flag||two words|a"b'c$HOME|*` {
		t.Errorf("arguments are %q", got)
	}
	if f.Env["TMPDIR"] != f.Step.Scratch {
		t.Errorf("TMPDIR is %q, want scratch", f.Env["TMPDIR"])
	}
	if want := itoa(int(max(1, task.Unit.Needs.MilliCPU/1000))); f.Env["OMP_NUM_THREADS"] != want {
		t.Errorf("OMP_NUM_THREADS is %q, want %s for %d milli_cpu", f.Env["OMP_NUM_THREADS"], want, task.Unit.Needs.MilliCPU)
	}
	d := f.Step
	if d.Version != step.Version || d.Unit != task.Unit.ID || string(d.Params) != `{"alpha":0.5}` || d.Seed != 7 ||
		d.Resources != task.Unit.Needs || d.Inputs["data"].Digest != "sha256:00" || len(d.Files["*.csv"]) != 1 {
		t.Errorf("the document is %+v", d)
	}
	if p := d.Outputs["table"]; p.Format != "parquet" || len(p.Schema) != 1 || len(p.Keys) != 1 {
		t.Errorf("the table's port is %+v", p)
	}
}

func (s *suite) environment(t *testing.T) {
	task := s.job(t, "report")
	task.Unit.Seed = 1<<32 + 7
	f := s.runReport(t, task)
	for k, want := range map[string]string{
		"TZ": "UTC", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "LC_TIME": "", "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1",
	} {
		if f.Env[k] != want {
			t.Errorf("%s is %q, want %q", k, f.Env[k], want)
		}
	}
}

func (s *suite) paths(t *testing.T) {
	root := filepath.Join(t.TempDir(), `späce 数据 'q' "d" $HOME`)
	task := s.jobIn(t, root, "report")
	f := s.runReport(t, task)
	if !strings.HasPrefix(f.Env[step.Env], f.Step.Scratch[:len(f.Step.Scratch)-len("scratch")]) {
		t.Errorf("%s is %q", step.Env, f.Env[step.Env])
	}
}

func (s *suite) secrets(t *testing.T) {
	const value = "correct-horse-battery-staple"
	task := s.job(t, "report")
	task.Unit.Secrets = []ir.Secret{{Name: program.SecretName, Env: "OUTER"}}
	task.Env = map[string]string{program.SecretName: value}
	e := s.New(t)
	h := s.apply(t, e, task, nil)
	wantPhase(t, wait(t, e, h), state.Succeeded)
	var f program.Found
	if err := json.Unmarshal([]byte(read(t, out(task, "found.json"))), &f); err != nil {
		t.Fatal(err)
	}
	if f.Env[program.SecretName] != "28" {
		t.Errorf("the program found a secret of %q characters, want 28", f.Env[program.SecretName])
	}
	if bytes.Contains(h.Data, []byte(value)) {
		t.Errorf("the handle holds the secret: %s", h.Data)
	}
	err := filepath.WalkDir(task.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(read(t, path), value) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func logger(t *testing.T, e executors.Executor) executors.Logger {
	t.Helper()
	l, ok := e.(executors.Logger)
	if !ok {
		t.Fatalf("%T is no Logger", e)
	}
	return l
}

func logs(t *testing.T, e executors.Executor, h state.Handle, follow bool) string {
	t.Helper()
	var b bytes.Buffer
	if err := logger(t, e).Logs(t.Context(), h, &b, follow); err != nil {
		t.Fatalf("logs: %v", err)
	}
	return b.String()
}

func (s *suite) binaryLog(t *testing.T) {
	e := s.New(t)
	h := s.apply(t, e, s.job(t, "binary"), nil)
	wantPhase(t, wait(t, e, h), state.Succeeded)
	if got := logs(t, e, h, false); got != string(program.EveryByte()) {
		t.Errorf("the log has %d bytes that differ from the %d printed", len(got), len(program.EveryByte()))
	}
}

func (s *suite) streams(t *testing.T) {
	e := s.New(t)
	h := s.apply(t, e, s.job(t, "streams"), nil)
	wantPhase(t, wait(t, e, h), state.Succeeded)
	if got := logs(t, e, h, false); got != "to stdout\nto stderr\n" {
		t.Errorf("the log is %q", got)
	}
}

func (s *suite) follow(t *testing.T) {
	var want strings.Builder
	for i := range 100 {
		want.WriteString("line " + itoa(i) + "\n")
	}
	e := s.New(t)
	h := s.apply(t, e, s.job(t, "lines", "100", "3ms"), nil)
	if got := logs(t, e, h, true); got != want.String() {
		t.Errorf("following gave %q", got)
	}
	if got := logs(t, s.New(t), h, true); got != want.String() {
		t.Errorf("following after the end gave %q", got)
	}
}

// boundedLog runs where the log is a file of this machine. In a cluster, the pod bounds what
// it stores.
func (s *suite) boundedLog(t *testing.T) {
	if s.Elsewhere != nil {
		t.Skip("its log is not on this machine")
	}
	const printed = 200 << 20
	e := s.New(t)
	task := s.job(t, "flood", itoa(printed))
	h := s.apply(t, e, task, nil)
	var followed tail
	following := make(chan error, 1)
	go func() { following <- logger(t, e).Logs(t.Context(), h, &followed, true) }()
	var most int64
	eventually(t, "it has ended", func() bool {
		most = max(most, logSize(t, task))
		return inspect(t, e, h).Phase != state.Running
	})
	wantPhase(t, wait(t, e, h), state.Succeeded)
	if most = max(most, logSize(t, task)); most > logfile.Most {
		t.Errorf("the log took %d bytes on disk, more than %d", most, int64(logfile.Most))
	}
	if err := <-following; err != nil {
		t.Errorf("following: %v", err)
	}
	var again tail
	if err := logger(t, s.New(t)).Logs(t.Context(), h, &again, false); err != nil {
		t.Errorf("logs: %v", err)
	}
	for name, got := range map[string]*tail{"following": &followed, "reading it afterwards": &again} {
		if !strings.HasPrefix(string(got.first), program.FirstLine) || !strings.HasSuffix(string(got.last), "\n"+program.LastLine) {
			t.Errorf("%s gave %d bytes that begin with %q and end with %q", name, got.size, got.first, got.last)
		}
	}
	if !again.dropped || again.size > logfile.Most+1000 {
		t.Errorf("reading it afterwards gave %d bytes; it says that some are missing: %v", again.size, again.dropped)
	}
}

// logSize returns how much disk the log of a task takes.
func logSize(t *testing.T, task executors.Task) (size int64) {
	t.Helper()
	path := filepath.Join(task.Dir, "log")
	more, err := filepath.Glob(filepath.Join(logfile.Folder(path), "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range append(more, path) {
		if fi, err := os.Stat(part); err == nil { // otherwise it was dropped meanwhile
			size += fi.Size()
		}
	}
	return size
}

// A tail keeps the beginning and the end of what is written to it.
type tail struct {
	size        int64
	first, last []byte
	dropped     bool // there was a line that says so
}

func (w *tail) Write(b []byte) (int, error) {
	const keep = 100
	w.size += int64(len(b))
	w.first = append(w.first, b[:min(len(b), keep-len(w.first))]...)
	w.last = append(w.last, b[max(0, len(b)-keep):]...)
	w.last = w.last[max(0, len(w.last)-keep):]
	w.dropped = w.dropped || bytes.Contains(b, []byte("bytes of the log were dropped here\n"))
	return len(b), nil
}

func (s *suite) followCanceled(t *testing.T) {
	e := s.New(t)
	h := s.apply(t, e, s.job(t, "sleep"), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := logger(t, e).Logs(ctx, h, &bytes.Buffer{}, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("following gave %v, want the context's error", err)
	}
}

func (s *suite) diskWhileRunning(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "fill", "8388608", program.Patience.String())
	task.Unit.Needs.Disk = 1 << 20
	h := s.apply(t, e, task, nil)
	// It is not tenon's presence that makes it a failure.
	first := wait(t, e, h)
	wantMessage(t, first, "MiB, more than needs.disk 1 MiB")
	for _, st := range []state.Status{first, inspect(t, s.New(t), h)} {
		wantPhase(t, st, state.Failed)
		wantMessage(t, st, first.Message)
	}
}

func (s *suite) diskAtTheEnd(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "fill", "8388608", "0s")
	task.Unit.Needs.Disk = 1 << 20
	st := wait(t, e, s.apply(t, e, task, nil))
	wantPhase(t, st, state.Failed)
	wantMessage(t, st, "MiB, more than needs.disk 1 MiB")
}

func (s *suite) diskEnough(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "fill", "8388608", "300ms")
	task.Unit.Needs.Disk = 16 << 20
	wantPhase(t, wait(t, e, s.apply(t, e, task, nil)), state.Succeeded)
	if fi, err := os.Stat(out(task, "big")); err != nil || fi.Size() != 8<<20 {
		t.Errorf("the output is %v, %v", fi, err)
	}
}
