package process_test

import (
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/process"
)

func TestMain(m *testing.M) { executortest.Main(m) }

func TestConformance(t *testing.T) {
	executortest.Run(t, executortest.Config{
		New: func(testing.TB) executors.Executor {
			return process.New(process.Options{Grace: 500 * time.Millisecond})
		},
		Lacks: append([]executortest.Feature{executortest.Image, executortest.NoNetwork, executortest.PIDs, executortest.SecretFile}, executortest.Cluster...),
	})
}
