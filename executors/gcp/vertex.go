package gcp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// A job with GPUs is a custom job of Vertex AI, whose name Google chooses. So a call whose answer was lost, or that still
// runs when its tenon is killed, may make a job that no state records yet, and a look may come before it. Therefore a start is
// claimed in the bucket before its job is created, and tenon-pod runs nothing unless the claim names its start when it
// begins: of all jobs of a task, however they were made, those of former claims end at once. The label of the task finds
// all of them, and a later look removes those of other starts.

// Labels of custom jobs besides those of all resources.
const (
	labelTask  = "tenon-task"
	labelStart = "tenon-start"
)

// claimed returns the start that may run, or "". It is claimed where the account of the unit may read it, and not write.
func (e *Executor) claimed(ctx context.Context, st taskState) (string, error) {
	s, err := e.codeOf(ctx, st)
	if err != nil {
		return "", err
	}
	b, err := s.Note(ctx, pod.ClaimNote(st.Run))
	if errors.Is(err, artifact.ErrMissing) {
		return "", nil
	}
	return string(b), err
}

// findCustom completes the state of a task with its job on Vertex AI, and reports whether there is one. It returns those of
// other starts too.
func (e *Executor) findCustom(ctx context.Context, st *taskState) (there bool, others []customJob, err error) {
	all, err := e.client.customsOf(ctx, *st, labelTask, st.Run)
	if err != nil || len(all) == 0 {
		return false, nil, err
	}
	if st.Unit == "" { // only the name of the task is known
		if st.Unit = all[0].unit(); st.Unit == "" {
			return false, nil, fmt.Errorf("the custom job %s has the label %s, and tenon has not made it: remove it", all[0].Name, labelTask)
		}
	}
	claim, err := e.claimed(ctx, *st)
	if err != nil {
		return false, nil, err
	}
	for _, j := range all {
		if claim != "" && j.Labels[labelStart] == claim {
			st.Custom, st.Token, there = j.Name, claim, true
		} else {
			others = append(others, j)
		}
	}
	return there, others, nil
}

// unitEnv is the variable with which a custom job names its unit: labels have neither slashes nor capitals, and there are no
// annotations.
const unitEnv = "TENON_UNIT"

func (j *customJob) unit() string {
	if j.Spec == nil || len(j.Spec.Pools) == 0 {
		return ""
	}
	for _, v := range j.Spec.Pools[0].Container.Env {
		if v.Name == unitEnv {
			return v.Value
		}
	}
	return ""
}

// startCustom makes the job of a task on Vertex AI, or finds it.
func (e *Executor) startCustom(ctx context.Context, st *taskState, t executors.Task) error {
	there, others, err := e.findCustom(ctx, st)
	if err == nil {
		err = e.endCustoms(ctx, *st, others)
	}
	if err != nil || there {
		return err
	}
	var image string
	bucket := e.bucket(*st)
	notes, err := e.codeOf(ctx, *st)
	if err != nil {
		return err
	}
	task, err := bucket.Send(ctx, t, func(ctx context.Context) (err error) {
		image, err = e.images.Of(ctx, t, e.names().registry())
		return err
	})
	if err != nil {
		return err
	}
	task.Grace, task.Places = e.opts.Grace, bucket.Places(t)
	for pause := e.opts.Pause; ; pause *= 2 {
		st.Token = newToken()
		task.Name, task.Claim = st.start(), &pod.Claim{Task: st.Run, Start: st.Token}
		command, err := bucket.Command(ctx, st.Unit, task, pod.Work+"/end")
		if err != nil {
			return err
		}
		if err := notes.PutNote(ctx, pod.ClaimNote(st.Run), []byte(st.Token)); err != nil {
			return err
		}
		body, err := json.Marshal(e.customOf(*st, t, image, command))
		if err != nil {
			return err
		}
		made, err := e.client.createCustom(ctx, *st, body)
		if err == nil {
			st.Custom = made.Name
			return nil
		}
		if !temporary(err) || explained(err) != "" || pause > e.opts.Pause<<patience {
			return explainVertex("create the custom job "+st.start(), err)
		}
		if err := cloud.Sleep(ctx, pause); err != nil {
			return err
		}
		if there, _, err := e.findCustom(ctx, st); err != nil || there { // that of the call whose answer was lost
			return err
		}
	}
}

// customOf returns the custom job of a start.
func (e *Executor) customOf(st taskState, t executors.Task, image string, command []string) customJob {
	w := e.names()
	labels := w.labels()
	labels["tenon-unit"], labels[labelTask], labels[labelStart] = labelOf(st.Unit), st.Run, st.Token
	m, _ := machineOf(t.Unit.Needs)
	strategy := "STANDARD"
	if e.opts.Jobs.Spot {
		strategy = "SPOT"
	}
	return customJob{Display: st.start(), Labels: labels, Spec: &customSpec{
		ServiceAccount: w.email(st.Unit),
		Scheduling: customScheduling{
			Timeout: seconds((cmp.Or(t.Unit.Timeout, mostTime) + time.Second - 1).Truncate(time.Second)), DisableRetries: true, Strategy: strategy,
		},
		Pools: []customPool{{
			Machine: customMachine{m.name, m.accelerator, m.gpus}, Replicas: "1", Disk: customDisk{"pd-ssd", disk(t.Unit.Needs)},
			Container: customContainer{image, command[:1], command[1:], []customEnv{{unitEnv, st.Unit}}},
		}},
	}}
}

// lookCustom returns the status of a custom job, and its result if it has ended and stored one.
func (f *followed) lookCustom(ctx context.Context) (state.Status, *pod.Result, error) {
	var j customJob
	there, err := f.e.client.custom(ctx, f.st, &j)
	if err != nil || !there {
		return state.Status{Phase: state.Absent}, nil, err
	}
	now := state.Status{Phase: state.Running, Started: j.StartTime.UTC()}
	switch {
	case j.over():
	case j.State == "JOB_STATE_RUNNING" || j.State == "JOB_STATE_CANCELLING":
		return now, nil, nil
	default:
		if now.Queued = true; time.Since(j.CreateTime) > prompt {
			now.Message = "Vertex AI prepares a machine for it"
		}
		return now, nil, nil
	}
	res, err := f.e.run(f.st).Result(ctx)
	if err != nil {
		return state.Status{Phase: state.Absent}, nil, err
	}
	now.Phase, now.Finished = state.Failed, j.EndTime.UTC()
	why := ""
	if j.Error != nil {
		if why = matched(vertexReasons, j.Error.Message, j.Error.Message); why == "" {
			why = oneLine(j.Error.Message)
		}
	}
	if res != nil {
		cloud.Ended(&now, res)
		now.Over = now.Phase == state.Succeeded
		return now, res, nil
	}
	if now.Message = why; why == "" {
		now.Message = "Vertex AI says " + j.State + ", and its result is not in the bucket"
	}
	now.Lacking, now.Interrupted = cloud.Lacks(why, lacking), cloud.Lacks(why, []string{takenBack})
	return now, nil, nil
}

// endCustoms ends custom jobs, and returns once they are removed.
func (e *Executor) endCustoms(ctx context.Context, st taskState, jobs []customJob) error {
	for _, j := range jobs {
		asked := false
		err := e.until(ctx, "end the custom job "+j.Name, func(ctx context.Context) (bool, error) {
			at := st
			at.Custom = j.Name
			var now customJob
			there, err := e.client.custom(ctx, at, &now)
			switch {
			case err != nil || !there:
				return true, err
			case now.over():
				return false, e.client.removeCustom(ctx, st, j.Name)
			case !asked:
				asked = true
				return false, e.client.cancelCustom(ctx, st, j.Name)
			}
			return false, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// destroyCustom ends the jobs of a start, and removes them and the claim.
func (e *Executor) destroyCustom(ctx context.Context, st taskState) error {
	claim, err := e.claimed(ctx, st)
	if err != nil || claim != "" && claim != st.Token { // that of a later start
		return err
	}
	now := st
	there, others, err := e.findCustom(ctx, &now)
	if err != nil {
		return err
	}
	if there {
		others = append(others, customJob{Name: now.Custom})
	}
	if err := e.endCustoms(ctx, st, others); err != nil {
		return err
	}
	s, err := e.codeOf(ctx, st)
	if err != nil {
		return err
	}
	return s.DeleteNotes(ctx, pod.ClaimNote(st.Run))
}
