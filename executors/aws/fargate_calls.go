package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// ecsService is Amazon ECS. Source of its calls and fields: its API reference.
var ecsService = jsonService{"ECS", "ecs", "AmazonEC2ContainerServiceV20141113", "ecs", "ecs-fips", "", false}

// An ecsTag is a tag as Amazon ECS spells it.
type ecsTag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func ecsTags(tags map[string]string) (list []ecsTag) {
	for _, k := range sortedKeys(tags) {
		list = append(list, ecsTag{k, tags[k]})
	}
	return list
}

func tagMap(list []ecsTag) map[string]string {
	tags := map[string]string{}
	for _, t := range list {
		tags[t.Key] = t.Value
	}
	return tags
}

// A site is where the infrastructure places the services of a unit.
type site struct {
	address         string // of the load balancer
	subnets, groups []string
	targets         string // ARN of the target group
}

// site returns where a unit goes, which the tags of the cluster say.
func (e containers) site(ctx context.Context, c *cloud, st *taskState, l lane) (*site, error) {
	var out struct {
		Clusters []struct {
			Status string
			Tags   []ecsTag
		}
	}
	if err := c.ecs.call(ctx, "DescribeClusters", map[string]any{"clusters": []string{st.Cluster}, "include": []string{"TAGS"}}, &out); err != nil {
		return nil, explainContainer("look at the cluster "+st.Cluster, err)
	}
	if len(out.Clusters) == 0 || out.Clusters[0].Status == "INACTIVE" {
		return nil, fmt.Errorf("the region has no cluster %s of Amazon ECS: %s", st.Cluster, infrastructure)
	}
	tags := tagMap(out.Clusters[0].Tags)
	s := &site{tags[tagAddress], strings.Fields(tags[tagSubnets+l.name]), strings.Fields(tags[tagGroups+l.name]), tags[tagTargets+label(st.Unit)]}
	if s.address == "" || len(s.subnets) == 0 || len(s.groups) == 0 || s.targets == "" {
		return nil, fmt.Errorf("the tags of the cluster %s of Amazon ECS do not say where %s goes: %s", st.Cluster, st.Unit, infrastructure)
	}
	return s, nil
}

// An ecsState is what Amazon ECS says of a service.
type ecsState struct {
	ServiceArn, Status, TaskDefinition       string
	DesiredCount, RunningCount, PendingCount int64
	Deployments                              []struct {
		Status, TaskDefinition           string // "PRIMARY" or "ACTIVE"
		RolloutState, RolloutStateReason string // "COMPLETED", "FAILED" or "IN_PROGRESS"
		FailedTasks                      int64
		CreatedAt                        epoch
	}
	NetworkConfiguration struct{ AwsvpcConfiguration network }
	Events               []struct{ Message string } // the newest first
	Tags                 []ecsTag
}

// A network is where the tasks of a service are.
type network struct {
	Subnets        []string `json:"subnets"`
	SecurityGroups []string `json:"securityGroups"`
	AssignPublicIP string   `json:"assignPublicIp"`
}

// is reports whether two networks are the same, whatever the order of their parts.
func (n network) is(other network) bool {
	return n.AssignPublicIP == other.AssignPublicIP && slices.Equal(sorted(n.Subnets), sorted(other.Subnets)) && slices.Equal(sorted(n.SecurityGroups), sorted(other.SecurityGroups))
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// lives reports whether a service exists and is not being removed.
func (s *ecsState) lives() bool { return s != nil && s.Status == "ACTIVE" }

// runs reports whether a service runs tasks of a family, or is about to.
func (s *ecsState) runs(family string) bool {
	if s == nil || s.Status == "INACTIVE" {
		return false
	}
	own := familyOf(s.TaskDefinition) == family
	for _, d := range s.Deployments {
		own = own || familyOf(d.TaskDefinition) == family
	}
	return own
}

// familyOf returns the family in the ARN of a task definition, "arn:...:task-definition/FAMILY:REVISION".
func familyOf(arn string) string {
	_, name, _ := strings.Cut(arn, "/")
	family, _, _ := strings.Cut(name, ":")
	return family
}

// service returns the service of a unit, or nil. One that was removed may be listed for an hour, and is nil.
func (c *cloud) service(ctx context.Context, st *taskState) (*ecsState, error) {
	var out struct{ Services []ecsState }
	err := c.ecs.call(ctx, "DescribeServices", map[string]any{"cluster": st.Cluster, "services": []string{st.Service}, "include": []string{"TAGS"}}, &out)
	if hasCode(err, "ClusterNotFoundException") {
		return nil, nil
	}
	if err != nil {
		return nil, explainContainer("look at the service "+st.Service, err)
	}
	if len(out.Services) == 0 || out.Services[0].Status == "INACTIVE" {
		return nil, nil
	}
	return &out.Services[0], nil
}

// A definition is a task definition.
type definition struct {
	TaskDefinitionArn    string
	Status, CPU          string // CPU is in units of 1/1024
	RegisteredAt         epoch
	RuntimePlatform      struct{ CPUArchitecture string }
	ContainerDefinitions []struct {
		PortMappings     []struct{ ContainerPort int64 }
		LogConfiguration struct{ Options map[string]string }
	}
	tags map[string]string
}

// cores returns how many cores the tasks have that a service has now.
func (e containers) cores(ctx context.Context, c *cloud, u *ir.Unit) (float64, error) {
	w := e.names()
	st := taskState{Cluster: w.ecsCluster(), Service: w.container(u)}
	now, err := c.service(ctx, &st)
	if err != nil || !now.lives() {
		return 0, err
	}
	d, err := c.definition(ctx, familyOf(now.TaskDefinition))
	if err != nil || d == nil {
		return 0, err
	}
	units, err := strconv.ParseFloat(d.CPU, 64)
	if err != nil {
		return 0, fmt.Errorf("the task definition %s has %q units of CPU: %w", d.TaskDefinitionArn, d.CPU, err)
	}
	return units / 1024 * float64(max(now.RunningCount+now.PendingCount, now.DesiredCount)), nil
}

func (d *definition) port() int64 { return d.ContainerDefinitions[0].PortMappings[0].ContainerPort }

// definition returns the newest revision of a family that is active, or nil.
func (c *cloud) definition(ctx context.Context, family string) (*definition, error) {
	var out struct {
		TaskDefinition definition
		Tags           []ecsTag
	}
	err := c.ecs.call(ctx, "DescribeTaskDefinition", map[string]any{"taskDefinition": family, "include": []string{"TAGS"}}, &out)
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "ClientException" && strings.Contains(strings.ToLower(api.ErrorMessage()), "unable to describe") {
		return nil, nil
	}
	if err != nil {
		return nil, explainContainer("look at the task definition "+family, err)
	}
	d := out.TaskDefinition
	if d.Status == "INACTIVE" || len(d.ContainerDefinitions) == 0 || len(d.ContainerDefinitions[0].PortMappings) == 0 {
		return nil, nil
	}
	d.tags = tagMap(out.Tags)
	return &d, nil
}

// families returns the families of task definitions that are active and begin with a text.
func (c *cloud) families(ctx context.Context, prefix string) ([]string, error) {
	return c.listed(ctx, "ListTaskDefinitionFamilies", map[string]any{"familyPrefix": prefix, "status": "ACTIVE"})
}

// revisions returns the ARNs of the revisions of a family that are active. There is one, unless an apply was killed
// before it knew that it had registered one.
func (c *cloud) revisions(ctx context.Context, family string) ([]string, error) {
	return c.listed(ctx, "ListTaskDefinitions", map[string]any{"familyPrefix": family, "status": "ACTIVE"})
}

// stopped returns the ARNs of tasks of a family that have stopped in the last hour.
func (c *cloud) stopped(ctx context.Context, st *taskState) ([]string, error) {
	return c.listed(ctx, "ListTasks", map[string]any{"cluster": st.Cluster, "family": st.Run, "desiredStatus": "STOPPED"})
}

// listed returns all pages of a list.
func (c *cloud) listed(ctx context.Context, call string, in map[string]any) (all []string, err error) {
	for {
		var out struct {
			Families, TaskDefinitionArns, TaskArns []string
			NextToken                              string
		}
		if err := c.ecs.call(ctx, call, in, &out); err != nil {
			return nil, explainContainer("list what Amazon ECS has", err)
		}
		all = append(all, slices.Concat(out.Families, out.TaskDefinitionArns, out.TaskArns)...)
		if out.NextToken == "" {
			return all, nil
		}
		in["nextToken"] = out.NextToken
	}
}

// A stoppedTask is a task of Amazon ECS that has ended.
type stoppedTask struct {
	StoppedReason string
	StoppedAt     epoch
	Containers    []struct {
		Reason   string
		ExitCode *int
	}
}

// scaledIn begins what Amazon ECS says of tasks that it has stopped itself, as after a version that it has given up. Source:
// "Stopped task error messages" of its developer guide.
const scaledIn = "Scaling activity initiated by"

// whyStopped returns why the last task of a family stopped, or "". Tasks that Amazon ECS has stopped itself do not count.
func (c *cloud) whyStopped(ctx context.Context, st *taskState) (string, error) {
	arns, err := c.stopped(ctx, st)
	if err != nil || len(arns) == 0 {
		return "", err
	}
	var out struct{ Tasks []stoppedTask }
	// Amazon ECS describes 100 at a time.
	if err := c.ecs.call(ctx, "DescribeTasks", map[string]any{"cluster": st.Cluster, "tasks": arns[:min(len(arns), 100)]}, &out); err != nil {
		return "", explainContainer("look at the tasks of "+st.Service, err)
	}
	out.Tasks = slices.DeleteFunc(out.Tasks, func(t stoppedTask) bool { return strings.HasPrefix(t.StoppedReason, scaledIn) })
	slices.SortStableFunc(out.Tasks, func(a, b stoppedTask) int { return cmp.Compare(b.StoppedAt, a.StoppedAt) })
	if len(out.Tasks) == 0 {
		return "", nil
	}
	said, exit := out.Tasks[0].StoppedReason, 0
	for _, x := range out.Tasks[0].Containers {
		said = strings.TrimSpace(said + " " + x.Reason)
		if x.ExitCode != nil {
			exit = *x.ExitCode
		}
	}
	if why := fromContainers(said); why == "" && exit != 0 {
		return fmt.Sprintf("its program ended with %d", exit), nil
	}
	return explainStopped(said), nil
}
