package aws

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

// Tags of a job and its definition. What Terraform makes has the first three too.
const (
	tagSystem      = "tenon:system"
	tagEnvironment = "tenon:environment"
	tagUnit        = "tenon:unit"
	tagTask        = "tenon:task"
	tagState       = "tenon:state" // lineage
	tagQueue       = "tenon:queue"
	tagRoot        = "tenon:root"
)

// find completes the state of a task with what AWS has of it, and reports whether it was
// registered.
func (e *Executor) find(ctx context.Context, c *cloud, st *taskState) (bool, error) {
	all, err := c.definitions(ctx, st.Run)
	if err != nil || len(all) == 0 {
		return false, err
	}
	d := all[0] // if two tenons registered it at once, both take this one
	if of := d.Tags[tagUnit]; st.Unit != "" && of != "" && of != st.Unit {
		return false, fmt.Errorf("the region %s already has %s of %s: choose another prefix or region", c.region, st.Run, of)
	}
	st.Definition, st.Unit = aws.ToString(d.JobDefinitionArn), cmp.Or(st.Unit, d.Tags[tagUnit])
	st.Queue, st.Root = cmp.Or(d.Tags[tagQueue], st.Queue), cmp.Or(d.Tags[tagRoot], st.Root)
	if p := d.ContainerProperties; p != nil && p.LogConfiguration != nil {
		st.Group = p.LogConfiguration.Options["awslogs-group"]
	}
	return true, e.findJob(ctx, c, st)
}

// findJob completes the state with the job. Of several, the first counts, and the others, which
// a killed apply may have left if AWS Batch did not list the first in time, are ended.
func (e *Executor) findJob(ctx context.Context, c *cloud, st *taskState) error {
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
func (e *Executor) settle(ctx context.Context, c *cloud, st *taskState) error {
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
func (e *Executor) start(ctx context.Context, c *cloud, st *taskState, t executors.Task) error {
	if err := c.usable(ctx, st.Queue, t.Unit.Needs); err != nil {
		return err
	}
	task, pass := inside.Document(t, func(_, here string) string { return here })
	var image string
	var secrets []types.Secret
	task.Fetch = make([]pod.Fetch, len(pass))
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	group.Go(func() (err error) {
		image, err = e.images.Of(inGroup, t, e.repository(c))
		return err
	})
	group.Go(func() (err error) {
		secrets, err = e.secrets(inGroup, c, t)
		return err
	})
	for i, p := range pass {
		group.Go(func() (err error) {
			task.Fetch[i], err = e.send(inGroup, c, *st, t.Unit, p)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if st.Definition == "" {
		if err := e.register(ctx, c, st, t, image, secrets); err != nil {
			return err
		}
		if st.Job != "" {
			return nil // of another tenon
		}
	}
	err := e.submit(ctx, c, st, t, task)
	var refused *refusedError
	if errors.As(err, &refused) { // so nothing runs
		err = errors.Join(err, c.deregister(context.WithoutCancel(ctx), st.Definition))
	}
	return err
}

// atOnce is how many artifacts of a task are transferred in parallel.
const atOnce = 8

// A refusedError says that AWS Batch refused to submit a job.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// usable returns an error if a queue cannot run a job with such needs.
func (c *cloud) usable(ctx context.Context, queue string, n ir.Resources) error {
	q, env, err := c.queue(ctx, queue)
	if err != nil {
		return err
	}
	if why := stuck(queue, q, env, n); why != "" {
		return errors.New(why)
	}
	return nil
}

// queue returns a queue and its compute environment, or nil for those that do not exist.
func (c *cloud) queue(ctx context.Context, name string) (*types.JobQueueDetail, *types.ComputeEnvironmentDetail, error) {
	out, err := c.batch.DescribeJobQueues(ctx, &batch.DescribeJobQueuesInput{JobQueues: []string{name}})
	if err != nil || len(out.JobQueues) == 0 {
		return nil, nil, explainCall("look at the queue "+name, err)
	}
	q := &out.JobQueues[0]
	if len(q.ComputeEnvironmentOrder) == 0 {
		return q, nil, nil
	}
	at := aws.ToString(q.ComputeEnvironmentOrder[0].ComputeEnvironment)
	envs, err := c.batch.DescribeComputeEnvironments(ctx, &batch.DescribeComputeEnvironmentsInput{ComputeEnvironments: []string{at}})
	if err != nil || len(envs.ComputeEnvironments) == 0 {
		return q, nil, explainCall("look at the compute environment "+at, err)
	}
	return q, &envs.ComputeEnvironments[0], nil
}

// send makes sure that the bucket has what a job reads, where its role may read it.
func (e *Executor) send(ctx context.Context, c *cloud, st taskState, u ir.Unit, p inside.Passage) (pod.Fetch, error) {
	at := st.in(below(u.ID, "files"))
	if p.Name == "code" {
		at = st.in(below(u.ID, "code"))
	} else if port, is := strings.CutPrefix(p.Name, "input "); is {
		at = st.in(below(u.ID, "code")) // unless another unit makes it
		if i := slices.IndexFunc(u.Inputs, func(in ir.Input) bool { return in.Port == port }); i >= 0 {
			at = st.in(below(u.Inputs[i].Unit, "out", u.Inputs[i].From))
		}
	}
	s, err := e.store(ctx, c, at)
	if err != nil {
		return pod.Fetch{}, err
	}
	ref, err := e.sender.Put(ctx, s, p)
	if err != nil {
		return pod.Fetch{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	to, err := filepath.Rel(pod.Work, p.To)
	return pod.Fetch{Ref: ref, Path: to, Name: p.Name, Store: c.url(at)}, err
}

// store returns the store at "s3://bucket/folder".
func (e *Executor) store(ctx context.Context, c *cloud, at string) (*remote.Store, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.stores[at]; s != nil {
		return s, nil
	}
	s, err := remote.Open(context.WithoutCancel(ctx), c.url(at))
	if err != nil {
		return nil, err
	}
	e.stores[at] = s
	return s, nil
}

// url returns the URL of a store, as this machine and jobs reach it.
func (c *cloud) url(at string) string {
	q := url.Values{"region": {c.region}}
	if c.endpoint != "" {
		q.Set("endpoint", c.endpoint)
		q.Set("use_path_style", "true")
	}
	return at + "?" + q.Encode()
}

// register registers a definition for one start of a task.
func (e *Executor) register(ctx context.Context, c *cloud, st *taskState, t executors.Task, image string, secrets []types.Secret) error {
	w := e.names()
	role := w.role(c, t.Unit.ID)
	milli, memory, _ := size(t.Unit.Needs)
	ip, architecture := types.AssignPublicIpDisabled, "X86_64"
	if open(&t.Unit) && e.opts.Existing.Network == nil {
		ip = types.AssignPublicIpEnabled // there is no NAT gateway
	}
	if e.opts.Architecture == "arm64" {
		architecture = "ARM64"
	}
	p := &types.ContainerProperties{
		Image: &image, JobRoleArn: &role, ExecutionRoleArn: &role, Secrets: secrets,
		User: aws.String("0"), // the user of the image may not make the folders; a task of Fargate is a machine of its own
		ResourceRequirements: []types.ResourceRequirement{
			{Type: types.ResourceTypeVcpu, Value: aws.String(strconv.FormatFloat(float64(milli)/1000, 'f', -1, 64))},
			{Type: types.ResourceTypeMemory, Value: aws.String(strconv.FormatInt(memory, 10))},
		},
		NetworkConfiguration: &types.NetworkConfiguration{AssignPublicIp: ip},
		RuntimePlatform:      &types.RuntimePlatform{CpuArchitecture: &architecture, OperatingSystemFamily: aws.String("LINUX")},
		LogConfiguration: &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: map[string]string{
			"awslogs-group": st.Group, "awslogs-region": c.region, "awslogs-stream-prefix": "job",
		}},
	}
	if d := t.Unit.Needs.Disk; d > leastDisk {
		p.EphemeralStorage = &types.EphemeralStorage{SizeInGiB: aws.Int32(int32((d-1)>>30 + 1))}
	}
	out, err := c.batch.RegisterJobDefinition(ctx, &batch.RegisterJobDefinitionInput{
		JobDefinitionName: &st.Run, Type: types.JobDefinitionTypeContainer, PlatformCapabilities: []types.PlatformCapability{types.PlatformCapabilityFargate},
		ContainerProperties: p, PropagateTags: aws.Bool(true), RetryStrategy: &types.RetryStrategy{Attempts: aws.Int32(1)}, Tags: e.tags(w, *st),
	})
	if err != nil {
		return explainCall("register the job definition "+st.Run, err)
	}
	own := aws.ToString(out.JobDefinitionArn)
	if _, err := e.find(ctx, c, st); err != nil {
		return err
	}
	if st.Definition == "" { // it is not listed yet
		st.Definition = own
	} else if st.Definition != own {
		return c.deregister(ctx, own)
	}
	return nil
}

// tags returns the tags of a job and its definition.
func (e *Executor) tags(w *writer, st taskState) map[string]string {
	tags := map[string]string{
		tagSystem: e.opts.System, tagEnvironment: w.environment(), tagUnit: st.Unit, tagTask: st.Name, tagQueue: st.Queue, tagRoot: st.Root,
	}
	if e.opts.State != "" {
		tags[tagState] = e.opts.State
	}
	for k, v := range e.opts.Tags {
		tags[k] = v
	}
	return tags
}

// submit writes what the job has to do into the bucket, and submits it.
func (e *Executor) submit(ctx context.Context, c *cloud, st *taskState, t executors.Task, task pod.Task) error {
	task.Name, task.Grace = st.start(), e.opts.Grace
	task.Places = &pod.Places{Notes: c.url(st.notes()), Outputs: map[string]string{}}
	for port := range task.Step.Outputs {
		task.Places.Outputs[port] = c.url(st.out(port))
	}
	b, err := json.Marshal(task)
	if err != nil {
		return err
	}
	at := st.in(below(st.Unit, "code"))
	s, err := e.store(ctx, c, at)
	if err != nil {
		return err
	}
	doc, err := s.PutBytes(ctx, b)
	if err != nil {
		return err
	}
	in := &batch.SubmitJobInput{
		JobName: &st.Run, JobQueue: &st.Queue, JobDefinition: &st.Definition, PropagateTags: aws.Bool(true), Tags: e.tags(e.names(), *st),
		ContainerOverrides: &types.ContainerOverrides{Command: []string{pod.Program, "run", "--store", c.url(at), "--task", doc.Digest, "--message", pod.Work + "/end"}},
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

// onlyThrottled repeats a call only if AWS has refused it because of too many requests. A call
// whose answer was lost may have submitted the job, and has no token that says so.
func onlyThrottled(o *batch.Options) {
	o.Retryer = retry.NewStandard(func(s *retry.StandardOptions) {
		s.Retryables = []retry.IsErrorRetryable{retry.RetryableErrorCode{Codes: retry.DefaultThrottleErrorCodes}}
	})
}

func sortByRevision(all []types.JobDefinition) {
	slices.SortFunc(all, func(a, b types.JobDefinition) int {
		return cmp.Compare(aws.ToInt32(a.Revision), aws.ToInt32(b.Revision))
	})
}

func sortByAge(all []types.JobSummary) {
	slices.SortFunc(all, func(a, b types.JobSummary) int {
		return cmp.Or(cmp.Compare(aws.ToInt64(a.CreatedAt), aws.ToInt64(b.CreatedAt)), cmp.Compare(aws.ToString(a.JobId), aws.ToString(b.JobId)))
	})
}
