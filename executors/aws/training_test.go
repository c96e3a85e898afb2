package aws_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A training lab is a target whose jobs are training jobs of SageMaker.
type trainingLab struct {
	*lab
	change func(*aws.Options)
}

// newTrainingLab is a lab for a system of its own.
func newTrainingLab(t testing.TB, system string) *trainingLab {
	l := &trainingLab{newLab(t), func(o *aws.Options) { o.System, o.Jobs.On = system, "sagemaker" }}
	l.Runs = func(task executors.Task) ([]string, error) {
		folders, _, err := l.Trainings(l.name(task))
		return folders, err
	}
	l.Folder = func(folder string) string { return folder }
	return l
}

func (l *trainingLab) executor(t testing.TB, more ...func(*aws.Options)) *aws.Executor {
	return l.lab.executor(t, append([]func(*aws.Options){l.change}, more...)...)
}

// name is that of the training job of a task.
func (l *trainingLab) name(task executors.Task) string {
	var o aws.Options
	l.change(&o)
	return aws.TrainingName(o, task)
}

func (l *trainingLab) Processes(t testing.TB, task executors.Task) int {
	return cloudtest.Processes(t, "TENON_TEST_JOB="+l.name(task)+".")
}

func (l *trainingLab) trainingTarget() ir.Target {
	t := l.target()
	t.Settings["jobs"] = map[string]any{"cpu": 64, "on": "sagemaker"}
	return t
}

func (l *trainingLab) provision(ctx context.Context, task executors.Task) error {
	var o aws.Options
	l.change(&o)
	return l.provisionOn(ctx, l.trainingTarget(), o.System, task)
}

// A provided training has the infrastructure of each unit before it is started.
type providedTraining struct {
	*aws.Executor
	l *trainingLab
}

func (p providedTraining) Apply(ctx context.Context, t executors.Task, prior *state.Handle) (state.Handle, error) {
	if err := p.l.provision(context.WithoutCancel(ctx), t); err != nil {
		return state.Handle{}, err
	}
	return p.Executor.Apply(ctx, t, prior)
}

func TestConformanceOfTrainingJobs(t *testing.T) {
	l := newTrainingLab(t, "suite")
	executortest.Run(t, executortest.Config{
		New:     func(t testing.TB) executors.Executor { return providedTraining{l.executor(t), l} },
		Program: "/bin/program", Image: cloudtest.Image(),
		Lacks:     append([]executortest.Feature{executortest.PIDs, executortest.SecretFile, executortest.Services, executortest.NoNetwork}, executortest.Cluster...),
		Elsewhere: l,
	})
}

// An apply and a destroy are killed at each call of SageMaker. The job runs once, and a sweep by tags
// finds nothing of it.
func TestTrainingKilledAtEachCall(t *testing.T) {
	const applies, calls = 2, 6 // calls of an apply, and at most of a destroy
	for at := 1; at <= calls; at++ {
		for _, before := range []bool{true, false} {
			name := fmt.Sprintf("training-%d-%v", at, before)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				l := newTrainingLab(t, name)
				doomed := func() *aws.Executor {
					e := l.executor(t)
					aws.Configure(e, (&mortal{service: "SageMaker", at: at, before: before}).overHTTP)
					return e
				}
				task := cloudtest.Task(t, name, "exit", "0")
				ok(t, l.provision(t.Context(), task))
				if _, err := doomed().Apply(t.Context(), task, nil); (err == nil) != (at > applies) {
					t.Errorf("an apply that is killed at call %d gives %v, and it makes %d", at, err, applies)
				}
				e := l.executor(t)
				found, err := e.Find(t.Context(), task.Name, task.Dir)
				ok(t, err)
				if started := at > applies || at == applies && !before; (found != nil) != started {
					t.Errorf("it finds %v", found)
				}
				h, err := e.Apply(t.Context(), task, nil)
				ok(t, err)
				st, err := e.Wait(t.Context(), h)
				ok(t, err)
				_, created, err := l.Trainings(l.name(task))
				ok(t, err)
				if st.Phase != state.Succeeded || created != 1 || l.Starts(t, task) != 1 {
					t.Errorf("%+v after %d training jobs", st, created)
				}
				_ = doomed().Destroy(t.Context(), h) // which may come to its end
				ok(t, e.Destroy(t.Context(), h))
				left, err := l.Left(t.Context(), name)
				ok(t, err)
				if len(left) > 0 {
					t.Errorf("it has left %v", left)
				}
			})
		}
	}
}

// SageMaker starts a job again whose spare capacity was taken back. It resumes from what it had saved when it was asked to end.
func TestAnInterruptedTrainingJobResumes(t *testing.T) {
	l := newTrainingLab(t, "interrupted")
	e := l.executor(t, func(o *aws.Options) { o.Jobs.Spot = true })
	task := cloudtest.Task(t, "interrupted", "count", "5", "hold")
	task.Unit.Checkpoints = 2
	task.Checkpoints = &step.Checkpoints{Path: t.TempDir(), Key: task.Key, Keep: 2, Attempt: 1}
	ok(t, l.provision(t.Context(), task))
	h, err := e.Apply(t.Context(), task, nil)
	ok(t, err)
	defer func() { ok(t, e.Destroy(context.Background(), h)) }()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, holds := l.Output(task, program.Holding); holds {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it has not counted to 3")
		}
	}
	time.Sleep(2 * time.Second) // the emulator kills a job after a second, and SageMaker after two minutes
	ok(t, l.Interrupt(l.name(task)))
	st, err := e.Wait(t.Context(), h)
	ok(t, err)
	if st.Phase != state.Succeeded || l.Starts(t, task) != 2 {
		t.Fatalf("%+v after %d starts", st, l.Starts(t, task))
	}
	from, err := os.ReadFile(filepath.Join(task.Dir, "out", "out", "from"))
	if err != nil || string(from) != "3 of attempt 1" {
		t.Errorf("it resumed from %q, %v", from, err)
	}
}

// What SageMaker says becomes what to change.
func TestTrainingJobsThatCannotRun(t *testing.T) {
	t.Run("quota", func(t *testing.T) {
		l := newTrainingLab(t, "quota")
		name := "ml.p4d.24xlarge for training job usage"
		ok(t, l.SetQuota("sagemaker", name, 0))
		e := l.executor(t)
		u := ir.Unit{ID: "models/a/train", Kind: ir.Job, Needs: ir.Resources{GPU: 8, GPUModel: "A100"}}
		var lacks *executors.LackingError
		_, err := e.Admit(t.Context(), []ir.Unit{u})
		if !errors.As(err, &lacks) || !strings.Contains(err.Error(), `models/a/train needs 1 of the quota "`+name+`" (L-`) || !strings.Contains(err.Error(), "aws service-quotas request-service-quota-increase --region eu-central-1 --service-code sagemaker --quota-code L-") {
			t.Errorf("a quota of 0 gives %v", err)
		}
		task := cloudtest.Task(t, "quota", "exit", "0")
		task.Unit.Needs = u.Needs
		ok(t, l.provision(t.Context(), task))
		if _, err := e.Apply(t.Context(), task, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("an apply gives %v", err)
		}
	})
	for name, c := range map[string]struct {
		reason, want string
		lacking      bool
	}{
		"capacity": {"CapacityError: Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error.", "the region has no capacity for it now", true},
		"image":    {"ClientError: ECR image 1.dkr.ecr.eu-central-1.amazonaws.com/a@sha256:0 not found", "its image is not in the repository", false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTrainingLab(t, "fails-"+name)
			task := cloudtest.Task(t, "fails-"+name, "exit", "0")
			ok(t, l.provision(t.Context(), task))
			ok(t, l.Refuse(c.reason))
			e := l.executor(t)
			h, err := e.Apply(t.Context(), task, nil)
			ok(t, err)
			defer func() { ok(t, e.Destroy(context.Background(), h)) }()
			st, err := e.Wait(t.Context(), h)
			ok(t, err)
			if st.Phase != state.Failed || !strings.HasPrefix(st.Message, c.want) || st.Lacking != c.lacking {
				t.Errorf("%+v, want %s, lacking: %v", st, c.want, c.lacking)
			}
		})
	}
}
