package aws_test

import (
	"context"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/internal/test/awstest"
	"github.com/tenon-ml/tenon/planner/state"
)

const functionVar = "TENON_TEST_FUNCTION" // the path of a small tenon-serve

func TestMain(m *testing.M) {
	cloudtest.Main(m, func(ctx context.Context, dir string) (cloudtest.Emulator, error) {
		e, err := awstest.Start(ctx, dir)
		if err != nil {
			return cloudtest.Emulator{}, err
		}
		return cloudtest.Emulator{At: []string{e.Endpoint, dir}, Environ: e.Environ(), Stop: e.Stop}, nil
	}, map[string]string{functionVar: "github.com/tenon-ml/tenon/internal/test/awstest/function"})
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A lab is a target in the emulator.
type lab struct {
	*awstest.Emulator
	cloudtest.Lab
}

func newLab(t testing.TB) *lab {
	t.Helper()
	at := cloudtest.At(t)
	e := awstest.At(at[0], at[1])
	return &lab{e, cloudtest.Lab{
		Runs:   func(task executors.Task) ([]string, error) { return e.Jobs(aws.RunName("", task.Name)) },
		Folder: e.Work, Variable: "AWS_BATCH_JOB_ID",
	}}
}

// settings are those of a target with the defaults of tenon.#AWS.
func (l *lab) settings() map[string]any {
	return map[string]any{
		"region": awstest.Region, "folder": "tenon", "cidr": "10.40.0.0/16", "jobs": map[string]any{"cpu": 64}, "architecture": "x86_64", "retention": 30, "hosts": l.Hosts,
	}
}

func (l *lab) target() ir.Target {
	return ir.Target{Name: "aws", Executor: aws.Name, Settings: l.settings()}
}

func (l *lab) executor(t testing.TB, change ...func(*aws.Options)) *aws.Executor {
	t.Helper()
	settings, err := aws.SettingsOf(l.target())
	ok(t, err)
	o := aws.Options{
		Settings: settings, Options: cloudtest.Options("suite", l.Hosts, 100*time.Millisecond), Settle: 300 * time.Millisecond, Grace: 500 * time.Millisecond,
	}
	for _, c := range change {
		c(&o)
	}
	e := aws.New(o)
	t.Cleanup(func() { ok(t, e.Close()) })
	return e
}

// provision makes the infrastructure of units, as tenon writes it.
func (l *lab) provision(ctx context.Context, system string, t executors.Task) error {
	return l.provisionOn(ctx, l.target(), system, t)
}

func (l *lab) provisionOn(ctx context.Context, target ir.Target, system string, t executors.Task) error {
	u := t.Unit
	for pattern := range t.Files { // the suite names them in the task only
		u.Files = append(u.Files, pattern)
	}
	files, err := infrastructure(target, system, u)
	if err != nil {
		return err
	}
	return l.Provision(ctx, files)
}

// infrastructure returns the files of Terraform for units.
func infrastructure(target ir.Target, system string, units ...ir.Unit) (map[string][]byte, error) {
	return cloudtest.Configuration(aws.Infrastructure(&ir.System{Name: system, Target: target, Units: units}))
}

// A provided executor has the infrastructure of each unit before it is started.
type provided struct {
	*aws.Executor
	l *lab
}

func (p provided) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	if err := p.l.provision(context.WithoutCancel(ctx), "suite", t); err != nil {
		return state.Handle{}, err
	}
	return p.Executor.Apply(ctx, t, prior)
}

func TestConformance(t *testing.T) {
	l := newLab(t)
	executortest.Run(t, executortest.Config{
		New:     func(t testing.TB) executors.Executor { return provided{l.executor(t), l} },
		Program: "/bin/program", Image: cloudtest.Image(),
		Lacks:     append([]executortest.Feature{executortest.PIDs, executortest.SecretFile, executortest.Services}, executortest.Cluster...),
		Unseen:    []executortest.Feature{executortest.NoNetwork}, // the emulator has no networks
		Elsewhere: l,
	})
}
