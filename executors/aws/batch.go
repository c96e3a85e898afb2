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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/smithy-go"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// batchJobs runs jobs on AWS Batch. The record of a task is a revision of a job definition.
type batchJobs struct{ *Executor }

// prepare implements [backend].
func (e batchJobs) prepare(st *taskState, t executors.Task) {
	w := e.names()
	st.Queue, st.Group = w.queue(laneOf(&t.Unit)), w.logGroup(&t.Unit)
}

// apply implements [backend].
func (e batchJobs) apply(ctx context.Context, c *cloud, st *taskState, t executors.Task, _ *taskState) error {
	there, err := e.find(ctx, c, st)
	if err == nil && there && st.Job == "" {
		// The apply that registered it was killed, maybe just after it had submitted the job.
		err = e.settle(ctx, c, st)
	}
	if err == nil && st.Job == "" {
		err = e.start(ctx, c, st, t)
	}
	return err
}

// find implements [backend]. A task is there once its definition is registered.
func (e batchJobs) find(ctx context.Context, c *cloud, st *taskState) (bool, error) {
	st.Run = e.runName(st.Name)
	all, err := c.definitions(ctx, st.Run)
	if err != nil || len(all) == 0 {
		return false, err
	}
	d := all[0] // if two tenons registered it at once, both take this one
	if of := d.Tags[tagUnit]; st.Unit != "" && of != "" && of != st.Unit {
		return false, fmt.Errorf("the region %s already has %s of %s: choose another prefix or region", c.region, st.Run, of)
	}
	st.Record, st.Unit = aws.ToString(d.JobDefinitionArn), cmp.Or(st.Unit, d.Tags[tagUnit])
	st.Queue, st.Root = cmp.Or(d.Tags[tagQueue], st.Queue), cmp.Or(d.Tags[tagRoot], st.Root)
	if p := d.ContainerProperties; p != nil && p.LogConfiguration != nil {
		st.Group = p.LogConfiguration.Options["awslogs-group"]
	}
	return true, e.findJob(ctx, c, st)
}

// findJob completes the state with the job. Of several, the first counts, and the others, which
// a killed apply may have left if AWS Batch did not list the first in time, are ended.
func (e batchJobs) findJob(ctx context.Context, c *cloud, st *taskState) error {
	jobs, err := c.jobsOf(ctx, *st)
	if err != nil || len(jobs) == 0 {
		return err
	}
	st.Job = jobs[0]
	for _, id := range jobs[1:] {
		if err := c.terminate(ctx, id, "tenon submitted it twice"); err != nil {
			return err
		}
	}
	return nil
}

// settle waits as long as AWS Batch may take to list a job that was submitted.
func (e batchJobs) settle(ctx context.Context, c *cloud, st *taskState) error {
	for end := time.Now().Add(e.opts.Settle); st.Job == "" && time.Now().Before(end); {
		if err := sleep(ctx, e.opts.Pause); err != nil {
			return err
		}
		if err := e.findJob(ctx, c, st); err != nil {
			return err
		}
	}
	return nil
}

// start submits the job of a task, which may be registered already.
func (e batchJobs) start(ctx context.Context, c *cloud, st *taskState, t executors.Task) error {
	var secrets []pod.Secret
	var unusable error
	image, task, err := e.supply(ctx, c, *st, t, func(ctx context.Context) (err error) {
		secrets, err = e.secrets(ctx, c, t)
		return err
	}, func(context.Context) error {
		unusable = c.usable(ctx, st.Queue, t.Unit.Needs) // whatever else is missing: this comes first for a user
		return unusable
	})
	if unusable != nil {
		return unusable
	}
	if err != nil {
		return err
	}
	if st.Record == "" {
		if err := e.register(ctx, c, st, t, image, secrets); err != nil {
			return err
		}
		if st.Job != "" {
			return nil // of another tenon
		}
	}
	err = e.submit(ctx, c, st, t, task)
	var refused *refusedError
	if errors.As(err, &refused) { // so nothing runs
		err = errors.Join(err, c.deregister(context.WithoutCancel(ctx), st.Record))
	}
	return err
}

// A refusedError says that AWS Batch refused to submit a job.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// A containerOf says in what a container of AWS Batch differs from others.
type containerOf struct {
	image, role, execution, group string // group is that of its log
	open                          bool   // it reaches the Internet
	milli, memory                 int64  // thousandths of cores, and MiB
}

// x86 is an architecture, as AWS Batch spells it.
const x86 = "X86_64"

// container returns the properties of a container on Fargate.
func (e *Executor) container(c *cloud, of containerOf) *types.ContainerProperties {
	ip, architecture := types.AssignPublicIpDisabled, x86
	if of.open && e.opts.Existing.Network == nil {
		ip = types.AssignPublicIpEnabled // there is no NAT gateway
	}
	if e.opts.Architecture == "arm64" {
		architecture = "ARM64"
	}
	return &types.ContainerProperties{
		Image: &of.image, JobRoleArn: &of.role, ExecutionRoleArn: &of.execution,
		User: aws.String("0"), // the user of the image may not make the folders; a task of Fargate is a machine of its own
		ResourceRequirements: []types.ResourceRequirement{
			{Type: types.ResourceTypeVcpu, Value: aws.String(strconv.FormatFloat(float64(of.milli)/1000, 'f', -1, 64))},
			{Type: types.ResourceTypeMemory, Value: aws.String(strconv.FormatInt(of.memory, 10))},
		},
		NetworkConfiguration: &types.NetworkConfiguration{AssignPublicIp: ip},
		RuntimePlatform:      &types.RuntimePlatform{CpuArchitecture: &architecture, OperatingSystemFamily: aws.String("LINUX")},
		LogConfiguration: &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
			"awslogs-group": of.group, "awslogs-region": c.region, "awslogs-stream-prefix": "job",
		}},
	}
}

// register registers a definition for one start of a task.
func (e batchJobs) register(ctx context.Context, c *cloud, st *taskState, t executors.Task, image string, secrets []pod.Secret) error {
	w := e.names()
	milli, memory, _ := size(t.Unit.Needs)
	p := e.container(c, containerOf{image: image, role: w.role(c, placedAt(onBatch, t.Unit.ID)), execution: w.role(c, execution(t.Unit.ID)), group: st.Group, open: open(&t.Unit), milli: milli, memory: memory})
	for _, x := range secrets {
		p.Secrets = append(p.Secrets, types.Secret{Name: aws.String(pod.SecretEnv + x.Name), ValueFrom: &x.ARN})
	}
	if d := t.Unit.Needs.Disk; d > leastDisk {
		p.EphemeralStorage = &types.EphemeralStorage{SizeInGiB: aws.Int32(int32((d-1)>>30 + 1))}
	}
	out, err := c.batch.RegisterJobDefinition(ctx, &batch.RegisterJobDefinitionInput{
		JobDefinitionName: &st.Run, Type: types.JobDefinitionTypeContainer, PlatformCapabilities: []types.PlatformCapability{types.PlatformCapabilityFargate},
		ContainerProperties: p, PropagateTags: aws.Bool(true), RetryStrategy: &types.RetryStrategy{Attempts: aws.Int32(1)}, Tags: e.tags(*st),
	})
	if err != nil {
		return explainCall("register the job definition "+st.Run, err)
	}
	own := aws.ToString(out.JobDefinitionArn)
	if _, err := e.find(ctx, c, st); err != nil {
		return err
	}
	if st.Record == "" { // it is not listed yet
		st.Record = own
	} else if st.Record != own {
		return c.deregister(ctx, own)
	}
	return nil
}

// submit writes what the job has to do into the bucket, and submits it.
func (e batchJobs) submit(ctx context.Context, c *cloud, st *taskState, t executors.Task, task pod.Task) error {
	command, err := e.instruct(ctx, c, *st, t, task, pod.Work+"/end")
	if err != nil {
		return err
	}
	in := &batch.SubmitJobInput{
		JobName: &st.Run, JobQueue: &st.Queue, JobDefinition: &st.Record, PropagateTags: aws.Bool(true), Tags: e.tags(*st),
		ContainerOverrides: &types.ContainerOverrides{Command: command},
	}
	if limit := t.Unit.Timeout; limit > 0 { // if this machine is gone by then
		in.Timeout = &types.JobTimeout{AttemptDurationSeconds: aws.Int32(int32((max(limit, leastTime) + time.Second - 1) / time.Second))}
	}
	out, err := c.batch.SubmitJob(ctx, in, onlyThrottled)
	if err != nil {
		var api smithy.APIError
		said := explainCall("submit the job "+st.Run, err)
		if errors.As(err, &api) && api.ErrorFault() == smithy.FaultClient {
			return &refusedError{said}
		}
		return said
	}
	st.Job = aws.ToString(out.JobId)
	return nil
}

// look implements [backend].
func (e batchJobs) look(ctx context.Context, c *cloud, st *taskState) (state.Status, *pod.Result, error) {
	absent := state.Status{Phase: state.Absent}
	if st.Job == "" {
		if err := e.findJob(ctx, c, st); err != nil || st.Job == "" {
			return absent, nil, err
		}
	}
	job, err := c.job(ctx, st.Job)
	if err != nil {
		return absent, nil, err
	}
	if job != nil && !isOver(job.Status) {
		return e.running(ctx, c, *st, *job)
	}
	// A job ends before its definition is deregistered, so one that runs has a record.
	if there, err := c.isActive(ctx, st.Record); err != nil || !there {
		return absent, nil, err
	}
	res, err := e.run(c, *st).Result(ctx)
	if err != nil || job == nil && res == nil {
		return absent, nil, err
	}
	return statusOf(jobEnding(job), res), res, nil
}

// running returns the status of a job that has not ended.
func (e batchJobs) running(ctx context.Context, c *cloud, st taskState, job types.JobDetail) (state.Status, *pod.Result, error) {
	now := state.Status{Phase: state.Running, Started: milliseconds(job.StartedAt)}
	switch job.Status {
	case types.JobStatusRunning, types.JobStatusStarting:
		return now, nil, nil
	case types.JobStatusRunnable:
		if time.Since(milliseconds(job.CreatedAt)) > time.Minute {
			q, env, err := c.queue(ctx, st.Queue)
			if err != nil {
				return now, nil, err
			}
			if why := cannotRun(st.Queue, q, env); why != "" {
				now.Phase, now.Message = state.Failed, why
				return now, nil, nil
			}
		}
	}
	now.Queued, now.Started, now.Message = true, time.Time{}, waits(job)
	return now, nil, nil
}

// jobEnding returns how a job has ended that AWS Batch may have forgotten.
func jobEnding(job *types.JobDetail) (end ending) {
	if job == nil {
		return end
	}
	end.started, end.finished, end.over = milliseconds(job.StartedAt), milliseconds(job.StoppedAt), isOver(job.Status)
	end.reason = aws.ToString(job.StatusReason)
	if c := job.Container; c != nil {
		end.exit, end.reason = int(aws.ToInt32(c.ExitCode)), strings.TrimSpace(end.reason+" "+aws.ToString(c.Reason))
	}
	return end
}

// milliseconds returns a time of AWS Batch, or zero.
func milliseconds(ms *int64) time.Time {
	if aws.ToInt64(ms) == 0 {
		return time.Time{}
	}
	return time.UnixMilli(*ms).UTC()
}

// stream implements [backend].
func (e batchJobs) stream(ctx context.Context, c *cloud, st taskState) (group, stream string, err error) {
	if st.Job == "" {
		return "", "", nil
	}
	job, err := c.job(ctx, st.Job)
	if err != nil || job == nil || job.Container == nil {
		return "", "", err
	}
	return st.Group, aws.ToString(job.Container.LogStreamName), nil
}

// end implements [backend]: it ends all jobs of a task, and returns once they have ended.
func (e batchJobs) end(ctx context.Context, c *cloud, st *taskState) error {
	if st.Job == "" {
		// The apply that registered it was killed, maybe just after it had submitted the job.
		if err := e.settle(ctx, c, st); err != nil {
			return err
		}
	}
	jobs, err := c.jobsOf(ctx, *st)
	if err != nil {
		return err
	}
	if st.Job != "" && !slices.Contains(jobs, st.Job) { // AWS Batch may not list it yet, or have forgotten it
		if job, err := c.job(ctx, st.Job); err != nil {
			return err
		} else if job != nil {
			jobs = append(jobs, st.Job)
		}
	}
	return e.endJobs(ctx, c, jobs)
}

// endJobs ends jobs, and returns once they have ended.
func (e *Executor) endJobs(ctx context.Context, c *cloud, jobs []string) error {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	for _, id := range jobs {
		if err := c.terminate(ctx, id, "tenon ended it"); err != nil {
			return err
		}
	}
	for pause := e.opts.Pause; ; pause = min(2*pause, e.opts.Longest) {
		over, err := c.allOver(ctx, jobs)
		if err != nil || over {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("the job %v was asked to end %s ago and still runs: see it in the console of AWS Batch", jobs, endPatience)
		}
	}
}

// forget implements [backend].
func (e batchJobs) forget(ctx context.Context, c *cloud, st taskState) error {
	return c.deregister(ctx, st.Record)
}
