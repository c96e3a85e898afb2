package azure_test

import (
	"context"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/azure"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/internal/test/azuretest"
	"github.com/tenon-ml/tenon/planner/state"
)

func TestMain(m *testing.M) {
	cloudtest.Main(m, func(ctx context.Context, dir string) (cloudtest.Emulator, error) {
		c, err := azuretest.Start(ctx, dir)
		if err != nil {
			return cloudtest.Emulator{}, err
		}
		return cloudtest.Emulator{At: []string{c.URL, c.Dir}, Environ: c.Environ(), Stop: c.Stop}, nil
	}, map[string]string{serveVar: "github.com/tenon-ml/tenon/internal/test/awstest/function"})
}

// serveVar is the variable with the path of a small tenon-serve.
const serveVar = "TENON_AZURE_TEST_SERVE"

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A lab is a target in the fake.
type lab struct {
	*azuretest.Cloud
	cloudtest.Lab
}

func newLab(t testing.TB) *lab {
	t.Helper()
	at := cloudtest.At(t)
	c := azuretest.At(at[0], at[1])
	l := &lab{c, cloudtest.Lab{Folder: c.Work, Variable: "CONTAINER_APP_JOB_EXECUTION_NAME"}}
	l.Runs = func(task executors.Task) ([]string, error) {
		return l.Executions(azure.RunName(l.options(t, "suite"), task))
	}
	return l
}

// target is one with the defaults of tenon.#Azure.
func (l *lab) target() ir.Target {
	return ir.Target{Name: "azure", Executor: azure.Name, Settings: map[string]any{
		"subscription": azuretest.Subscription, "resource_group": azuretest.Group, "location": azuretest.Location,
		"folder": "tenon", "cidr": "10.40.0.0/24", "registry": "Basic", "retention": 30, "hosts": l.Hosts, "ingress": azure.External,
	}}
}

func (l *lab) options(t testing.TB, system string) azure.Options {
	t.Helper()
	settings, err := azure.SettingsOf(l.target())
	ok(t, err)
	return azure.Options{
		Settings: settings, Options: cloudtest.Options(system, l.Hosts, 50*time.Millisecond),
		LogPause: time.Nanosecond, Grace: 500 * time.Millisecond, Settle: 300 * time.Millisecond, Drain: 50 * time.Millisecond,
	}
}

func (l *lab) executor(t testing.TB, system string, change ...func(*azure.Options)) *azure.Executor {
	t.Helper()
	o := l.options(t, system)
	for _, c := range change {
		c(&o)
	}
	e := azure.New(o)
	t.Cleanup(func() { ok(t, e.Close()) })
	return e
}

// provision makes the infrastructure of units, as tenon writes it.
func (l *lab) provision(system string, units ...ir.Unit) error {
	files, err := cloudtest.Configuration(azure.Infrastructure(&ir.System{Name: system, Target: l.target(), Units: units}))
	if err != nil {
		return err
	}
	return l.Provision(files)
}

// A provided executor has the infrastructure of each unit before it is started.
type provided struct {
	*azure.Executor
	l *lab
}

func (p provided) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	if err := p.l.provision("suite", cloudtest.Wanted(t)); err != nil {
		return state.Handle{}, err
	}
	return p.Executor.Apply(ctx, t, prior)
}

func (l *lab) Address(t testing.TB, task executors.Task) string {
	t.Helper()
	url, err := l.AppURL(azure.AppName(l.options(t, "suite"), task))
	ok(t, err)
	return url
}

func TestConformance(t *testing.T) {
	l := newLab(t)
	executortest.Run(t, executortest.Config{
		New:     func(t testing.TB) executors.Executor { return provided{l.executor(t, "suite"), l} },
		Program: "/bin/program", Image: cloudtest.Image(),
		Lacks:     []executortest.Feature{executortest.PIDs, executortest.SecretFile, executortest.Nodes, executortest.Placement, executortest.SecretKey},
		Managed:   true,
		Unseen:    []executortest.Feature{executortest.NoNetwork}, // the fake has no networks
		Elsewhere: l,
	})
}
