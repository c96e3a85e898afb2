package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

const (
	trainingGroup = "/aws/sagemaker/TrainingJobs" // of the logs of all training jobs of an account
	failureFile   = "/opt/ml/output/failure"      // what it has becomes the reason of a failure

	mostTraining = 63             // characters of a name
	mostArgument = 256            // characters of an argument of a container
	leastVolume  = 30             // GB
	usualRuntime = 24 * time.Hour // of a job without a timeout
	mostRuntime  = 28 * 24 * time.Hour
)

// trainingJobs runs jobs as training jobs of SageMaker. A job is its own record: its name follows
// from the task, so that SageMaker starts it once, and it is deleted when the task is forgotten, so
// that the name can be used again.
type trainingJobs struct{ *Executor }

// trainingName returns the name of a task's training job. It begins as the role of the unit
// demands, and ends with what is unique in the account and follows from the task alone.
func (e *Executor) trainingName(prefix, task string) string {
	sum := e.taskSum(task)
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, task)
	plain = plain[:min(len(plain), mostTraining-len(prefix)-len(sum)-1)]
	if plain = strings.Trim(plain, "-"); plain != "" {
		plain += "-"
	}
	return prefix + plain + sum
}

// prepare implements [backend].
func (e trainingJobs) prepare(st *taskState, t executors.Task) {
	st.Run, st.Group = e.trainingName(e.names().training(&t.Unit), t.Name), trainingGroup
}

// apply implements [backend].
func (e trainingJobs) apply(ctx context.Context, c *cloud, st *taskState, t executors.Task, _ *taskState) error {
	if there, err := e.find(ctx, c, st); err != nil || there {
		return err
	}
	var secrets []pod.Secret
	image, task, err := e.supply(ctx, c, *st, t, func(ctx context.Context) (err error) {
		secrets, err = e.secrets(ctx, c, t)
		return err
	})
	if err != nil {
		return err
	}
	task.Secrets = secrets
	st.Record = st.Run
	command, err := e.instruct(ctx, c, *st, t, task, failureFile)
	if err != nil {
		return err
	}
	for _, a := range command {
		if len(a) > mostArgument {
			return fmt.Errorf("SageMaker takes arguments of at most %d characters, and %s has %d: choose a shorter folder in the target, or a shorter name of the system or the unit", mostArgument, a, len(a))
		}
	}
	resources := map[string]any{
		"InstanceCount": 1, "InstanceType": e.opts.trainingInstance(t.Unit.Needs), "VolumeSizeInGB": max(leastVolume, (t.Unit.Needs.Disk+gib-1)/gib),
	}
	if warm := e.opts.Jobs.warm(); warm > 0 {
		resources["KeepAlivePeriodInSeconds"] = warm / time.Second
	}
	in := map[string]any{
		"TrainingJobName": st.Run, "RoleArn": e.names().role(c, placedAt(onTraining, t.Unit.ID)), "Tags": tagList(e.tags(*st)),
		"AlgorithmSpecification": map[string]any{
			"TrainingImage": image, "TrainingInputMode": "File", "ContainerEntrypoint": command[:1], "ContainerArguments": command[1:],
		},
		// What SageMaker stores by itself is empty. It goes where the role may write, and goes with the notes.
		"OutputDataConfig":  map[string]any{"S3OutputPath": st.notes() + "/notes/runs/" + st.start()},
		"ResourceConfig":    resources,
		"StoppingCondition": e.stopping(t.Unit.Timeout), "EnableManagedSpotTraining": e.opts.Jobs.Spot,
	}
	return e.create(ctx, c, st, t, in)
}

// create starts a training job. While others have all instances that the quota allows, or while
// SageMaker deletes a former job of the same name, it waits.
func (e trainingJobs) create(ctx context.Context, c *cloud, st *taskState, t executors.Task, in map[string]any) error {
	deleted := time.Now().Add(endPatience)
	for pause, said := e.opts.Pause, false; ; pause = min(2*pause, e.opts.Longest) {
		err := c.sagemaker.call(ctx, "CreateTrainingJob", in, nil)
		if hasCode(err, "ResourceInUse") { // of an earlier call without an answer, or of another tenon
			e.prepare(st, t)
			if there, err := e.find(ctx, c, st); err != nil || there {
				return err
			}
			if st.Run != in["TrainingJobName"] {
				return fmt.Errorf("another tenon has run the training job %s meanwhile: try again", in["TrainingJobName"])
			}
			if time.Now().After(deleted) {
				return fmt.Errorf("SageMaker has not deleted the former training job %s within %s: try again", st.Run, endPatience)
			}
			if err := sleep(ctx, pause); err != nil {
				return err
			}
			continue
		}
		if !hasCode(err, "ResourceLimitExceeded") {
			return explainStart(st.Run, err)
		}
		if _, err := e.Admit(ctx, []ir.Unit{t.Unit}); err != nil { // it never fits
			return err
		}
		if !said {
			if err := inside.AppendProgress(st.Dir, step.Progress{Waits: "other jobs of the account have all its instances: " + oneLine(err.Error())}); err != nil {
				return err
			}
		}
		said = true
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// explainStart says what to change if SageMaker refused to start a job.
func explainStart(name string, err error) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		if why := fromList(api.ErrorCode() + ": " + api.ErrorMessage()); why != "" {
			return lackingError(why)
		}
	}
	return explainCall("start the training job "+name, err)
}

// tagForgotten is a tag of a training job that no longer records a task, and whose instance stays for the next one.
const tagForgotten = "tenon:forgotten"

// numbered returns the name of a training job of a task for which n others are forgotten. It ends as all of them do, so that it is
// found by the sum of the task.
func numbered(name string, n int) string {
	sum := name[len(name)-sumLength:]
	number := strconv.Itoa(n) + "-"
	rest := strings.TrimSuffix(strings.TrimSuffix(name, sum), "-")
	rest = rest[:min(len(rest), mostTraining-len("-"+number+sum))]
	return strings.TrimSuffix(rest, "-") + "-" + number + sum
}

// unnumbered returns the name of which the others are [numbered].
func unnumbered(names []string) string {
	for _, name := range names {
		if !slices.ContainsFunc(names, func(of string) bool {
			for n := 1; n < len(names); n++ {
				if of != name && numbered(of, n) == name {
					return true
				}
			}
			return false
		}) {
			return name
		}
	}
	return names[0]
}

// stopping returns when SageMaker ends a job, if this machine is gone by then.
func (e trainingJobs) stopping(timeout time.Duration) map[string]any {
	runtime := (max(min(cmp.Or(timeout, usualRuntime), mostRuntime), leastTime) + time.Second - 1) / time.Second
	s := map[string]any{"MaxRuntimeInSeconds": runtime}
	if e.opts.Jobs.Spot {
		s["MaxWaitTimeInSeconds"] = runtime + e.opts.Jobs.wait()/time.Second
	}
	return s
}

// find implements [backend]. A task is there while its training job is.
func (e trainingJobs) find(ctx context.Context, c *cloud, st *taskState) (bool, error) {
	if st.Run == "" { // only the name of the task is known
		names, err := c.trainingsWith(ctx, e.taskSum(st.Name))
		if err != nil || len(names) == 0 {
			return false, err
		}
		st.Run, st.Group = unnumbered(names), trainingGroup
	}
	name, n := st.Run, 0
	var tags map[string]string
	for {
		job, err := c.training(ctx, st.Run)
		if err != nil || job == nil {
			return false, err
		}
		if tags, err = c.tagsOf(ctx, job.TrainingJobArn); err != nil {
			return false, err
		}
		if tags[tagForgotten] == "" {
			break
		}
		n++ // the name is taken by a job whose instance stays
		st.Run = numbered(name, n)
	}
	if of := tags[tagTask]; of != st.Name {
		return false, fmt.Errorf("the region %s already has a training job %s, which is not of the task %s: choose another prefix or region", c.region, st.Run, st.Name)
	}
	st.Record, st.Unit, st.Root = st.Run, cmp.Or(st.Unit, tags[tagUnit]), cmp.Or(tags[tagRoot], st.Root)
	return true, nil
}

// look implements [backend].
func (e trainingJobs) look(ctx context.Context, c *cloud, st *taskState) (state.Status, *pod.Result, error) {
	job, err := c.training(ctx, st.Record)
	if err != nil || job == nil {
		return state.Status{Phase: state.Absent}, nil, err
	}
	if !job.over() {
		return trainingNow(job), nil, nil
	}
	res, err := e.run(c, *st).Result(ctx)
	if err != nil {
		return state.Status{Phase: state.Absent}, nil, err
	}
	return statusOf(trainingEnd(job), res), res, nil
}

// stream implements [backend]. A job that SageMaker starts again, because its spare capacity was
// taken back, has another stream.
func (e trainingJobs) stream(ctx context.Context, c *cloud, st taskState) (group, stream string, err error) {
	streams, err := c.logs.streams(ctx, st.Group, st.Record+"/")
	if logsMissing(err) || err == nil && len(streams) == 0 {
		return "", "", nil
	}
	if err != nil {
		return "", "", explainCall("look for the log of "+st.Record, err)
	}
	last := streams[0]
	for _, s := range streams {
		if s.CreationTime > last.CreationTime {
			last = s
		}
	}
	return st.Group, last.Name, nil
}

// end implements [backend].
func (e trainingJobs) end(ctx context.Context, c *cloud, st *taskState) error {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	for asked, pause := false, e.opts.Pause; ; pause = min(2*pause, e.opts.Longest) {
		job, err := c.training(ctx, st.Record)
		if err != nil || job == nil || job.over() {
			return err
		}
		if !asked && job.TrainingJobStatus == "InProgress" {
			err := c.sagemaker.call(ctx, "StopTrainingJob", nameOf{st.Record}, nil)
			if err != nil && !refusedAsInvalid(err) { // it may have ended meanwhile
				return explainCall("stop the training job "+st.Record, err)
			}
			asked = true
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("the training job %s was asked to end %s ago and still runs: see it in the console of SageMaker", st.Record, endPatience)
		}
	}
}

// forget implements [backend].
func (e trainingJobs) forget(ctx context.Context, c *cloud, st taskState) error {
	job, err := c.training(ctx, st.Record)
	if err != nil || job == nil {
		return err
	}
	if job.WarmPoolStatus.Status == "Available" { // SageMaker does not delete it, and the instance would end with the job
		in := map[string]any{"ResourceArn": job.TrainingJobArn, "Tags": []tag{{tagForgotten, "true"}}}
		return explainCall("tag the training job "+st.Record, c.sagemaker.call(ctx, "AddTags", in, nil))
	}
	err = c.sagemaker.call(ctx, "DeleteTrainingJob", nameOf{st.Record}, nil)
	if isMissing(err) {
		return nil
	}
	return explainCall("delete the training job "+st.Record, err)
}
