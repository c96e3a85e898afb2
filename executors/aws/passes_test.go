package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"

	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/planner/state"
)

// batchOfPasses is AWS Batch with the definition and the jobs of a controller. It refuses to end jobs a number of times.
type batchOfPasses struct {
	batchAPI
	name     string
	active   []string // definitions
	jobs     map[string]types.JobStatus
	of       map[string]string // the definitions of jobs
	refusals int
}

func (b *batchOfPasses) DescribeJobDefinitions(_ context.Context, in *batch.DescribeJobDefinitionsInput, _ ...func(*batch.Options)) (*batch.DescribeJobDefinitionsOutput, error) {
	out := &batch.DescribeJobDefinitionsOutput{}
	for _, d := range b.active {
		if len(in.JobDefinitions) == 0 || slices.Contains(in.JobDefinitions, d) {
			out.JobDefinitions = append(out.JobDefinitions, types.JobDefinition{JobDefinitionArn: &d, Status: aws.String(active), Revision: aws.Int32(1)})
		}
	}
	return out, nil
}

func (b *batchOfPasses) DeregisterJobDefinition(_ context.Context, in *batch.DeregisterJobDefinitionInput, _ ...func(*batch.Options)) (*batch.DeregisterJobDefinitionOutput, error) {
	b.active = slices.DeleteFunc(b.active, func(d string) bool { return d == *in.JobDefinition })
	return &batch.DeregisterJobDefinitionOutput{}, nil
}

func (b *batchOfPasses) ListJobs(context.Context, *batch.ListJobsInput, ...func(*batch.Options)) (*batch.ListJobsOutput, error) {
	out := &batch.ListJobsOutput{}
	for id, status := range b.jobs {
		out.JobSummaryList = append(out.JobSummaryList, types.JobSummary{JobId: &id, JobName: &b.name, JobDefinition: aws.String(b.of[id]), Status: status, CreatedAt: aws.Int64(int64(id[0]))})
	}
	return out, nil
}

func (b *batchOfPasses) DescribeJobs(_ context.Context, in *batch.DescribeJobsInput, _ ...func(*batch.Options)) (*batch.DescribeJobsOutput, error) {
	id := in.Jobs[0]
	return &batch.DescribeJobsOutput{Jobs: []types.JobDetail{{JobId: &id, Status: b.jobs[id]}}}, nil
}

func (b *batchOfPasses) TerminateJob(_ context.Context, in *batch.TerminateJobInput, _ ...func(*batch.Options)) (*batch.TerminateJobOutput, error) {
	if b.refusals--; b.refusals >= 0 {
		return nil, errors.New("no connection")
	}
	b.jobs[*in.JobId] = types.JobStatusFailed
	return &batch.TerminateJobOutput{}, nil
}

// A controller whose passes could not be ended is still there, so that a second stop ends them, also those of a former definition.
func TestTheEndOfAControllerIsRepeated(t *testing.T) {
	p := &passes{Executor: New(Options{Settings: Settings{Region: "r"}, Options: clouds.Options{System: "nightly", Pause: time.Millisecond, Longest: time.Millisecond}})}
	b := &batchOfPasses{
		name: p.Job().Name, active: []string{"now"}, refusals: 1,
		jobs: map[string]types.JobStatus{"1": types.JobStatusSucceeded, "2": types.JobStatusRunning, "3": types.JobStatusRunnable},
		of:   map[string]string{"1": "now", "2": "former", "3": "now"},
	}
	p.clouds["r"] = &cloud{region: "r", batch: b}
	if err := p.End(t.Context()); err == nil || !strings.Contains(err.Error(), "no connection") {
		t.Fatalf("got %v", err)
	}
	if ending, err := p.Ending(t.Context()); err != nil || !ending {
		t.Errorf("the rule still starts passes: %v", err)
	}
	if st, err := p.Status(t.Context()); err != nil || st.Phase != state.Running {
		t.Errorf("a controller with passes is %v, %v", st, err)
	}
	if err := p.End(t.Context()); err != nil {
		t.Error(err)
	}
	if want := map[string]types.JobStatus{"1": types.JobStatusSucceeded, "2": types.JobStatusFailed, "3": types.JobStatusFailed}; fmt.Sprint(b.jobs) != fmt.Sprint(want) {
		t.Errorf("passes are %v, want %v", b.jobs, want)
	}
	if st, err := p.Status(t.Context()); err != nil || st.Phase != state.Absent {
		t.Errorf("an ended controller is %v, %v", st, err)
	}
}

// A pass of a definition that has been replaced, and that has ended, says nothing about the controller.
func TestTheNewestPass(t *testing.T) {
	p := &passes{Executor: New(Options{Settings: Settings{Region: "r"}, Options: clouds.Options{System: "nightly"}})}
	b := &batchOfPasses{
		name: p.Job().Name, active: []string{"now"}, jobs: map[string]types.JobStatus{"1": types.JobStatusSucceeded, "2": types.JobStatusFailed},
		of: map[string]string{"1": "now", "2": "former"},
	}
	p.clouds["r"] = &cloud{region: "r", batch: b}
	for _, c := range []struct {
		status types.JobStatus
		want   string
	}{{types.JobStatusFailed, "1"}, {types.JobStatusRunning, "2"}} {
		b.jobs["2"] = c.status
		if job, err := p.newest(t.Context()); err != nil || job == nil || *job.JobId != c.want {
			t.Errorf("with a former pass that is %s: got %v, %v, want %s", c.status, job, err, c.want)
		}
	}
}

// A definition is registered again if a pass would run elsewhere, or could reach something else. What AWS leaves out is its default.
func TestDefinitionsThatDiffer(t *testing.T) {
	with := func(change func(*types.ContainerProperties)) *types.ContainerProperties {
		p := &types.ContainerProperties{
			Image: aws.String("image"), NetworkConfiguration: &types.NetworkConfiguration{AssignPublicIp: types.AssignPublicIpDisabled},
			RuntimePlatform: &types.RuntimePlatform{CpuArchitecture: aws.String("X86_64"), OperatingSystemFamily: aws.String("LINUX")},
		}
		change(p)
		return p
	}
	wanted := with(func(*types.ContainerProperties) {})
	for name, c := range map[string]struct {
		change func(*types.ContainerProperties)
		want   bool
	}{
		"nothing":          {func(*types.ContainerProperties) {}, true},
		"without defaults": {func(p *types.ContainerProperties) { p.NetworkConfiguration, p.RuntimePlatform = nil, nil }, true},
		"the default of them": {func(p *types.ContainerProperties) {
			p.NetworkConfiguration.AssignPublicIp, p.RuntimePlatform.CpuArchitecture = "", nil
		}, true},
		"a public address": {func(p *types.ContainerProperties) {
			p.NetworkConfiguration.AssignPublicIp = types.AssignPublicIpEnabled
		}, false},
		"the architecture": {func(p *types.ContainerProperties) { p.RuntimePlatform.CpuArchitecture = aws.String("ARM64") }, false},
		"the image":        {func(p *types.ContainerProperties) { p.Image = aws.String("other") }, false},
	} {
		if got := same(with(c.change), wanted); got != c.want {
			t.Errorf("%s: the same: %t", name, got)
		}
	}
}

// Of a long log, only its end is kept.
func TestTheLastLineOfALog(t *testing.T) {
	long := strings.Repeat("x", mostLine)
	for name, c := range map[string]struct {
		writes []string
		want   string
	}{
		"nothing":           {nil, ""},
		"one line":          {[]string{"only"}, "only"},
		"empty lines after": {[]string{"first\nlast\n", "\n \n"}, "last"},
		"in pieces":         {[]string{"first\nla", "st"}, "last"},
		"after a long one":  {[]string{long, long, "\nlast\n"}, "last"},
		"too long":          {[]string{"first\n" + long + "end"}, long[3:] + "end"},
	} {
		var l lastLine
		for _, text := range c.writes {
			if n, err := l.Write([]byte(text)); err != nil || n != len(text) {
				t.Errorf("%s: wrote %d of %d, %v", name, n, len(text), err)
			}
		}
		if got := l.text(); got != c.want || len(l.end) > mostLine {
			t.Errorf("%s: got %d bytes of %d, want %d", name, len(got), len(l.end), len(c.want))
		}
	}
}
