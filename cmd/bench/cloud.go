package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsbatch "github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/internal/test/awstest"
	"github.com/tenon-ml/tenon/internal/test/tofutest"
)

const (
	sdkJobArg      = "run-sdk-job" // makes the program run a job through the SDK, and nothing else
	jobRow         = "a job on AWS Batch"
	jobRatio       = 1.1
	unchangedRow   = "plan of infrastructure without a change"
	unchangedJobs  = 28  // of which each needs three resources
	unchangedSize  = 100 // resources, at least
	unchangedRatio = 1.2
	cloudRuns      = 5 // at least
	cloudImage     = "localhost/bench:1"
)

// measureCloud measures tenon in AWS, beside what it uses there. All of it runs against an emulator, whose
// calls take milliseconds, and whose containers start in tenths of a second: in AWS itself, a job takes a
// minute to start, so the overhead is a smaller part of it.
func (b *bench) measureCloud(ctx context.Context) error {
	if err := b.measureJob(ctx); err != nil {
		return err
	}
	return b.measureUnchanged(ctx)
}

// A cloudBench is a system in AWS, and the emulator that it runs in.
type cloudBench struct {
	folder
	emulator *awstest.Emulator
	env      []string
	jobs     int
}

// cloud starts an emulator, and makes a system of so many jobs.
func (b *bench) cloud(ctx context.Context, name string, jobs int) (c *cloudBench, err error) {
	c = &cloudBench{folder: folder{dir: b.path(name)}, jobs: jobs}
	at := b.path(name + "-emulator")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return nil, err
	}
	if c.emulator, err = awstest.Start(ctx, at); err != nil {
		return nil, err
	}
	program := filepath.Join(at, "tenon-pod")
	c.env = append(c.emulator.Environ(), "TENON_POD="+program)
	if err := executortest.BuildStatic(program, "github.com/tenon-ml/tenon/cmd/tenon-pod"); err != nil {
		return c, err
	}
	root := filepath.Join(at, "root.tar")
	if err := writeImage(ctx, root, "/bin/sh"); err != nil {
		return c, err
	}
	c.module()
	if c.err != nil {
		return c, c.err
	}
	_, err = b.run(ctx, command{dir: c.dir, args: []string{b.tenon, "image", "import", root, "--name", cloudImage}})
	return c, err
}

// edit writes the system. Each edit of its text makes all jobs run again.
func (c *cloudBench) edit(text, infrastructure string) error {
	c.write("system.cue", fmt.Sprintf(`package bench

import (
	"list"

	"tenon.dev/step"
	"tenon.dev/tenon"
)

tenon.#System
name:   "bench"
target: "aws"
targets: aws: tenon.#AWS & {region: %q, base: %q, hosts: %q, infrastructure: %q}
steps: {
	for i in list.Range(0, %d, 1) {
		"s\(i)": step.#Command & {command: ["sh", "-c", #"echo %s > "${TENON_STEP%%/*}/out/out""#], outputs: out: kind: "file"}
	}
}
`, awstest.Region, cloudImage, c.emulator.Hosts, infrastructure, c.jobs, text))
	return c.err
}

// measureJob measures an apply of one job whose image is in the registry, beside a program that only makes
// the calls that a job needs.
func (b *bench) measureJob(ctx context.Context) (err error) {
	if !b.wants(jobRow, 1) {
		return nil
	}
	b.say(jobRow, 1)
	c, err := b.cloud(ctx, "job", 1)
	if c != nil && c.emulator != nil {
		defer c.emulator.Stop()
	}
	if err != nil {
		return err
	}
	edits := 0
	again := func() error {
		edits++
		return c.edit(strconv.Itoa(edits), "external")
	}
	if err := again(); err != nil {
		return err
	}
	files := filepath.Join(c.dir, "infrastructure")
	if _, err := b.run(ctx, command{dir: c.dir, env: c.env, args: []string{b.tenon, "compile", "--format=terraform", "--out", files}}); err != nil {
		return err
	}
	if err := c.provision(ctx, files); err != nil {
		return err
	}
	apply := command{dir: c.dir, env: c.env, args: []string{b.tenon, "apply", "--yes"}, prepare: again, check: has("1 ran")}
	if _, err := b.run(ctx, apply); err != nil { // pushes the image
		return err
	}
	job, err := c.sdkJob(ctx)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	alone := command{env: c.env, args: []string{self, sdkJobArg, c.emulator.Endpoint, job}, check: has("SUCCEEDED")}
	tenon, other, err := b.versus(ctx, cloudRuns, apply, alone)
	if err != nil {
		return err
	}
	b.rows = append(b.rows, tableRow{Case: jobRow, Size: 1, Of: "job", Tenon: tenon, Beside: "AWS SDK", Other: &other, Goals: []goal{ratioGoal(tenon, other, jobRatio)}})
	return nil
}

func (c *cloudBench) provision(ctx context.Context, folder string) error {
	names, err := filepath.Glob(filepath.Join(folder, "*.tf"))
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	for _, name := range names {
		if files[name], err = os.ReadFile(name); err != nil {
			return err
		}
	}
	return c.emulator.Provision(ctx, files)
}

// An sdkJob is what a job is run with through the SDK: the container of one that tenon has run.
type sdkJob struct {
	Queue, Bucket string
	Container     types.ContainerProperties
}

func (c *cloudBench) sdkJob(ctx context.Context) (string, error) {
	cfg, err := c.emulator.Config(ctx)
	if err != nil {
		return "", err
	}
	client := awsbatch.NewFromConfig(cfg)
	definitions, err := client.DescribeJobDefinitions(ctx, &awsbatch.DescribeJobDefinitionsInput{})
	if err != nil {
		return "", err
	}
	queues, err := client.DescribeJobQueues(ctx, &awsbatch.DescribeJobQueuesInput{})
	if err != nil {
		return "", err
	}
	buckets, err := s3.NewFromConfig(cfg).ListBuckets(ctx, &s3.ListBucketsInput{})
	if err != nil {
		return "", err
	}
	if len(definitions.JobDefinitions) == 0 || len(queues.JobQueues) == 0 || len(buckets.Buckets) == 0 {
		return "", errors.New("the job of tenon has left no definition, queue or bucket")
	}
	text, err := json.Marshal(sdkJob{aws.ToString(queues.JobQueues[0].JobQueueName), aws.ToString(buckets.Buckets[0].Name), *definitions.JobDefinitions[0].ContainerProperties})
	return string(text), err
}

// runSDKJob registers, submits and awaits a job, and moves a file each way, as any client has to.
func runSDKJob(ctx context.Context, endpoint, text string, out io.Writer) error {
	var j sdkJob
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	cfg, err := awstest.At(endpoint, "").Config(ctx)
	if err != nil {
		return err
	}
	client, store := awsbatch.NewFromConfig(cfg), s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	name := aws.String(fmt.Sprintf("alone-%d", os.Getpid()))
	if _, err := store.PutObject(ctx, &s3.PutObjectInput{Bucket: &j.Bucket, Key: name, Body: bytes.NewReader([]byte(text))}); err != nil {
		return err
	}
	d, err := client.RegisterJobDefinition(ctx, &awsbatch.RegisterJobDefinitionInput{JobDefinitionName: name, Type: types.JobDefinitionTypeContainer,
		PlatformCapabilities: []types.PlatformCapability{types.PlatformCapabilityFargate}, ContainerProperties: &j.Container})
	if err != nil {
		return err
	}
	submitted, err := client.SubmitJob(ctx, &awsbatch.SubmitJobInput{JobName: name, JobQueue: &j.Queue, JobDefinition: d.JobDefinitionArn,
		ContainerOverrides: &types.ContainerOverrides{Command: []string{"/bin/sh", "-c", "echo done"}}})
	if err != nil {
		return err
	}
	for {
		now, err := client.DescribeJobs(ctx, &awsbatch.DescribeJobsInput{Jobs: []string{*submitted.JobId}})
		if err != nil {
			return err
		}
		if len(now.Jobs) == 0 {
			return fmt.Errorf("the job %s is gone", *submitted.JobId)
		}
		if s := now.Jobs[0].Status; s == types.JobStatusSucceeded || s == types.JobStatusFailed {
			fmt.Fprintln(out, s, aws.ToString(now.Jobs[0].StatusReason))
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond): // as tenon does at first
		}
	}
	o, err := store.GetObject(ctx, &s3.GetObjectInput{Bucket: &j.Bucket, Key: name})
	if err != nil {
		return err
	}
	defer o.Body.Close()
	if _, err := io.Copy(io.Discard, o.Body); err != nil {
		return err
	}
	_, err = client.DeregisterJobDefinition(ctx, &awsbatch.DeregisterJobDefinitionInput{JobDefinition: d.JobDefinitionArn})
	return err
}

var unchangedLine = regexp.MustCompile(`(?m)^Infrastructure: (\d+) to create`)

// measureUnchanged measures a plan of infrastructure that is as it should be, beside `tofu plan` of the same files.
// Each is in an emulator of its own, because names exist once.
func (b *bench) measureUnchanged(ctx context.Context) (err error) {
	if !b.wants(unchangedRow, unchangedSize) {
		return nil
	}
	b.say(unchangedRow, unchangedSize)
	bed, err := tofutest.Start(b.progress, b.path("tofu"))
	if err != nil {
		return err
	}
	var both [2]*cloudBench
	for i, name := range []string{"managed", "alone"} {
		c, err := b.cloud(ctx, name, unchangedJobs)
		if c != nil && c.emulator != nil {
			defer c.emulator.Stop()
		}
		if err != nil {
			return err
		}
		c.env = append(append(c.env, bed.Environ()...), "PATH="+bed.Bin()+string(filepath.ListSeparator)+os.Getenv("PATH"))
		if err := c.edit("same", []string{"managed", "external"}[i]); err != nil {
			return err
		}
		both[i] = c
	}
	managed, alone := both[0], both[1]
	planned, err := b.run(ctx, command{dir: managed.dir, env: managed.env, args: []string{b.tenon, "plan"}})
	if err != nil {
		return err
	}
	said := unchangedLine.FindStringSubmatch(planned.out)
	if said == nil {
		return fmt.Errorf("the plan does not say how many resources it creates:\n%s", tail(planned.out))
	}
	size, err := strconv.Atoi(said[1])
	if err != nil || size < unchangedSize {
		return fmt.Errorf("the plan creates %s resources, and is to be measured with %d at least", said[1], unchangedSize)
	}
	if _, err := b.run(ctx, command{dir: managed.dir, env: managed.env, args: []string{b.tenon, "apply", "--yes"}}); err != nil {
		return err
	}
	files := filepath.Join(alone.dir, "infrastructure")
	if _, err := b.run(ctx, command{dir: alone.dir, env: alone.env, args: []string{b.tenon, "compile", "--format=terraform", "--out", files}}); err != nil {
		return err
	}
	for _, args := range [][]string{{"init", "-input=false"}, {"apply", "-input=false", "-auto-approve"}} {
		cmd := exec.CommandContext(ctx, bed.Tofu, args...)
		cmd.Dir, cmd.Env = files, append(b.env, alone.env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("tofu %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	ours := command{dir: managed.dir, env: managed.env, args: []string{b.tenon, "plan"}, check: has("Infrastructure: unchanged")}
	theirs := command{dir: files, env: alone.env, args: []string{bed.Tofu, "plan", "-input=false", "-no-color", "-detailed-exitcode"}, check: has("No changes.")}
	tenon, other, err := b.versus(ctx, cloudRuns, ours, theirs)
	if err != nil {
		return err
	}
	b.rows = append(b.rows, tableRow{Case: unchangedRow, Size: size, Of: "resources", Tenon: tenon, Beside: "tofu plan", Other: &other, Goals: []goal{ratioGoal(tenon, other, unchangedRatio)}})
	return nil
}
