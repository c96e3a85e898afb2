package aws

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Detaching executor is one whose target has a [Controller]: tenon runs in AWS, too.
type Detaching struct{ *Executor }

var _ executors.Detacher = Detaching{}

// DetachedStore implements [executors.Detacher]. The store is a folder beside those of units in the bucket.
func (e Detaching) DetachedStore(ctx context.Context) (string, error) {
	c, err := e.cloud(ctx, e.opts.Region)
	if err != nil {
		return "", err
	}
	w := e.names()
	return c.url("s3://" + w.bucket(c) + "/" + w.root + "/shared"), nil
}

// KeepsSecrets returns true: Secrets Manager has the values of secrets.
func (e Detaching) KeepsSecrets() bool { return true }

// Pack pushes the images of a plan from this machine.
func (e Detaching) Pack(ctx context.Context, p *planner.Plan) (executors.Packed, error) {
	c, err := e.cloud(ctx, e.opts.Region)
	if err != nil {
		return executors.Packed{}, err
	}
	images, err := inside.PushAll(ctx, p, e.repository(c), func(u *ir.Unit) *inside.Images {
		if e.opts.place(u) == onLambda {
			return nil // it has an archive
		}
		return e.imagesOf(e.opts.place(u))
	})
	return executors.Packed{Images: images}, err
}

// Detached returns nil: an apply does not run in AWS.
func (e Detaching) Detached(string, int) executors.DetachedProgram { return nil }

// Controller implements [executors.Detacher].
func (e Detaching) Controller(string) executors.DetachedProgram { return &passes{Executor: e.Executor} }

// passes are the passes of a controller: jobs of AWS Batch, which a rule of EventBridge starts as the revision of the job definition says
// that is active. The rule is a part of the infrastructure; the definition is what makes the rule start something.
type passes struct {
	*Executor
	first string // id of the pass that Start has submitted
}

var _ executors.ScheduledProgram = (*passes)(nil)

// Job names the job definition, and the queue as its namespace.
func (p *passes) Job() executors.Job {
	w := p.names()
	return executors.Job{Name: w.passName(), Namespace: w.queue(openLane)}
}

// Schedule returns the name of the rule, and how often it starts a pass.
func (p *passes) Schedule() (rule, every string) {
	return p.names().passName(), p.opts.Controller.Every
}

// Start registers the definition of passes, unless it is registered, and runs the first one.
func (p *passes) Start(ctx context.Context, l executors.Launch) error {
	if err := p.start(ctx, l); err != nil {
		return fmt.Errorf("start the controller %s: %w", p.Job().Name, err)
	}
	return nil
}

func (p *passes) start(ctx context.Context, l executors.Launch) error {
	c, err := p.cloud(ctx, p.opts.Region)
	if err != nil {
		return err
	}
	if err := c.usable(ctx, p.Job().Namespace, ir.Resources{MilliCPU: passCPU}); err != nil {
		return err
	}
	in, err := p.definition(ctx, c, l)
	if err != nil {
		return err
	}
	before, err := c.definitions(ctx, p.Job().Name)
	if err != nil {
		return err
	}
	at := ""
	for _, d := range before {
		if err := p.owned(&taskState{Region: c.region, Unit: controllerUnit, Name: p.Job().Name}, "job definition", d.Tags); err != nil {
			return err
		}
	}
	if n := len(before); n > 0 && same(before[n-1].ContainerProperties, in.ContainerProperties) {
		at, before = aws.ToString(before[n-1].JobDefinitionArn), before[:n-1]
	} else {
		out, err := c.batch.RegisterJobDefinition(ctx, in)
		if err != nil {
			return explainCall("register the job definition "+p.Job().Name, err)
		}
		at = aws.ToString(out.JobDefinitionArn)
	}
	for _, d := range before {
		if err := c.deregister(ctx, aws.ToString(d.JobDefinitionArn)); err != nil {
			return err
		}
	}
	job := p.Job()
	out, err := c.batch.SubmitJob(ctx, &batch.SubmitJobInput{JobName: &job.Name, JobQueue: &job.Namespace, JobDefinition: &at, Tags: in.Tags, PropagateTags: aws.Bool(true)})
	if err != nil {
		return explainCall("submit the first pass", err)
	}
	p.first = aws.ToString(out.JobId)
	return nil
}

// same reports whether two containers are the same as far as a pass is concerned.
func same(a, b *types.ContainerProperties) bool {
	if a == nil || aws.ToString(a.Image) != aws.ToString(b.Image) || !slices.Equal(a.Command, b.Command) || aws.ToString(a.JobRoleArn) != aws.ToString(b.JobRoleArn) ||
		aws.ToString(a.ExecutionRoleArn) != aws.ToString(b.ExecutionRoleArn) || publicIP(a) != publicIP(b) || architectureOf(a) != architectureOf(b) {
		return false
	}
	environment := func(p *types.ContainerProperties) (all []string) {
		for _, x := range p.Environment {
			all = append(all, aws.ToString(x.Name)+"="+aws.ToString(x.Value))
		}
		for _, x := range p.Secrets {
			all = append(all, aws.ToString(x.Name)+" in "+aws.ToString(x.ValueFrom))
		}
		slices.Sort(all)
		return all
	}
	return slices.Equal(environment(a), environment(b))
}

// publicIP reports whether a container gets a public address. AWS gives it none unless that is asked for.
func publicIP(p *types.ContainerProperties) bool {
	return p.NetworkConfiguration != nil && p.NetworkConfiguration.AssignPublicIp == types.AssignPublicIpEnabled
}

// architectureOf returns the architecture of a container. That of AWS is X86_64 unless another one is asked for.
func architectureOf(p *types.ContainerProperties) string {
	if p.RuntimePlatform == nil {
		return x86
	}
	return cmp.Or(aws.ToString(p.RuntimePlatform.CpuArchitecture), x86)
}

// definition returns the job definition of passes. It pushes their image, and sets the secret with the URL of the state.
func (p *passes) definition(ctx context.Context, c *cloud, l executors.Launch) (*batch.RegisterJobDefinitionInput, error) {
	duck, err := p.opts.Programs.Duck(ctx)
	if err != nil {
		return nil, err
	}
	serve, err := p.opts.Programs.Serve(ctx)
	if err != nil {
		return nil, err
	}
	ref, err := p.images.Push(ctx, image.Recipe{Base: l.Base, Tenon: p.opts.Tenon, Duck: duck, Serve: serve, Pod: p.opts.Pod, Bare: true}, p.repository(c))
	if err != nil {
		return nil, err
	}
	w := p.names()
	secrets, err := p.passSecrets(ctx, c, l)
	if err != nil {
		return nil, err
	}
	props := p.container(c, containerOf{image: ref, role: w.role(c, placedAt(onSchedule, controllerUnit)), execution: w.role(c, execution(controllerUnit)), group: w.logGroup(w.at(onSchedule)[0]), open: true, milli: passCPU, memory: passMemory >> 20})
	props.Command, props.Secrets = append(append([]string{image.TenonPath}, l.Args...), "--folder", pod.Work), secrets
	props.Environment = []types.KeyValuePair{{Name: aws.String("HOME"), Value: aws.String(pod.Work)}}
	for _, kv := range os.Environ() { // endpoints are for AWS as they are for this machine
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_ENDPOINT_URL") || name == "AWS_USE_FIPS_ENDPOINT" {
			props.Environment = append(props.Environment, types.KeyValuePair{Name: &name, Value: &value})
		}
	}
	st := taskState{Unit: controllerUnit, Name: p.Job().Name, Queue: p.Job().Namespace, Root: "s3://" + w.bucket(c) + "/" + w.root}
	return &batch.RegisterJobDefinitionInput{
		JobDefinitionName: aws.String(p.Job().Name), Type: types.JobDefinitionTypeContainer, PlatformCapabilities: []types.PlatformCapability{types.PlatformCapabilityFargate},
		ContainerProperties: props, PropagateTags: aws.Bool(true), RetryStrategy: &types.RetryStrategy{Attempts: aws.Int32(1)}, Tags: p.tags(st),
		Timeout: &types.JobTimeout{AttemptDurationSeconds: aws.Int32(int32(passTime / time.Second))},
	}, nil
}

// passSecrets returns the secrets of passes. The units' have the values with which the units were started last.
func (p *passes) passSecrets(ctx context.Context, c *cloud, l executors.Launch) ([]types.Secret, error) {
	var all []types.Secret
	for _, variable := range append(slices.Clone(l.Secrets), stateVariable) {
		at, name := p.opts.Existing.Secrets[variable], p.names().root+"/"+variable
		var err error
		switch {
		case at != "":
		case variable == stateVariable:
			at, err = c.keepSecret(ctx, name, l.State)
		default:
			var now *secretsmanager.GetSecretValueOutput
			if now, err = c.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name}); err != nil {
				err = explainCall("read the secret "+name+", which an apply of its unit sets,", err)
			} else {
				at = aws.ToString(now.ARN)
			}
		}
		if err != nil {
			return nil, err
		}
		all = append(all, types.Secret{Name: &variable, ValueFrom: &at})
	}
	return all, nil
}

// Status returns how the first pass goes if Start has submitted it, and otherwise the newest one. It is ready if that has succeeded.
func (p *passes) Status(ctx context.Context) (state.Status, error) {
	st, err := p.look(ctx)
	if err != nil {
		return st, fmt.Errorf("inspect the controller %s: %w", p.Job().Name, err)
	}
	return st, nil
}

func (p *passes) look(ctx context.Context) (state.Status, error) {
	job, err := p.newest(ctx)
	if err != nil {
		return state.Status{}, err
	}
	if job == nil {
		active, err := p.active(ctx)
		if err != nil || !active {
			return state.Status{Phase: state.Absent}, err
		}
		return state.Status{Phase: state.Running, Message: "no pass has begun yet"}, nil
	}
	end := jobEnding(job)
	st := state.Status{Phase: state.Running, Started: end.started, Finished: end.finished}
	switch job.Status {
	case types.JobStatusSucceeded:
		st.Phase = state.Ready
		st.Message = "its last pass ended " + end.finished.Local().Format(time.DateTime)
	case types.JobStatusFailed:
		st.Phase, st.Message = state.Failed, p.explain(ctx, job, end)
	default:
		if st.Message = waits(*job); st.Message == "" {
			st.Message = "a pass runs"
		}
	}
	return st, nil
}

// explain says why a pass has failed: what it printed last, or what AWS says.
func (p *passes) explain(ctx context.Context, job *types.JobDetail, end ending) string {
	var log lastLine
	if err := p.copyLog(ctx, job, &log, false); err == nil {
		if last := log.text(); last != "" {
			return fmt.Sprintf("its last pass failed with exit code %d and printed last: %s", end.exit, oneLine(last))
		}
	}
	return "its last pass failed: " + cmp.Or(statusOf(end, nil).Message, end.reason)
}

// mostLine is how many bytes of the last line of a log are kept.
const mostLine = 16 << 10

// A lastLine keeps the end of what is written to it, and nothing else.
type lastLine struct{ end []byte }

func (l *lastLine) Write(b []byte) (int, error) {
	l.end = append(l.end, b[max(0, len(b)-mostLine):]...)
	l.end = slices.Delete(l.end, 0, max(0, len(l.end)-mostLine))
	return len(b), nil
}

// text returns the last line that is not empty.
func (l *lastLine) text() string {
	text := strings.TrimSpace(string(l.end))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// active reports whether the rule starts passes.
func (p *passes) active(ctx context.Context) (bool, error) {
	c, err := p.cloud(ctx, p.opts.Region)
	if err != nil {
		return false, err
	}
	all, err := c.definitions(ctx, p.Job().Name)
	return len(all) > 0, err
}

// newest returns the pass that Start has submitted, or else the newest one that runs or is of an active definition, or nil.
// One of a former definition may still run: that of a controller which was changed, or whose end has failed.
func (p *passes) newest(ctx context.Context) (*types.JobDetail, error) {
	c, err := p.cloud(ctx, p.opts.Region)
	if err != nil {
		return nil, err
	}
	if p.first != "" {
		return c.job(ctx, p.first)
	}
	all, err := c.definitions(ctx, p.Job().Name)
	if err != nil {
		return nil, err
	}
	jobs, err := c.jobsNamed(ctx, p.Job().Namespace, p.Job().Name)
	if err != nil {
		return nil, err
	}
	for _, j := range slices.Backward(jobs) {
		of := func(d types.JobDefinition) bool {
			return aws.ToString(d.JobDefinitionArn) == aws.ToString(j.JobDefinition)
		}
		if !isOver(j.Status) || slices.ContainsFunc(all, of) {
			return c.job(ctx, aws.ToString(j.JobId))
		}
	}
	return nil, nil
}

// Log copies the output of the newest pass. With follow, it continues with those that begin later, until the controller is ended.
func (p *passes) Log(ctx context.Context, to io.Writer, follow bool) error {
	for seen := ""; ; {
		job, err := p.newest(ctx)
		if err == nil && job != nil && aws.ToString(job.JobId) != seen {
			seen = aws.ToString(job.JobId)
			err = p.copyLog(ctx, job, to, follow)
		}
		if err != nil {
			return fmt.Errorf("log of the controller %s: %w", p.Job().Name, err)
		}
		if !follow || job == nil {
			return nil
		}
		if err := sleep(ctx, p.opts.Longest); err != nil {
			return err
		}
	}
}

// copyLog copies the output of a pass. With follow, it continues until the pass has ended.
func (p *passes) copyLog(ctx context.Context, job *types.JobDetail, to io.Writer, follow bool) error {
	c, err := p.cloud(ctx, p.opts.Region)
	if err != nil {
		return err
	}
	f := &followed{e: p.Executor, c: c, st: taskState{Place: onBatch, Job: aws.ToString(job.JobId), Group: p.names().logGroup(p.names().at(onSchedule)[0])}}
	for over := isOver(job.Status); ; {
		for {
			lines, err := f.Printed(ctx)
			if err == nil {
				_, err = to.Write(lines)
			}
			if err != nil {
				return err
			}
			if !f.More() {
				break
			}
		}
		if over || !follow {
			return nil
		}
		if err := sleep(ctx, p.opts.Pause); err != nil {
			return err
		}
		if job, err = c.job(ctx, f.st.Job); err != nil {
			return err
		}
		over = job == nil || isOver(job.Status)
	}
}

// End makes the rule start nothing more, and ends passes that run, also those of former definitions. It can be repeated.
func (p *passes) End(ctx context.Context) error {
	if err := p.end(ctx); err != nil {
		return fmt.Errorf("stop the controller %s: %w", p.Job().Name, err)
	}
	return nil
}

func (p *passes) end(ctx context.Context) error {
	c, err := p.cloud(ctx, p.opts.Region)
	if err != nil {
		return err
	}
	definitions, err := c.definitions(ctx, p.Job().Name)
	if err != nil {
		return err
	}
	for _, d := range definitions {
		if err := c.deregister(ctx, aws.ToString(d.JobDefinitionArn)); err != nil {
			return err
		}
	}
	jobs, err := c.jobsNamed(ctx, p.Job().Namespace, p.Job().Name)
	if err != nil {
		return err
	}
	var running []string
	for _, j := range jobs {
		if !isOver(j.Status) {
			running = append(running, aws.ToString(j.JobId))
		}
	}
	return p.endJobs(ctx, c, running)
}

// Ending reports whether the rule no longer starts anything.
func (p *passes) Ending(ctx context.Context) (bool, error) {
	active, err := p.active(ctx)
	return err == nil && !active, err
}
