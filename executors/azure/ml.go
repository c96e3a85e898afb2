package azure

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
)

// A job that needs more than a container of Container Apps has is a command job of Azure Machine Learning. Its name has
// the token of its start, because it is not documented that a name can be used again. A call may still be under way when
// its tenon is killed, so that a look may come before its job. Therefore a start is claimed in the container of blobs
// before its job is created, and tenon-pod runs nothing unless the claim names its start when it begins: of all jobs of
// a task, those of former claims end at once. A tag of the task finds all of them, and a later look removes those of
// other starts.

// codeOf returns the store with the code of a unit, which the unit may read and not write.
func (e *Executor) codeOf(ctx context.Context, st taskState) (*remote.Store, error) {
	s, err := e.stores.At(ctx, e.bucket(st).URL(cloud.Below(st.Unit, "code")))
	if err != nil {
		return nil, fmt.Errorf("%w; the infrastructure has the storage and the rights: apply what tenon compile --format=terraform writes", err)
	}
	return s, nil
}

// claimed returns the start that may run, or "".
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

// findML completes the state of a task with its job on Azure Machine Learning, and reports whether there is one. It
// returns those of other starts too.
func (e *Executor) findML(ctx context.Context, st *taskState) (there bool, others []mlJob, err error) {
	all, err := e.client.mlJobs(ctx, *st, st.Run)
	if err != nil || len(all) == 0 {
		return false, nil, err
	}
	has := all[0].Properties.Tags
	if st.Unit == "" { // only the name of the task is known
		st.Unit, st.Root, st.Account = has[tagUnit], cmp.Or(has[tagRoot], st.Root), cmp.Or(has[tagAccount], st.Account)
	}
	if has[tagUnit] == "" || has[tagUnit] != st.Unit {
		return false, nil, fmt.Errorf("the workspace %s has a job %s with the tag %s that is not of %s: choose another prefix or resource group", st.Workspace, all[0].Name, st.Run, st.Unit)
	}
	claim, err := e.claimed(ctx, *st)
	if err != nil {
		return false, nil, err
	}
	for _, j := range all {
		if claim != "" && j.Properties.Tags[tagToken] == claim {
			st.Token, there = claim, true
		} else {
			others = append(others, j)
		}
	}
	return there, others, nil
}

// searchML is findML for a task of which only the name is known. A subscription without Azure Machine Learning has no jobs
// there, and who may not look has started none, because each start looks too.
func (e *Executor) searchML(ctx context.Context, st *taskState) (bool, error) {
	now := *st
	now.Workspace = e.names().workspace()
	there, _, err := e.findML(ctx, &now)
	if noLearning(err) {
		return false, nil
	}
	if err == nil && there {
		*st = now
	}
	return there, err
}

// startML makes the job of a task on Azure Machine Learning, or finds it.
func (e *Executor) startML(ctx context.Context, st *taskState, t executors.Task) error {
	there, others, err := e.findML(ctx, st)
	if err == nil {
		err = e.endML(ctx, *st, others)
	}
	if err != nil || there {
		return err
	}
	notes, err := e.codeOf(ctx, *st)
	if err != nil {
		return err
	}
	st.Token = newToken()
	need, err := e.need(ctx, *st, t)
	if err != nil {
		return err
	}
	environment, err := e.client.environment(ctx, *st, e.names().nodes(st.Unit), mlImage{Image: need.image, OS: "Linux"})
	if err != nil {
		return err
	}
	if err := notes.PutNote(ctx, pod.ClaimNote(st.Run), []byte(st.Token)); err != nil {
		return err
	}
	refused := e.client.createML(ctx, *st, e.commandOf(*st, t, need, environment))
	if refused == nil {
		return nil
	}
	// Its answer may be lost.
	if there, err := e.client.mlJob(ctx, *st, st.start(), &mlJob{}); err == nil && there {
		return nil
	}
	return explainML("create the job "+st.start(), refused)
}

// commandOf returns the job of a start.
func (e *Executor) commandOf(st taskState, t executors.Task, need appNeeds, environment string) mlJob {
	w := e.names()
	tags := e.tagsOf(st)
	tags[st.Run] = st.Token // by whose name the job is found
	words := make([]string, len(need.command))
	for i, word := range need.command {
		words[i] = quoted(word)
	}
	return mlJob{Properties: mlCommand{
		Type: "Command", Display: st.Unit, Experiment: w.prefix, Command: strings.Join(words, " "), Environment: environment,
		Compute: st.learningID("computes", w.nodes(st.Unit)), Identity: &mlIdentity{"Managed", need.client},
		Variables: need.variables(),
		Limits:    &mlLimits{"Command", fmt.Sprintf("PT%dS", int64((cmp.Or(t.Unit.Timeout, longestTime)+time.Second-1)/time.Second))}, // if this machine is gone by then
		Resources: &mlResources{1}, Tags: tags,
	}}
}

// quoted returns a word of a command for a shell. Azure Machine Learning replaces what begins with "${{" in a command: no
// URL, digest or path of tenon has it.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// lookML returns the status of a job on Azure Machine Learning, and its result if it has ended and stored one.
func (f *followed) lookML(ctx context.Context) (state.Status, *pod.Result, error) {
	var j mlJob
	absent := state.Status{Phase: state.Absent}
	there, err := f.e.client.mlJob(ctx, f.st, f.st.start(), &j)
	switch {
	case err != nil || !there:
		return absent, nil, err
	case !j.over() && !j.runs():
		now, err := f.waitingML(ctx, j)
		return now, nil, err
	case !j.over():
		f.queued = time.Time{}
		if f.began.IsZero() {
			if r, err := f.e.client.runOf(ctx, f.st, f.e.opts.Location); err == nil { // only what people see depends on it
				f.began = r.Started.UTC()
			}
		}
		return state.Status{Phase: state.Running, Started: f.began}, nil, nil
	}
	res, err := f.e.run(f.st).Result(ctx)
	if err != nil {
		return absent, nil, err
	}
	now := state.Status{Phase: state.Failed}
	if res != nil {
		cloud.Ended(&now, res)
		now.Over = now.Phase == state.Succeeded
		return now, res, nil
	}
	r, err := f.e.client.runOf(ctx, f.st, f.e.opts.Location)
	why := ""
	if err == nil {
		now.Started, now.Finished = r.Started.UTC(), r.Ended.UTC()
		why = explainedML(r.Error.Error)
	}
	switch {
	case why != "":
		now.Message, now.Lacking, now.Interrupted = why, cloud.Lacks(why, lacking), cloud.Lacks(why, []string{takenBack})
	case j.Properties.Status == "Canceled":
		now.Message = "it was cancelled on Azure, or took longer than its timeout"
	default:
		now.Message = "Azure Machine Learning says " + j.Properties.Status + ", and its result is not in the container of blobs: see its log in the studio"
	}
	return now, nil, nil
}

// waitingML returns the status of a job that waits for a node. One whose cluster cannot get a node for a known reason has
// failed after a while: Azure would let it wait forever. Azure queues a job again whose node was taken back, so that the
// time counts from when it was first seen to wait.
func (f *followed) waitingML(ctx context.Context, j mlJob) (state.Status, error) {
	if f.queued.IsZero() {
		f.queued = time.Now()
	}
	now, waits := state.Status{Phase: state.Running, Queued: true}, time.Since(f.queued)
	if time.Since(j.System.Created) > min(prompt, f.e.opts.Stuck) {
		now.Message = "Azure Machine Learning prepares a node for it"
		said, err := f.e.client.clusterErrors(ctx, j.Properties.Compute, j.System.Created)
		if err != nil {
			return now, err
		}
		for _, x := range said {
			if why := knownML(x); why != "" && waits > f.e.opts.Stuck {
				return state.Status{Phase: state.Failed, Message: why, Lacking: cloud.Lacks(why, lacking)}, nil
			}
			now.Message = "its cluster gets no node: " + oneLine(x.Code+": "+x.Message)
		}
	}
	return now, nil
}

// userLog is the log with what a program prints.
const userLog = "user_logs/std_log.txt"

// printedML returns the lines that a job has printed after those of the last call. A line that is not complete yet comes
// later.
func (f *followed) printedML(ctx context.Context) ([]byte, error) {
	if !f.soon && time.Since(f.asked) < f.e.opts.LogPause {
		return nil, nil
	}
	f.asked = time.Now()
	r, err := f.e.client.runOf(ctx, f.st, f.e.opts.Location)
	if isStatus(err, 404) || err == nil && r.Logs[userLog] == "" {
		return nil, nil
	}
	var text []byte
	if err == nil {
		text, err = f.e.client.tail(ctx, r.Logs[userLog], f.read)
	}
	if err != nil {
		return nil, passing(err)
	}
	if len(text) < mostRead {
		text = text[:bytes.LastIndexByte(text, '\n')+1]
	}
	f.read += int64(len(text))
	return text, nil
}

// endML ends jobs, and returns once they are removed.
func (e *Executor) endML(ctx context.Context, st taskState, jobs []mlJob) error {
	for _, j := range jobs {
		asked := false
		err := e.until(ctx, "end the job "+j.Name, func(ctx context.Context) (bool, error) {
			var now mlJob
			there, err := e.client.mlJob(ctx, st, j.Name, &now)
			switch {
			case err != nil || !there:
				return true, err
			case now.over():
				return false, e.client.removeML(ctx, st, j.Name)
			case !asked:
				asked, err = e.client.cancelML(ctx, st, j.Name)
				return false, err
			}
			return false, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// destroyML ends the jobs of a start, and removes them and the claim.
func (e *Executor) destroyML(ctx context.Context, st taskState) error {
	claim, err := e.claimed(ctx, st)
	if err != nil || claim != "" && claim != st.Token { // that of a later start
		return err
	}
	run := e.run(st)
	if _, ended := run.Ended(); !ended {
		run.SaveLog(ctx, &followed{e: e, st: st, soon: true})
	}
	now := st
	there, others, err := e.findML(ctx, &now)
	if err != nil {
		return err
	}
	if there {
		others = append(others, mlJob{Name: now.start()})
	}
	if err := e.endML(ctx, st, others); err != nil {
		return err
	}
	s, err := e.codeOf(ctx, st)
	if err != nil {
		return err
	}
	return s.DeleteNotes(ctx, pod.ClaimNote(st.Run))
}
