package aws

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// containers runs services on Amazon ECS, as tasks of Fargate behind a load balancer. A unit has one service, whose
// address never changes. Each task of Tenon has a task definition, and the service has one of these at a time. Amazon ECS moves
// it to another one container by container: a new one gets requests once the load balancer sees that it is ready, and an old
// one ends after that. If the new ones do not become ready, Amazon ECS goes back. The versions of a release are in one
// container, as in a cluster, so that a step of the release changes nothing in AWS.
//
// Nothing runs twice: the service is named after the unit. Applies that are killed may register a task definition twice; both
// are identical, named after the task, and are removed together.
type containers struct{ *Executor }

// tagURL is the tag of a task definition with the URL of its service.
const tagURL = "tenon:url"

// Times that a service may take: to start its tasks before their containers run, and to change or end.
const (
	fargateTime   = 5 * time.Minute
	rollPatience  = mostStartup + 3*fargateTime
	stopTimeout   = 30 // seconds from SIGTERM to SIGKILL, longer than [Options.Grace]
	mainContainer = "main"
)

// prepare implements [backend].
func (e containers) prepare(st *taskState, t executors.Task) {
	w := e.names()
	st.Cluster, st.Service, st.Group = w.ecsCluster(), w.container(&t.Unit), w.logGroup(&t.Unit)
	st.Run = st.Service + "-" + e.taskSum(t.Name)
	st.Record, st.Host, st.Network, st.Machine = st.Run, e.opts.endpoint(&t.Unit).Host, e.opts.networkOf(&t.Unit), e.machine()
}

// apply implements [backend].
func (e containers) apply(ctx context.Context, c *cloud, st *taskState, t executors.Task, _ *taskState) error {
	at, err := e.site(ctx, c, st, laneOf(&t.Unit))
	if err != nil {
		return err
	}
	now, err := c.service(ctx, st)
	if err == nil && now.lives() {
		err = e.owned(st, "service "+st.Service, tagMap(now.Tags))
	}
	if err != nil {
		return err
	}
	st.URL = "http://" + cmp.Or(st.Host, at.address)
	if e.opts.Balancer.secure() {
		st.URL = "https://" + cmp.Or(st.Host, at.address)
	}
	d, err := c.definition(ctx, st.Run)
	if err == nil && d == nil {
		d, err = e.register(ctx, c, st, t)
	}
	if err != nil {
		return err
	}
	if r := parsedReplicas(d.tags[tagReplicas]); !r.follow() {
		err = e.scale(ctx, c, st, r)
	}
	if err == nil {
		err = e.roll(ctx, c, st, at, t.Unit, d)
	}
	if r := parsedReplicas(d.tags[tagReplicas]); err == nil && r.follow() {
		err = e.scale(ctx, c, st, r)
	}
	return err
}

// networkOf describes the existing network in which a service on Fargate is, or returns "" for one that Tenon makes.
func (s Settings) networkOf(u *ir.Unit) string {
	n := s.Existing.Network
	switch {
	case n == nil:
		return ""
	case open(u):
		return strings.Join(n.OpenSubnets, " ") + " of " + n.VPC
	}
	return strings.Join(n.Subnets, " ") + " of " + n.VPC
}

// register registers the task definition of a task, with what its container has to do.
func (e containers) register(ctx context.Context, c *cloud, st *taskState, t executors.Task) (*definition, error) {
	var secrets []pod.Secret
	image, task, err := e.supply(ctx, c, *st, t,
		func(ctx context.Context) (err error) {
			secrets, err = e.secrets(ctx, c, t)
			return err
		},
		func(ctx context.Context) error {
			if t.Route == nil {
				return nil
			}
			return e.run(c, *st).PutRoute(ctx, *t.Route)
		})
	if err != nil {
		return nil, err
	}
	command, err := e.instruct(ctx, c, *st, t, task, pod.Work+"/end")
	if err != nil {
		return nil, err
	}
	in := e.definitionOf(c, st, t.Unit, image, command, secrets)
	err = e.again(ctx, func() error { return c.ecs.call(ctx, "RegisterTaskDefinition", in, nil) })
	if err != nil {
		return nil, explainContainer("register the task definition "+st.Run, err)
	}
	d, err := c.definition(ctx, st.Run)
	if err == nil && d == nil {
		err = fmt.Errorf("the task definition %s was removed outside tenon: apply again", st.Run)
	}
	return d, err
}

// definitionOf returns the task definition of a task.
func (e containers) definitionOf(c *cloud, st *taskState, u ir.Unit, image string, command []string, secrets []pod.Secret) map[string]any {
	w := e.names()
	values := make([]map[string]string, len(secrets))
	for i, x := range secrets {
		values[i] = map[string]string{"name": pod.SecretEnv + x.Name, "valueFrom": x.ARN}
	}
	milli, memory, _ := size(u.Needs)
	in := map[string]any{
		"family": st.Run, "networkMode": "awsvpc", "requiresCompatibilities": []string{"FARGATE"},
		"taskRoleArn": w.role(c, placedAt(onFargate, st.Unit)), "executionRoleArn": w.role(c, execution(st.Unit)),
		"cpu": strconv.FormatInt(milli*1024/1000, 10), "memory": strconv.FormatInt(memory, 10),
		"runtimePlatform": map[string]string{"cpuArchitecture": st.Machine, "operatingSystemFamily": "LINUX"},
		"tags":            ecsTags(e.tagsOfService(st, tag{tagURL, st.URL}, tag{tagReplicas, replicasOf(u).String()})),
		"containerDefinitions": []any{map[string]any{
			"name": mainContainer, "image": image, "essential": true, "command": command, "secrets": values, "stopTimeout": stopTimeout,
			"user":         "0", // the user of the image may not make the folders; a task of Fargate is a machine of its own
			"portMappings": []any{map[string]any{"containerPort": u.Endpoint.Port, "protocol": "tcp"}},
			"logConfiguration": map[string]any{"logDriver": "awslogs", "options": map[string]string{
				"awslogs-group": st.Group, "awslogs-region": c.region, "awslogs-stream-prefix": st.Run,
			}},
		}},
	}
	if d := diskOf(u.Needs); d > 0 {
		in["ephemeralStorage"] = map[string]int64{"sizeInGiB": d}
	}
	return in
}

// tagsOfService returns the tags of what a task has on Amazon ECS.
func (e containers) tagsOfService(st *taskState, more ...tag) map[string]string {
	tags := e.tags(*st)
	delete(tags, tagQueue)
	for _, t := range more {
		tags[t.Key] = t.Value
	}
	return tags
}

// roll makes the service of a unit move to a task definition, unless it does so already.
func (e containers) roll(ctx context.Context, c *cloud, st *taskState, at *site, u ir.Unit, d *definition) error {
	where := network{at.subnets, at.groups, "DISABLED"}
	if open(&u) && e.opts.Existing.Network == nil {
		where.AssignPublicIP = "ENABLED" // there is no NAT gateway
	}
	in := map[string]any{
		"cluster": st.Cluster, "taskDefinition": d.TaskDefinitionArn,
		"networkConfiguration":          map[string]any{"awsvpcConfiguration": where},
		"loadBalancers":                 []any{map[string]any{"targetGroupArn": at.targets, "containerName": mainContainer, "containerPort": d.port()}},
		"healthCheckGracePeriodSeconds": int64(startup(&u) / time.Second),
		"deploymentConfiguration": map[string]any{
			"minimumHealthyPercent": 100, "maximumPercent": 200, "deploymentCircuitBreaker": map[string]bool{"enable": true, "rollback": true},
		},
	}
	r := parsedReplicas(d.tags[tagReplicas])
	return e.until(ctx, "move the service "+st.Service, func() (bool, error) {
		now, err := c.service(ctx, st)
		switch {
		case err != nil:
			return false, err
		case now == nil:
			of := maps.Clone(in)
			of["serviceName"], of["launchType"], of["schedulingStrategy"], of["desiredCount"] = st.Service, "FARGATE", "REPLICA", r.least
			of["tags"], of["propagateTags"] = ecsTags(e.tagsOfService(st)), "SERVICE"
			err := c.ecs.call(ctx, "CreateService", of, nil)
			return err == nil, e.unless(err, "create the service "+st.Service)
		case !now.lives():
			return false, nil // until the one before has ended
		case familyOf(now.TaskDefinition) == st.Run && !now.failed() && now.NetworkConfiguration.AwsvpcConfiguration.is(where):
			return true, nil
		}
		if err := e.mark(ctx, c, now.ServiceArn, tag{tagTask, st.Name}); err != nil { // it says later whether Amazon ECS went back
			return false, err
		}
		of := r.counted(in)
		of["service"], of["forceNewDeployment"] = st.Service, now.failed()
		err = c.ecs.call(ctx, "UpdateService", of, nil)
		return err == nil, e.unless(err, "update the service "+st.Service)
	})
}

// unless explains an error, unless another call was faster or a former service is still draining: then the caller looks again.
func (e containers) unless(err error, what string) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		for _, passing := range []string{"not idempotent", "still Draining", "ServiceNotActive"} {
			if strings.Contains(api.ErrorCode()+": "+api.ErrorMessage(), passing) {
				return nil
			}
		}
	}
	return explainContainer(what, err)
}

// mark gives a service a tag: tagTask says which task it was moved to last.
func (e containers) mark(ctx context.Context, c *cloud, arn string, t tag) error {
	return explainContainer("tag "+arn, c.ecs.call(ctx, "TagResource", map[string]any{"resourceArn": arn, "tags": []ecsTag{ecsTag(t)}}, nil))
}

// until calls do until it is done.
func (e containers) until(ctx context.Context, what string, do func() (bool, error)) error {
	end := time.Now().Add(rollPatience)
	for pause := e.opts.Pause / 2; ; pause = min(2*pause, e.opts.Longest) {
		if done, err := do(); done || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: Amazon ECS has not done it within %s: see its console, and apply again", what, rollPatience)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// find implements [backend]. A task is there once its task definition is registered.
func (e containers) find(ctx context.Context, c *cloud, st *taskState) (bool, error) {
	w, end := e.names(), "-"+e.taskSum(st.Name)
	all, err := c.families(ctx, w.prefix[:min(len(w.prefix), mostECS/2)])
	if err != nil {
		return false, err
	}
	for _, family := range all {
		name, is := strings.CutSuffix(family, end)
		if !is {
			continue
		}
		d, err := c.definition(ctx, family)
		if err != nil {
			return false, err
		}
		if d == nil || d.tags[tagTask] != st.Name {
			continue
		}
		st.Cluster, st.Service, st.Run, st.Record = w.ecsCluster(), name, family, family
		st.Unit, st.Root, st.URL = d.tags[tagUnit], cmp.Or(d.tags[tagRoot], st.Root), d.tags[tagURL]
		st.Group = d.ContainerDefinitions[0].LogConfiguration.Options["awslogs-group"]
		st.Host, st.Machine = e.opts.endpoint(&ir.Unit{Entity: st.Unit}).Host, d.RuntimePlatform.CPUArchitecture
		return true, nil
	}
	return false, nil
}

// failed reports whether the tasks that a service should have do not start, so that Amazon ECS has given up.
func (s *ecsState) failed() bool {
	for _, d := range s.Deployments {
		if d.Status == "PRIMARY" {
			return d.RolloutState == "FAILED"
		}
	}
	return false
}

// look implements [backend].
func (e containers) look(ctx context.Context, c *cloud, st *taskState) (state.Status, *pod.Result, error) {
	absent := state.Status{Phase: state.Absent}
	s, err := c.service(ctx, st)
	if err != nil || !s.lives() {
		return absent, nil, err
	}
	if familyOf(s.TaskDefinition) != st.Run {
		if tagMap(s.Tags)[tagTask] != st.Name { // another version has taken over
			return absent, nil, nil
		}
		return e.failure(ctx, c, st, "Amazon ECS went back to the version before")
	}
	now := state.Status{Phase: state.Running, Message: "Amazon ECS starts it"}
	for _, d := range s.Deployments {
		if d.Status != "PRIMARY" {
			continue
		}
		now.Started = d.CreatedAt.time()
		switch {
		case d.RolloutState == "FAILED":
			return e.failure(ctx, c, st, d.RolloutStateReason)
		case d.RolloutState == "COMPLETED" && s.RunningCount > 0:
			now.Phase, now.Message = state.Ready, ""
			return now, nil, nil
		case d.FailedTasks > 0:
			why, err := c.whyStopped(ctx, st)
			if err != nil {
				return now, nil, err
			}
			now.Message = "Amazon ECS starts it again: " + cmp.Or(why, "a task has ended")
		case s.RunningCount > 0:
			now.Message = "it runs, and the load balancer waits until it is ready"
		}
	}
	if s.RunningCount == 0 && len(s.Events) > 0 {
		if why := fromContainers(s.Events[0].Message); why != "" {
			now.Message = why
		}
	}
	return now, nil, nil
}

// failure returns the status of a task that Amazon ECS has given up.
func (e containers) failure(ctx context.Context, c *cloud, st *taskState, said string) (state.Status, *pod.Result, error) {
	why, err := c.whyStopped(ctx, st)
	if err != nil {
		return state.Status{}, nil, err
	}
	why = cmp.Or(why, explainStopped(said))
	return state.Status{Phase: state.Failed, Message: why, Lacking: clouds.Lacks(why, lacking)}, nil, nil
}

// stream implements [backend]. Each container has a stream, all of which [containers.readStreams] reads.
func (e containers) stream(context.Context, *cloud, taskState) (group, stream string, err error) {
	return "", "", nil
}

// readStreams implements [streamed].
func (e containers) readStreams(ctx context.Context, c *cloud, st taskState, at *logPosition, to *bytes.Buffer) error {
	if at.since == 0 { // the log of versions before may be long
		d, err := c.definition(ctx, st.Run)
		if err != nil || d == nil {
			return err
		}
		at.since = d.RegisteredAt.time().UnixMilli()
	}
	return at.readSince(ctx, c, st.Group, func(stream string) bool { return strings.HasPrefix(stream, st.Run+"/") }, to)
}

// end implements [backend]. What answers for another task answers until [containers.forget] has a successor for it.
func (e containers) end(context.Context, *cloud, *taskState) error { return nil }

// forget implements [backend], once no task of Amazon ECS runs the version. With the last version goes the service. If
// the task definition of another task is left, because that one could not be removed or because this one is given up after it
// took over, the service goes back there first.
func (e containers) forget(ctx context.Context, c *cloud, st taskState) error {
	err := e.until(ctx, "remove "+st.Run, func() (bool, error) {
		now, err := c.service(ctx, &st)
		switch {
		case err != nil || !now.runs(st.Run):
			return true, err
		case !now.lives() || familyOf(now.TaskDefinition) != st.Run:
			return false, nil
		}
		before, err := e.before(ctx, c, st)
		if err != nil {
			return false, err
		}
		if before == nil {
			if tagMap(now.Tags)[tagReplicas] != "" {
				if err := e.fix(ctx, c, &st); err != nil {
					return false, err
				}
			}
			err := c.ecs.call(ctx, "DeleteService", map[string]any{"cluster": st.Cluster, "service": st.Service, "force": true}, nil)
			if hasCode(err, "ServiceNotFoundException") {
				err = nil
			}
			return false, e.unless(err, "remove the service "+st.Service)
		}
		r := parsedReplicas(before.tags[tagReplicas])
		err = e.scale(ctx, c, &st, r)
		if err == nil {
			err = e.mark(ctx, c, now.ServiceArn, tag{tagTask, before.tags[tagTask]})
		}
		if err != nil {
			return false, err
		}
		err = c.ecs.call(ctx, "UpdateService", r.counted(map[string]any{"cluster": st.Cluster, "service": st.Service, "taskDefinition": before.TaskDefinitionArn}), nil)
		return false, e.unless(err, "update the service "+st.Service)
	})
	if err != nil {
		return err
	}
	all, err := c.revisions(ctx, st.Run)
	if err != nil {
		return err
	}
	for _, arn := range all {
		if err := c.ecs.call(ctx, "DeregisterTaskDefinition", map[string]any{"taskDefinition": arn}, nil); err != nil {
			return explainContainer("remove the task definition "+arn, err)
		}
	}
	return nil
}

// before returns the youngest task definition of a unit that is that of another task, or nil.
func (e containers) before(ctx context.Context, c *cloud, st taskState) (youngest *definition, err error) {
	all, err := c.families(ctx, st.Service+"-")
	if err != nil {
		return nil, err
	}
	for _, family := range all {
		if sum := strings.TrimPrefix(family, st.Service+"-"); family == st.Run || len(sum) != sumLength || strings.Contains(sum, "-") {
			continue
		}
		d, err := c.definition(ctx, family)
		if err != nil {
			return nil, err
		}
		if d != nil && d.tags[tagUnit] == st.Unit && (youngest == nil || d.RegisteredAt > youngest.RegisteredAt) {
			youngest = d
		}
	}
	return youngest, nil
}

// setRoute implements [releaser]: it replaces the note that each container looks at once a second.
func (e containers) setRoute(ctx context.Context, c *cloud, st *taskState, r step.Route) error {
	if err := e.answers(ctx, c, st); err != nil {
		return err
	}
	return e.run(c, *st).PutRoute(ctx, r)
}

// observe implements [releaser]: it adds up what all containers have stored, also those that have ended.
func (e containers) observe(ctx context.Context, c *cloud, st *taskState) (*step.Observed, error) {
	if err := e.answers(ctx, c, st); err != nil {
		return nil, err
	}
	return e.run(c, *st).Observed(ctx, false)
}

// answers returns an error if a service runs another task.
func (e containers) answers(ctx context.Context, c *cloud, st *taskState) error {
	now, err := c.service(ctx, st)
	if err == nil && (!now.lives() || familyOf(now.TaskDefinition) != st.Run) {
		err = fmt.Errorf("the service %s no longer runs this version: apply again", st.Service)
	}
	return err
}
