package project

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/internal/test/tofutest"
	"github.com/tenon-ml/tenon/planner"
)

// A rig is a state whose infrastructure needs no cloud: resources that OpenTofu has built in, each of
// which adds its name to a file when it is made, and "-" and its name when it is removed.
type rig struct {
	dir    string
	target ir.Target
}

func newRig(t *testing.T) *rig {
	tofu, err := tofutest.Tofu(t.Output())
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t.TempDir(), target("eu-central-1", "managed", tofu)}
}

func target(region, infrastructure, tool string) ir.Target {
	return ir.Target{Name: "aws", Executor: "aws", Settings: map[string]any{"region": region, "infrastructure": infrastructure, "tool": tool}}
}

func (r *rig) made(t *testing.T) string {
	b, err := os.ReadFile(filepath.Join(r.dir, "made"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

// files is a configuration of resources, each of which needs the one before.
func (r *rig) files(input string, names ...string) map[string]string {
	var b strings.Builder
	for i, name := range names {
		fmt.Fprintf(&b, "resource \"terraform_data\" %q {\n  input = %q\n", name, input)
		if i > 0 {
			fmt.Fprintf(&b, "  depends_on = [terraform_data.%s]\n", names[i-1])
		}
		for when, text := range map[string]string{"create": name, "destroy": "-" + name} {
			fmt.Fprintf(&b, "  provisioner \"local-exec\" {\n    when    = %s\n    command = \"echo %s >> %s\"\n  }\n", when, text, filepath.Join(r.dir, "made"))
		}
		b.WriteString("}\n")
	}
	return map[string]string{"main.tf": b.String()}
}

func (r *rig) open(ctx context.Context, t *testing.T, environ ...string) *Workspace {
	w, err := New(Settings{Dir: r.dir, Cache: filepath.Join(r.dir, "cache"), Config: all.Config{Environ: append(os.Environ(), environ...)}}).Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func (r *rig) lock(ctx context.Context, t *testing.T, w *Workspace) *Session {
	s, err := w.Lock(ctx, "tenon apply", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Release(ctx) })
	return s
}

func (r *rig) plan(ctx context.Context, t *testing.T, w *Workspace, files map[string]string) *planner.Plan {
	p, err := w.provisioner(ctx, r.target)
	if err != nil {
		t.Fatal(err)
	}
	i, err := p.plan(ctx, files)
	if err != nil {
		t.Fatal(err)
	}
	return &planner.Plan{System: &ir.System{Target: r.target}, Infrastructure: i}
}

// apply applies a plan as revision n.
func (r *rig) apply(ctx context.Context, t *testing.T, s *Session, p *planner.Plan, n int, report func(executors.Event)) {
	first, last, err := s.provision(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []executors.ProvisionFunc{first, last} {
		if f == nil {
			continue
		}
		if err := f(ctx, n, report); err != nil {
			t.Fatal(err)
		}
	}
}

// actions are what a plan does, such as "create a, update b".
func actions(p *planner.Plan) string {
	var all []string
	for _, x := range p.Infrastructure.Resources {
		all = append(all, string(x.Action)+" "+strings.TrimPrefix(x.Address, "terraform_data."))
	}
	return strings.Join(all, ", ")
}

func silent(executors.Event) {}

func TestInfrastructureIsPlannedAppliedAndRecorded(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	w := r.open(ctx, t)
	s := r.lock(ctx, t, w)
	steps := []struct {
		files   map[string]string
		actions string
		made    string
	}{
		{r.files("1", "a", "b"), "create a, create b", "a b"},
		{r.files("1", "a", "b"), "", "a b"},
		{r.files("2", "a", "b", "c"), "update a, update b, create c", "a b c"},
		{r.files("2", "a"), "delete b, delete c", "a b c"}, // without a configuration, a resource has no provisioner
	}
	for n, step := range steps {
		p := r.plan(ctx, t, w, step.files)
		if got := actions(p); got != step.actions {
			t.Fatalf("step %d: the plan is %q, want %q", n, got, step.actions)
		}
		r.apply(ctx, t, s, p, n+1, silent)
		if got := r.made(t); got != step.made {
			t.Fatalf("step %d: made %q, want %q", n, got, step.made)
		}
	}

	// Versions name the revision that made them, and what they have is encrypted.
	all, err := w.store.InfrastructureVersions(ctx, 0)
	if err != nil || len(all) == 0 {
		t.Fatalf("got %d versions, %v", len(all), err)
	}
	last := all[0]
	if last.Revision != 4 || last.Resources != 1 || last.Config != digestOf(steps[3].files) || last.Place != "region eu-central-1" {
		t.Errorf("the last version is %+v", last)
	}
	if err := filepath.WalkDir(w.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, "main.tf") {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "terraform_data") {
			t.Errorf("%s has the state in plain text", path)
		}
		return err
	}); err != nil {
		t.Error(err)
	}

	removal, err := s.PlanRemoval(ctx, false)
	if err != nil || len(removal.Resources) != 1 {
		t.Fatalf("the removal is %+v, %v", removal, err)
	}
	if err := s.deprovision(removal)(ctx, 5, silent); err != nil {
		t.Fatal(err)
	}
	if got := r.made(t); got != "a b c -a" {
		t.Errorf("made %q", got)
	}
	if removal, err := s.PlanRemoval(ctx, false); removal != nil || err != nil {
		t.Errorf("after the removal, another one would remove %+v, %v", removal, err)
	}
}

// What does not fit what is recorded is refused, before anything is made.
func TestInfrastructureIsRefused(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	w := r.open(ctx, t)
	s := r.lock(ctx, t, w)
	stale := r.plan(ctx, t, w, r.files("1", "a"))
	r.apply(ctx, t, s, r.plan(ctx, t, w, r.files("1", "a")), 1, silent)
	if _, _, err := s.provision(ctx, stale); !errors.Is(err, executors.ErrMoved) {
		t.Errorf("a plan from before: %v", err)
	}
	// A recorded plan is made again, and must not do more than it says.
	recorded := r.plan(ctx, t, w, r.files("1", "a", "b"))
	recorded.Infrastructure.Sealed, recorded.Infrastructure.Resources = nil, recorded.Infrastructure.Resources[:0:0]
	recorded.Infrastructure.Resources = append(recorded.Infrastructure.Resources, planner.Resource{Address: "terraform_data.other", Action: planner.Create})
	f, _, err := s.provision(ctx, recorded)
	if err != nil {
		t.Fatal(err)
	}
	if err := f(ctx, 2, silent); err == nil || !strings.Contains(err.Error(), "the plan did not create terraform_data.b: plan again") {
		t.Errorf("a plan that does more than it showed: %v", err)
	}
	key := strings.Repeat("a", 64)
	tofu, _ := r.target.Settings["tool"].(string)
	for _, tt := range []struct {
		target        ir.Target
		environ, want string
	}{
		{target("eu-west-1", "managed", tofu), "", "is in region eu-central-1, and target aws is in region eu-west-1: run tenon destroy"},
		{target("eu-central-1", "external", tofu), "", "its infrastructure is external, but tenon has made 1 resource"},
		{target("eu-central-1", "managed", "/bin/true"), "", "is neither OpenTofu nor Terraform"},
		{r.target, keyVariable + "=" + key, "is recorded with the key"},
		{r.target, keyVariable + "=short", "a key has 64 hexadecimal digits"},
		{target("eu-central-1", "managed", ""), "PATH=/nowhere", "neither tofu nor terraform is in $PATH, but tenon has made 1 resource"},
	} {
		if path, is := strings.CutPrefix(tt.environ, "PATH="); is {
			t.Setenv("PATH", path)
		}
		_, err := r.open(ctx, t, tt.environ).provisioner(ctx, tt.target)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v %s: got %v, want %q", tt.target, tt.environ, err, tt.want)
		}
	}
	if got := r.made(t); got != "a" {
		t.Errorf("made %q", got)
	}
}

// A plan that a controller has begun is continued in its revision, and in no other one.
func TestARecordedPlanOfInfrastructureIsContinued(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	w := r.open(ctx, t)
	s := r.lock(ctx, t, w)
	p := r.plan(ctx, t, w, r.files("1", "a"))
	p.Infrastructure.Sealed = nil
	for _, step := range []struct {
		revision int
		want     error
	}{{1, nil}, {1, nil}, {2, executors.ErrMoved}} {
		f, _, err := s.provision(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		if err := f(ctx, step.revision, silent); !errors.Is(err, step.want) {
			t.Errorf("revision %d: got %v, want %v", step.revision, err, step.want)
		}
	}
	if got := r.made(t); got != "a" {
		t.Errorf("made %q", got)
	}
}

// A revision of a controller has no configuration in its plan. It left that of the revision before.
func TestARollbackFindsTheConfigurationOfAControllersRevision(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	w := r.open(ctx, t)
	s := r.lock(ctx, t, w)
	first, second := r.files("1", "a"), r.files("2", "a")
	r.apply(ctx, t, s, r.plan(ctx, t, w, first), 2, silent)
	r.apply(ctx, t, s, r.plan(ctx, t, w, second), 5, silent)
	for revision, want := range map[int]string{1: "unmanaged", 3: digestOf(first), 6: digestOf(second)} {
		i, err := w.planInfrastructureOf(ctx, r.target, revision, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := cmp.Or(i.Config, "unmanaged"); got != want {
			t.Errorf("revision %d: got %s, want %s", revision, got, want)
		}
	}
}

// What a killed apply has left is recorded, unless another apply has begun since: what that one has recorded is
// not replaced.
func TestOnlyTheStateOfTheLastApplyIsRecovered(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	w := r.open(ctx, t)
	s := r.lock(ctx, t, w)
	r.apply(ctx, t, s, r.plan(ctx, t, w, r.files("1", "a")), 1, silent)
	now, err := w.store.Infrastructure(ctx)
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(w.infrastructureDir(), "errored.tfstate")
	leave := func() {
		text := fmt.Sprintf(`{"version": 4, "serial": 99, "lineage": %q, "resources": []}`, now.Lineage)
		if err := os.WriteFile(left, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	began := filepath.Join(w.infrastructureDir(), ".tenon.apply")
	for _, tt := range []struct {
		began  string
		serial int64
		kept   bool
	}{{"another", now.Serial, true}, {now.Apply, 99, false}} {
		leave()
		if err := os.WriteFile(began, []byte(tt.began), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.RecoverInfrastructure(ctx); err != nil {
			t.Fatal(err)
		}
		got, err := w.store.Infrastructure(ctx)
		if err != nil || got.Serial != tt.serial {
			t.Errorf("after %s, the state has the serial %d, %v, want %d", tt.began, got.Serial, err, tt.serial)
		}
		aside := filepath.Join(w.infrastructureDir(), "overtaken.tfstate")
		if _, err := os.Stat(aside); (err == nil) != tt.kept {
			t.Errorf("after %s, %s: %v", tt.began, aside, err)
		}
		_ = os.Remove(aside)
		if _, err := os.Stat(left); err == nil {
			t.Errorf("after %s, %s is still there", tt.began, left)
		}
	}

	// It is not forgotten if it cannot be recorded.
	leave()
	s.set.Environ = append(s.set.Environ, keyVariable+"="+strings.Repeat("a", 64))
	if err := s.RecoverInfrastructure(ctx); err == nil || !strings.Contains(err.Error(), "is recorded with the key") {
		t.Errorf("with another key: %v", err)
	}
}

// applyVariable makes this test binary apply the infrastructure of a rig in a folder, and print its events.
const applyVariable = "TENON_TEST_PROVISION"

func TestApplyInAnotherProcess(t *testing.T) {
	dir, tofu, is := strings.Cut(os.Getenv(applyVariable), " ")
	if !is {
		return // not a test by itself
	}
	ctx := context.Background()
	r := &rig{dir, target("eu-central-1", "managed", tofu)}
	w := r.open(ctx, t)
	s := r.lock(ctx, t, w)
	r.apply(ctx, t, s, r.plan(ctx, t, w, r.files("1", "a", "b", "c")), 1, func(e executors.Event) { fmt.Println("event", e.What, e.Message) })
}

// An apply that is killed at any event, and repeated, makes each resource once, and loses none.
func TestKilledApplyOfInfrastructureContinues(t *testing.T) {
	for moment := 1; moment <= 6; moment++ {
		t.Run(fmt.Sprint(moment), func(t *testing.T) {
			t.Parallel()
			ctx, r := t.Context(), newRig(t)
			cmd := exec.Command(os.Args[0], "-test.run", "^TestApplyInAnotherProcess$")
			cmd.Env = append(os.Environ(), applyVariable+"="+r.dir+" "+fmt.Sprint(r.target.Settings["tool"]))
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			seen := 0
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if strings.HasPrefix(lines.Text(), "event ") {
					if seen++; seen == moment {
						_ = cmd.Process.Kill()
						break
					}
				}
			}
			_, _ = io.Copy(io.Discard, out)
			_ = cmd.Wait()
			if seen != moment {
				t.Fatalf("the apply had %d events", seen)
			}

			w := r.open(ctx, t)
			s := r.lock(ctx, t, w)
			if err := s.RecoverInfrastructure(ctx); err != nil {
				t.Fatal(err)
			}
			r.complete(ctx, t, s)
		})
	}
}

// An interrupt completes what was begun, and records it.
func TestInterruptedApplyOfInfrastructureContinues(t *testing.T) {
	ctx, r := t.Context(), newRig(t)
	w := r.open(ctx, t)
	s := r.lock(ctx, t, w)
	f, _, err := s.provision(ctx, r.plan(ctx, t, w, r.files("1", "a", "b", "c")))
	if err != nil {
		t.Fatal(err)
	}
	stopped := errors.New("stopped")
	stop, cancel := context.WithCancelCause(ctx)
	if err := f(stop, 1, func(executors.Event) { cancel(stopped) }); !errors.Is(err, stopped) {
		t.Fatalf("got %v", err)
	}
	if got := r.made(t); got == "a b c" {
		t.Error("it was not stopped")
	}
	r.complete(ctx, t, s)
}

// complete applies what an apply of a, b and c has left to do: it makes nothing twice, except for a resource whose
// provisioner was interrupted, which OpenTofu replaces.
func (r *rig) complete(ctx context.Context, t *testing.T, s *Session) {
	files := r.files("1", "a", "b", "c")
	made := r.made(t)
	p := r.plan(ctx, t, s.Workspace, files)
	want := strings.Fields(made)
	for _, x := range p.Infrastructure.Resources {
		name := strings.TrimPrefix(x.Address, "terraform_data.")
		if x.Action == planner.Create && slices.Contains(want, name) {
			t.Errorf("%q was made, and the plan is %q", made, actions(p))
		}
		want = append(want, name)
	}
	r.apply(ctx, t, s, p, 2, silent)
	if got := r.made(t); got != strings.Join(want, " ") || !strings.HasSuffix(got, "c") {
		t.Errorf("made %q, and after %q %q", made, actions(p), got)
	}
	if p := r.plan(ctx, t, s.Workspace, files); p.Infrastructure.Changes() {
		t.Errorf("afterwards, the plan is %q", actions(p))
	}
}
