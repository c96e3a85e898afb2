package aws_test

import (
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/planner/state"
)

// The instance of a training job stays for the next run of its unit, so that SageMaker does not delete the job. A task that is
// forgotten is not found, and may run again under its name.
func TestTheInstanceOfATrainingJobStays(t *testing.T) {
	l := newTrainingLab(t, "warm")
	e := l.executor(t, func(o *aws.Options) { o.Jobs.Warm = "30m" })
	task := cloudtest.Task(t, "warm", "exit", "0")
	ok(t, l.provision(t.Context(), task))
	for run := 1; run <= 3; run++ {
		h, err := e.Apply(t.Context(), task, nil)
		ok(t, err)
		found, err := e.Find(t.Context(), task.Name, task.Dir)
		ok(t, err)
		if found == nil || string(found.Data) == "" {
			t.Fatalf("run %d is not found", run)
		}
		st, err := e.Wait(t.Context(), h)
		ok(t, err)
		if st.Phase != state.Succeeded {
			t.Fatalf("run %d is %+v", run, st)
		}
		ok(t, e.Destroy(t.Context(), h))
		ok(t, e.Destroy(t.Context(), h))
		if found, err = e.Find(t.Context(), task.Name, task.Dir); err != nil || found != nil {
			t.Errorf("it finds %v, %v after a destroy", found, err)
		}
	}
	if warm, err := l.Warm(l.name(task)); err != nil || warm != 3 {
		t.Errorf("%d of 3 training jobs kept or handed on their instance: %v", warm, err)
	}
	if left, err := l.Left(t.Context(), "warm"); err != nil || len(left) > 0 {
		t.Errorf("it has left %v, %v", left, err)
	}
}

// A plan says what an idle instance costs, and refuses what SageMaker does. The quota of warm instances counts, too.
func TestChecksOfWarmInstances(t *testing.T) {
	l := newLab(t)
	u := cloudtest.Job("models/a/train", func(u *ir.Unit) { u.Needs.GPU = 1 })
	for _, c := range []struct {
		jobs aws.Jobs
		note bool
	}{{aws.Jobs{Warm: "30m"}, true}, {aws.Jobs{Warm: "30m", Spot: true}, false}, {aws.Jobs{Warm: "2h"}, false}} {
		faults := l.executor(t, func(o *aws.Options) { o.Jobs = c.jobs }).Check(u)
		if len(faults) != 1 || faults[0].Note != c.note {
			t.Errorf("%+v: %+v", c.jobs, faults)
		}
	}
	ok(t, l.SetQuota("sagemaker", "ml.g4dn.xlarge for training warm pool usage", 0))
	if _, err := l.executor(t, func(o *aws.Options) { o.Jobs.Warm = "1h" }).Admit(t.Context(), []ir.Unit{u}); err == nil {
		t.Error("a quota of 0 for warm instances suffices")
	}
}
