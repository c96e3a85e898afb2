package executortest

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A Feature is what a unit may ask for and not every executor has.
type Feature string

// The features. An executor that lacks one refuses it at compile time.
const (
	Image      Feature = "image"
	NoNetwork  Feature = "network"
	PIDs       Feature = "needs.pids"
	SecretFile Feature = "secrets." + program.SecretName + ".secret.as"
	Nodes      Feature = "needs.nodes"
	Scale      Feature = "replicas"
	Placement  Feature = "kubernetes"
	SecretKey  Feature = "secrets." + program.SecretName + ".secret.kubernetes"
	Services   Feature = "component"
)

// Cluster are the features that one machine lacks.
var Cluster = []Feature{Nodes, Scale, Placement, SecretKey}

// ask makes a unit ask for the feature.
func (s *suite) ask(f Feature, u *ir.Unit) {
	switch f {
	case Image:
		u.Code.Image = "acme/program:1"
	case NoNetwork:
		u.Network = ir.NetworkNone
	case PIDs:
		u.Needs.PIDs = 24
	case SecretFile:
		u.Secrets = []ir.Secret{{Name: program.SecretName, Env: "OUTER", As: ir.AsFile}}
	case Nodes:
		u.Needs.Nodes = 2
	case Scale:
		u.Kind, u.Needs.MilliCPU = ir.Service, 500
		u.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/ready", Replicas: 1, Scale: &ir.Scale{Max: 2, CPU: 70}}
	case Placement:
		u.Kubernetes = &ir.Placement{NodeSelector: map[string]string{"kubernetes.io/os": "linux"}}
	case Services:
		u.Kind, u.Outputs = ir.Service, nil
		u.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/ready", Replicas: 1}
	case SecretKey:
		u.Secrets = []ir.Secret{{Name: program.SecretName, Kubernetes: &ir.SecretKey{Name: "outer", Key: "value"}}}
	}
}

// featureCases are about what a unit asks for: it has it, or was refused.
func (s *suite) featureCases() []testCase {
	cases := []testCase{
		{"a job that asks for nothing special is not refused", s.refusesNothing},
		{"a job that says so has the network", s.hasNetwork},
		{"ports that are no names of files are refused", s.portNames},
	}
	for _, f := range []struct {
		Feature
		works func(*testing.T) // nil where only the executor's own tests can tell
	}{{Image, s.image}, {NoNetwork, s.noNetwork}, {PIDs, s.pids}, {SecretFile, s.secretFile},
		{Nodes, s.nodes}, {Scale, nil}, {Placement, nil}, {SecretKey, nil}, {Services, nil}} {
		if slices.Contains(s.Lacks, f.Feature) {
			cases = append(cases, testCase{string(f.Feature) + " is refused", func(t *testing.T) { s.refuses(t, f.Feature) }})
			continue
		}
		cases = append(cases, testCase{string(f.Feature) + " is not refused", func(t *testing.T) { s.accepts(t, f.Feature) }})
		if f.works != nil && !slices.Contains(s.Unseen, f.Feature) {
			cases = append(cases, testCase{string(f.Feature) + " is honoured", f.works})
		}
	}
	if s.Contains {
		cases = append(cases,
			testCase{"a job that uses more memory than it asked for is killed, with the reason", s.memory},
			testCase{"a job whose child runs out of memory fails and says why", s.childMemory},
			testCase{"a job within its memory is left alone", s.memoryEnough},
			testCase{"a job has no more cores than it asked for", s.cores},
			testCase{"a program has no rights", s.user})
	}
	return cases
}

func (s *suite) check(t *testing.T, u ir.Unit) []ir.Fault {
	t.Helper()
	c, ok := s.New(t).(executors.Checker)
	if !ok {
		t.Fatalf("%T is no Checker", c)
	}
	return slices.DeleteFunc(c.Check(u), func(f ir.Fault) bool { return f.Note }) // which refuse nothing
}

func (s *suite) refusesNothing(t *testing.T) {
	u := s.job(t, "exit", "0").Unit
	u.Needs = ir.Resources{MilliCPU: 500, Memory: 64 << 20, Disk: 1 << 20}
	u.Network = ir.NetworkOpen
	u.Secrets = []ir.Secret{{Name: program.SecretName, Env: "OUTER"}}
	if fs := s.check(t, u); len(fs) != 0 {
		t.Errorf("check gave %+v", fs)
	}
}

func (s *suite) accepts(t *testing.T, f Feature) {
	u := s.job(t, "exit", "0").Unit
	s.ask(f, &u)
	if fs := s.check(t, u); len(fs) != 0 {
		t.Errorf("check gave %+v", fs)
	}
}

func (s *suite) refuses(t *testing.T, f Feature) {
	u := s.job(t, "exit", "0").Unit
	s.ask(f, &u)
	fs := s.check(t, u)
	if len(fs) != 1 || fs[0].Field != string(f) || fs[0].Message == "" || fs[0].Hint == "" {
		t.Errorf("check gave %+v, want one fault of %s with a way out", fs, f)
	}
}

func (s *suite) portNames(t *testing.T) {
	for _, name := range []string{"..", ".", "", "a/b", "a\x00b"} {
		in, out := s.job(t, "exit", "0").Unit, s.job(t, "exit", "0").Unit
		in.Inputs = []ir.Input{{Port: name, Kind: ir.File, Unit: "steps/other/run", From: "out"}}
		out.Outputs = []ir.Output{{Port: name, Kind: ir.File}, {Port: name + "/", Kind: ir.File}}
		for field, u := range map[string]ir.Unit{"in": in, "outputs": out} {
			if fs := s.check(t, u); len(fs) != 1 || fs[0].Field != field {
				t.Errorf("port %q: check gave %+v, want one fault of %s", name, fs, field)
			}
		}
	}
}

// image says that the unit ran in the image that was named.
func (s *suite) image(t *testing.T) {
	task := s.job(t, "report")
	task.Unit.Code.Image = s.Image
	if f := s.runReport(t, task); f.Executable != s.Program {
		t.Errorf("the program was %s, want %s of the image", f.Executable, s.Program)
	}
}

// attack runs a job that tries to do something, and returns what stopped it.
func (s *suite) attack(t *testing.T, change func(*ir.Unit), attempt ...string) string {
	t.Helper()
	list, err := json.Marshal([][]string{attempt})
	if err != nil {
		t.Fatal(err)
	}
	e := s.New(t)
	task := s.job(t, "attack", string(list))
	change(&task.Unit)
	if st := wait(t, e, s.apply(t, e, task, nil)); st.Phase != state.Succeeded {
		t.Fatalf("status %+v, log: %s", st, read(t, filepath.Join(task.Dir, "log")))
	}
	var result []string
	if err := json.Unmarshal([]byte(read(t, out(task, "attacks.json"))), &result); err != nil {
		t.Fatal(err)
	}
	return result[0]
}

// listen returns an address of this machine that answers.
func (s *suite) listen(t *testing.T) string {
	t.Helper()
	host := "127.0.0.1"
	if s.Elsewhere != nil {
		host = s.Elsewhere.Host()
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// reached runs a job that calls this machine, and says whether it got through.
func (s *suite) reached(t *testing.T, n ir.Network) bool {
	t.Helper()
	return s.attack(t, func(u *ir.Unit) { u.Network = n }, "tcp", s.listen(t)) == ""
}

func (s *suite) hasNetwork(t *testing.T) {
	if !s.reached(t, ir.NetworkOpen) {
		t.Error("a job that says it needs the network has none")
	}
}

func (s *suite) noNetwork(t *testing.T) {
	if s.reached(t, ir.NetworkNone) {
		t.Error("a job without network reached this machine")
	}
}

func (s *suite) pids(t *testing.T) {
	for limit, want := range map[int64]string{0: "", 24: "resource temporarily unavailable"} {
		got := s.attack(t, func(u *ir.Unit) { u.Needs.PIDs = limit }, "fork", "100")
		if got != want {
			t.Errorf("with needs.pids %d, 100 more processes gave %q, want %q", limit, got, want)
		}
	}
}

func (s *suite) secretFile(t *testing.T) {
	task := s.job(t, "report")
	s.ask(SecretFile, &task.Unit)
	task.Env = map[string]string{program.SecretName: "correct-horse-battery-staple"}
	if f := s.runReport(t, task); f.SecretFile != "28" {
		t.Errorf("the file of the secret has %q bytes, want 28", f.SecretFile)
	}
}

// nodes says that the programs find one another, and that the first one's
// outputs are those of the job.
func (s *suite) nodes(t *testing.T) {
	task := s.job(t, "report")
	s.ask(Nodes, &task.Unit)
	f := s.runReport(t, task)
	for k, want := range map[string]string{"WORLD_SIZE": "2", "RANK": "0", "NODE_RANK": "0"} {
		if f.Env[k] != want {
			t.Errorf("$%s is %q, want %s", k, f.Env[k], want)
		}
	}
	if f.Env["MASTER_ADDR"] == "" || f.Env["MASTER_PORT"] == "" {
		t.Errorf("the first node is at %q:%q", f.Env["MASTER_ADDR"], f.Env["MASTER_PORT"])
	}
	e, several := s.New(t), s.job(t, "meet")
	s.ask(Nodes, &several.Unit)
	wantPhase(t, wait(t, e, s.apply(t, e, several, nil)), state.Succeeded)
	if met := read(t, out(several, "met")); met != "1\n" {
		t.Errorf("the first node met %q, want 1", met)
	}
}

func (s *suite) memory(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "eat", "268435456")
	task.Unit.Needs.Memory = 64 << 20
	h := s.apply(t, e, task, nil)
	for _, st := range []state.Status{wait(t, e, h), inspect(t, s.New(t), h)} {
		wantPhase(t, st, state.Failed)
		wantMessage(t, st, "needs.memory 64 MiB")
		if st.Signal != "SIGKILL" {
			t.Errorf("signal is %q, want SIGKILL", st.Signal)
		}
	}
}

func (s *suite) childMemory(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "parent", "eat", "268435456")
	task.Unit.Needs.Memory = 64 << 20
	h := s.apply(t, e, task, nil)
	for _, st := range []state.Status{wait(t, e, h), inspect(t, s.New(t), h)} {
		wantPhase(t, st, state.Failed)
		wantMessage(t, st, "exit 1; the kernel killed a child of it: it used more than needs.memory 64 MiB")
		if st.ExitCode != 1 || st.Signal != "" {
			t.Errorf("status %+v, want exit code 1 and no signal", st)
		}
	}
}

func (s *suite) memoryEnough(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "eat", "67108864")
	task.Unit.Needs.Memory = 256 << 20
	st := wait(t, e, s.apply(t, e, task, nil))
	wantPhase(t, st, state.Succeeded)
	if st.Usage.PeakMem < 64<<20 || st.Usage.PeakMem > 256<<20 {
		t.Errorf("peak of memory is %d, want 64 to 256 MiB", st.Usage.PeakMem)
	}
}

// cores compares the time that four threads computed with the time that passed.
// On a machine that is busy they get less, never more.
func (s *suite) cores(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "burn", "4", "2s")
	task.Unit.Needs.MilliCPU = 500
	wantPhase(t, wait(t, e, s.apply(t, e, task, nil)), state.Succeeded)
	var took program.Burned
	if err := json.Unmarshal([]byte(read(t, out(task, "burned.json"))), &took); err != nil {
		t.Fatal(err)
	}
	if share := float64(took.CPU) / float64(took.Wall); share > 0.8 {
		t.Errorf("half a core computed %v in %v", took.CPU, took.Wall)
	}
}

func (s *suite) user(t *testing.T) {
	f := s.runReport(t, s.job(t, "report"))
	others := slices.DeleteFunc(f.Groups, func(g int) bool { return g == f.GID })
	if f.UID == 0 || f.GID == 0 || len(others) > 0 {
		t.Errorf("it runs as user %d, group %d, groups %v", f.UID, f.GID, f.Groups)
	}
}

// missingInput says which port it is whose content is not there.
func (s *suite) missingInput(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	for name, change := range map[string]func(*executors.Task){
		"flights": func(task *executors.Task) { task.Inputs = map[string]step.Port{"flights": {Kind: ir.File, Path: gone}} },
		"*.csv":   func(task *executors.Task) { task.Files = map[string][]string{"*.csv": {gone}} },
	} {
		e := s.New(t)
		task := s.job(t, "report")
		change(&task)
		_, err := e.Apply(t.Context(), task, nil)
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), gone) {
			t.Errorf("apply gave %v, want an error with %s and %s", err, name, gone)
		}
		s.wantStarts(t, task, 0)
	}
}

// wrongOutput says that what was not written, or to a place that does not exist, is
// seen by whoever looks at the outputs.
func (s *suite) wrongOutput(t *testing.T) {
	e := s.New(t)
	task := s.job(t, "nothing")
	wantPhase(t, wait(t, e, s.apply(t, e, task, nil)), state.Succeeded)
	if exists(out(task)) {
		t.Errorf("%s is there", out(task))
	}
	task = s.job(t, "exit", "0")
	task.Unit.Outputs = nil
	task.Unit.Code.Command = []string{s.Program, "break", "/no/such/folder/file"}
	st := wait(t, e, s.apply(t, e, task, nil))
	wantPhase(t, st, state.Failed)
	if log := read(t, filepath.Join(task.Dir, "log")); !strings.Contains(log, "/no/such/folder/file") {
		t.Errorf("the log does not name the place: %q", log)
	}
}

func (s *suite) dataFiles(t *testing.T) {
	root := t.TempDir()
	var want []string
	for _, name := range []string{"a b.csv", "year=2024/ü 数据.csv", "year=2024/'q' \"d\" $HOME,ro:rw.csv", "line\nbreak.csv"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		want = append(want, path)
	}
	task := s.job(t, "report")
	task.Files = map[string][]string{"**/*.csv": want}
	f := s.runReport(t, task)
	for i, path := range f.Step.Files["**/*.csv"] {
		rel, _ := filepath.Rel(root, want[i])
		if !strings.HasSuffix(path, "/"+rel) || f.Content[path] != rel {
			t.Errorf("%q holds %q, want the name and the content of %q", path, f.Content[path], rel)
		}
	}
	if len(f.Content) != len(want) {
		t.Errorf("%d files were found, want %d", len(f.Content), len(want))
	}
}

// timeout says that a wait ends in time and that what ran too long can be ended.
func (s *suite) timeout(t *testing.T) {
	e := s.New(t)
	task, h := s.startFamily(t, e)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if st, err := waitFor(ctx, e, h); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("wait gave %+v, %v; want the context's error", st, err)
	}
	if err := e.Destroy(t.Context(), h); err != nil {
		t.Fatalf("destroy: %v", err)
	}
	s.wantDead(t, task)
	wantPhase(t, inspect(t, s.New(t), h), state.Absent)
}
