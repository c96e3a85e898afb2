package process_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/process"
)

// runnerVar names tenon-run, also for the tenons that tests start and kill.
const runnerVar = "TENON_TEST_RUNNER"

func TestMain(m *testing.M) {
	executortest.Main(m, func(dir string) (func() error, error) {
		runner := filepath.Join(dir, "tenon-run")
		os.Setenv(runnerVar, runner) //nolint:errcheck // the name is sound
		return func() error { return nil }, executortest.BuildStatic(runner, "github.com/tenon-ml/tenon/cmd/tenon-run")
	})
}

func newExecutor(o process.Options) *process.Executor {
	o.Runner = os.Getenv(runnerVar)
	return process.New(o)
}

func TestConformance(t *testing.T) {
	executortest.Run(t, executortest.Config{
		New: func(testing.TB) executors.Executor {
			return newExecutor(process.Options{Grace: 500 * time.Millisecond})
		},
		Lacks: append([]executortest.Feature{executortest.Image, executortest.NoNetwork, executortest.PIDs, executortest.SecretFile}, executortest.Cluster...),
	})
}
