package aws

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// endpoints runs services on SageMaker. A unit has one endpoint, whose name never changes. A task has a
// model for each version that it runs, and configurations of the endpoint, and the endpoint has one of
// these at a time. SageMaker moves it to another one once the containers of that are ready, and
// otherwise keeps the one before.
//
// Nothing is made twice: the endpoint is named after the unit, and everything else after the
// task, and SageMaker refuses a name that exists. The configuration is made last, so a task that has one
// has all of its models.
type endpoints struct{ *Executor }

// What the names of the configurations of a task end with: of those with one variant, and with two.
const (
	oneVariant  = "-one"
	twoVariants = "-two"
)

// startupLimits are how long SageMaker lets a container take to become ready.
const (
	leastStartup = time.Minute
	usualStartup = 10 * time.Minute
	mostStartup  = time.Hour
)

// startup returns how long a container of a deployment may take to become ready.
func startup(u *ir.Unit) time.Duration {
	return max(leastStartup, min(cmp.Or(u.Timeout, usualStartup), mostStartup))
}

// prepare implements [backend].
func (e endpoints) prepare(st *taskState, t executors.Task) {
	w := e.names()
	st.Endpoint, st.Group = w.endpoint(&t.Unit), w.logGroup(&t.Unit)
	st.Run, st.Instance = st.Endpoint+"-"+e.taskSum(t.Name), e.opts.endpoint(&t.Unit).Instance
	st.Record, st.Versions = st.Run, map[string]string{}
	for _, v := range clouds.VariantsOf(t) {
		st.Versions[v.Name] = v.Task.Version
	}
}

// apply implements [backend].
func (e endpoints) apply(ctx context.Context, c *cloud, st *taskState, t executors.Task, _ *taskState) error {
	if err := c.runtime.unknown; err != nil { // the service would have no URL
		return err
	}
	if err := e.ownEndpoint(ctx, c, st); err != nil {
		return err
	}
	variants := clouds.VariantsOf(t)
	config := st.Run + oneVariant
	if len(variants) > 1 {
		config = st.Run + twoVariants
	}
	there, err := c.endpointConfig(ctx, config)
	if err != nil {
		return err
	}
	if there == nil {
		for _, v := range variants {
			if err := e.model(ctx, c, st, v, len(variants) > 1); err != nil {
				return err
			}
		}
		if err := e.configure(ctx, c, st, config, t.Unit, variants); err != nil {
			return err
		}
	}
	st.URL = c.invocations(st.Endpoint)
	var route []tag
	if t.Route != nil {
		route = append(route, routeTag(t.Route.Serial))
	}
	return e.point(ctx, c, st, config, route...)
}

// ownEndpoint returns an error if the endpoint of a unit is that of another state.
func (e endpoints) ownEndpoint(ctx context.Context, c *cloud, st *taskState) error {
	had, err := c.describeEndpoint(ctx, st.Endpoint)
	if err != nil || had == nil {
		return err
	}
	tags, err := c.tagsOf(ctx, had.EndpointArn)
	if err != nil {
		return err
	}
	return e.owned(st, "endpoint "+st.Endpoint, tags)
}

// model makes the model of a variant, whose container runs tenon-pod and, in a release, counts what it answers.
func (e endpoints) model(ctx context.Context, c *cloud, st *taskState, v clouds.Variant, inRelease bool) error {
	image, task, err := e.supply(ctx, c, *st, v.Task)
	if err != nil {
		return err
	}
	if at := task.Step.Endpoint; at != nil { // each instance is one replica
		one := *at
		one.Replicas, one.Scale = 1, nil
		task.Step.Endpoint = &one
	}
	task.Name, task.Grace = st.start(), e.opts.Grace
	store, digest, err := e.bucket(c, *st).Instruct(ctx, st.Unit, task)
	if err != nil {
		return err
	}
	name := st.Run + "-" + v.Name
	variables := map[string]string{pod.HostedStore: store, pod.HostedTask: digest, step.Platform: step.SageMaker, envNamed: v.Task.Version}
	if inRelease {
		variables[release.CountedAs] = name
	}
	err = e.again(ctx, func() error {
		return c.sagemaker.call(ctx, "CreateModel", map[string]any{
			"ModelName": name, "ExecutionRoleArn": e.names().role(c, placedAt(onSageMaker, st.Unit)), "Tags": tagList(e.tags(*st)),
			"PrimaryContainer": map[string]any{"Image": image, "Environment": variables},
		}, nil)
	})
	if alreadyThere(err) { // of a call without an answer
		return nil
	}
	return explainEndpoint("create the model "+name, err)
}

// envNamed says which version a model is of.
const envNamed = "TENON_VERSION"

// configure makes a configuration of the endpoint with some variants.
func (e endpoints) configure(ctx context.Context, c *cloud, st *taskState, config string, u ir.Unit, variants []clouds.Variant) error {
	var list []production
	for _, v := range variants {
		list = append(list, production{
			VariantName: v.Name, ModelName: st.Run + "-" + v.Name, InstanceType: st.Instance, InitialInstanceCount: instancesOf(u),
			InitialVariantWeight: float64(v.Share) / 100, ContainerStartupHealthCheckTimeoutInSeconds: int64(startup(&u) / time.Second),
			VolumeSizeInGB: (u.Needs.Disk + gib - 1) / gib,
		})
	}
	return e.define(ctx, c, st, config, list...)
}

// define creates a configuration of the endpoint.
func (e endpoints) define(ctx context.Context, c *cloud, st *taskState, config string, variants ...production) error {
	err := c.sagemaker.call(ctx, "CreateEndpointConfig", map[string]any{"EndpointConfigName": config, "ProductionVariants": variants, "Tags": tagList(e.tags(*st))}, nil)
	if alreadyThere(err) {
		return nil
	}
	return explainEndpoint("create the configuration "+config, err)
}

// instancesOf returns how many instances each variant of a service has.
func instancesOf(u ir.Unit) int64 { return int64(max(1, u.Endpoint.Replicas)) }

// point makes the endpoint move to a configuration of a task. It waits while SageMaker changes the
// endpoint, which it does for one configuration at a time. The endpoint gets more tags before.
func (e endpoints) point(ctx context.Context, c *cloud, st *taskState, config string, more ...tag) error {
	end := time.Now().Add(changePatience)
	for pause := e.opts.Pause; ; pause = min(2*pause, e.opts.Longest) {
		now, err := c.describeEndpoint(ctx, st.Endpoint)
		if err != nil {
			return err
		}
		switch {
		case now == nil:
			tags := append(tagList(e.tags(*st)), more...)
			err = c.sagemaker.call(ctx, "CreateEndpoint", map[string]any{"EndpointName": st.Endpoint, "EndpointConfigName": config, "Tags": tags}, nil)
			if !alreadyThere(err) {
				return explainEndpoint("create the endpoint "+st.Endpoint, err)
			}
		case now.heading() == config && now.EndpointStatus != "Failed" && now.EndpointStatus != "Deleting":
			return nil
		case now.EndpointStatus == "Failed": // AWS: "DeleteEndpoint is the only operation that can be performed on a failed endpoint"
			err = c.deleteEndpoint(ctx, st.Endpoint)
		case !now.changing():
			// The tag says later whether the endpoint went back from this configuration.
			if err = e.mark(ctx, c, now.EndpointArn, append([]tag{{tagTask, st.Name}}, more...)...); err == nil {
				err = c.sagemaker.call(ctx, "UpdateEndpoint", map[string]any{"EndpointName": st.Endpoint, "EndpointConfigName": config}, nil)
			}
			if !beingChanged(err) {
				return explainEndpoint("update the endpoint "+st.Endpoint, err)
			}
		}
		if err != nil && !alreadyThere(err) && !beingChanged(err) {
			return explainEndpoint("change the endpoint "+st.Endpoint, err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("SageMaker has been changing the endpoint %s for %s: see it in the console of SageMaker, and apply again", st.Endpoint, changePatience)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// changePatience is how long a change of an endpoint may take that has to end before the next one: as long
// as its containers may take to start, and its instances before them.
const changePatience = mostStartup + 30*time.Minute

// find implements [backend]. A task is there once one of its models is.
func (e endpoints) find(ctx context.Context, c *cloud, st *taskState) (bool, error) {
	end := "-" + e.taskSum(st.Name)
	for _, kind := range []string{"EndpointConfig", "Model"} {
		all, err := c.named(ctx, kind, end)
		if err != nil {
			return false, err
		}
		for _, of := range all {
			name, suffix, is := strings.Cut(of.name, end)
			if !is || suffix != "" && suffix[0] != '-' {
				continue
			}
			tags, err := c.tagsOf(ctx, of.arn)
			if err != nil {
				return false, err
			}
			if tags[tagTask] != st.Name {
				continue
			}
			st.Endpoint, st.Run = name, name+end
			st.Record, st.Unit, st.Root = st.Run, tags[tagUnit], cmp.Or(tags[tagRoot], st.Root)
			st.Group, st.URL = endpointGroup+name, c.invocations(name)
			return true, e.versions(ctx, c, st)
		}
	}
	return false, nil
}

// versions completes the state with the names of the versions of a task, and the type of its instances.
func (e endpoints) versions(ctx context.Context, c *cloud, st *taskState) error {
	for _, config := range []string{oneVariant, twoVariants} {
		x, err := c.endpointConfig(ctx, st.Run+config)
		if err != nil {
			return err
		}
		if x != nil && len(x.ProductionVariants) > 0 {
			st.Instance = x.ProductionVariants[0].InstanceType
		}
	}
	st.Versions = map[string]string{}
	for _, v := range []string{clouds.MainVariant, clouds.NextVariant} {
		m, err := c.model(ctx, st.Run+"-"+v)
		if err != nil {
			return err
		}
		if m != nil {
			st.Versions[v] = m.PrimaryContainer.Environment[envNamed]
		}
	}
	return nil
}

// owns reports whether a configuration is one of the task.
func (st taskState) owns(config string) bool {
	return config == st.Run+oneVariant || config == st.Run+twoVariants
}

// look implements [backend].
func (e endpoints) look(ctx context.Context, c *cloud, st *taskState) (state.Status, *pod.Result, error) {
	now, err := c.describeEndpoint(ctx, st.Endpoint)
	if err != nil || now == nil || now.EndpointStatus == "Deleting" {
		return state.Status{Phase: state.Absent}, nil, err
	}
	if st.owns(now.heading()) {
		return now.status(), nil, nil
	}
	tags, err := c.tagsOf(ctx, now.EndpointArn)
	if err != nil {
		return state.Status{}, nil, err
	}
	switch {
	case tags[tagTask] != st.Name: // another version has taken over
		return state.Status{Phase: state.Absent}, nil, nil
	case now.changing():
		return state.Status{Phase: state.Running, Message: "SageMaker goes back to the version before"}, nil, nil
	}
	return state.Status{Phase: state.Failed, Started: now.CreationTime.time(), Message: explainFailure(now.FailureReason)}, nil, nil
}

// stream implements [backend]. Each instance has a stream, all of which [endpoints.readStreams] reads.
func (e endpoints) stream(context.Context, *cloud, taskState) (group, stream string, err error) {
	return "", "", nil
}

// readStreams implements [streamed]. Streams of the task are younger than its configuration.
func (e endpoints) readStreams(ctx context.Context, c *cloud, st taskState, at *logPosition, to *bytes.Buffer) error {
	if at.since == 0 {
		for _, config := range []string{st.Run + oneVariant, st.Run + twoVariants} {
			x, err := c.endpointConfig(ctx, config)
			if err != nil {
				return err
			}
			if x != nil && (at.since == 0 || x.CreationTime.time().UnixMilli() < at.since) {
				at.since = x.CreationTime.time().UnixMilli()
			}
		}
		at.began = at.since
	}
	if at.since == 0 {
		return nil
	}
	own := map[string]bool{}
	for _, variant := range []string{clouds.MainVariant, clouds.NextVariant} {
		streams, err := c.logs.streams(ctx, st.Group, variant+"/")
		if logsMissing(err) {
			return nil
		}
		if err != nil {
			return explainCall("look for the log of "+st.Endpoint, err)
		}
		for _, s := range streams {
			own[s.Name] = s.CreationTime >= at.began
		}
	}
	return at.readSince(ctx, c, st.Group, func(stream string) bool { return own[stream] }, to)
}

// end implements [backend]. What answers for another task answers until [endpoints.forget] has a
// successor for it.
func (e endpoints) end(context.Context, *cloud, *taskState) error { return nil }

// forget implements [backend]. With the last task goes the endpoint. If a configuration of another
// task is left, because that one could not be removed or because this one is given up after it took over,
// the endpoint goes back there first.
func (e endpoints) forget(ctx context.Context, c *cloud, st taskState) error {
	now, err := e.settle(ctx, c, st.Endpoint)
	if err != nil {
		return err
	}
	if now != nil && st.owns(now.EndpointConfigName) {
		others, err := e.others(ctx, c, st)
		if err != nil {
			return err
		}
		if len(others) > 0 && now.EndpointStatus != "Failed" {
			err = e.point(ctx, c, &others[0].task, others[0].config)
		} else {
			err = c.deleteEndpoint(ctx, st.Endpoint)
		}
		if err != nil {
			return err
		}
		if now, err = e.settle(ctx, c, st.Endpoint); err != nil {
			return err
		}
		if now != nil && st.owns(now.EndpointConfigName) {
			return fmt.Errorf("the endpoint %s did not go back to the version before: %s", st.Endpoint, explainFailure(now.FailureReason))
		}
	}
	for _, config := range []string{oneVariant, twoVariants} {
		err = errors.Join(err, c.remove(ctx, "EndpointConfig", st.Run+config))
	}
	for _, variant := range []string{clouds.MainVariant, clouds.NextVariant} {
		err = errors.Join(err, c.remove(ctx, "Model", st.Run+"-"+variant))
	}
	return err
}

// settle waits until SageMaker does not change an endpoint, and returns it, or nil.
func (e endpoints) settle(ctx context.Context, c *cloud, name string) (*endpoint, error) {
	end := time.Now().Add(changePatience)
	for pause := e.opts.Pause; ; pause = min(2*pause, e.opts.Longest) {
		now, err := c.describeEndpoint(ctx, name)
		if err != nil || now == nil || !now.changing() {
			return now, err
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("SageMaker has been changing the endpoint %s for %s: see it in the console of SageMaker", name, changePatience)
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// A deployed is a configuration of an endpoint, and its task.
type deployed struct {
	config string
	task   taskState
}

// others returns the configurations of an endpoint that are those of other tasks, the youngest first.
func (e endpoints) others(ctx context.Context, c *cloud, st taskState) (all []deployed, err error) {
	list, err := c.named(ctx, "EndpointConfig", st.Endpoint+"-")
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b listed) int { return cmp.Compare(b.created, a.created) })
	for _, x := range list {
		run := strings.TrimSuffix(strings.TrimSuffix(x.name, oneVariant), twoVariants)
		sum, is := strings.CutPrefix(run, st.Endpoint+"-")
		if !is || len(sum) != sumLength || strings.Contains(sum, "-") || st.owns(x.name) {
			continue
		}
		tags, err := c.tagsOf(ctx, x.arn)
		if err != nil {
			return nil, err
		}
		of := st
		of.Name, of.Run = tags[tagTask], run
		all = append(all, deployed{x.name, of})
	}
	return all, nil
}
