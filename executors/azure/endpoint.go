package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// A deployment of the system that needs more than a container of Container Apps has, or says so, has an online endpoint of
// Azure Machine Learning, whose URL and keys never change. A task has a deployment at it for each version that it runs, on
// machines of its own. The endpoint divides its requests among deployments. They go where they went before until those of a
// new task were seen ready.
//
// Nothing is made twice, because all names are Tenon's: that of the endpoint follows from the unit, and those of deployments
// from the task. A call may still be under way when its tenon is killed, so that the token of a start is claimed in the
// container of blobs first: the next apply makes the same deployment, by the same call. Azure refuses a change of an endpoint
// or a deployment while it works on another.

// Tags of deployments and endpoints besides those of all resources. [tagServes] of an endpoint is the token of the start that
// has its requests.
const (
	tagVersion = "tenon-version" // of a deployment
	tagShare   = "tenon-share"   // of a deployment: percent of the requests at first
	tagSerial  = "tenon-serial"  // of a deployment: of its first route
	tagRoute   = "tenon-route"   // of an endpoint, see [cloud.RouteMark]
)

// Limits of the time that a version may take to become ready.
const (
	usualDeploy = 30 * time.Minute
	mostDeploy  = 2 * time.Hour
	// machineTime is how long Azure may take besides to find machines, and to pull images.
	machineTime = 30 * time.Minute
)

// deployTime returns how long the container of a deployment may take to become ready.
func deployTime(u *ir.Unit) time.Duration { return cmp.Or(u.Timeout, usualDeploy) }

// endpointOf completes the state of a task with what names its endpoint and its deployments.
func (e *Executor) endpointOf(st *taskState) {
	w := e.names()
	st.Endpoint, st.Workspace, st.State, st.Idle = w.endpoint(st.Unit), w.workspace(), e.opts.State, false
}

// hosts reads the endpoint of a task. It returns nil if there is none, and an error if it is that of another state.
func (e *Executor) hosts(ctx context.Context, st taskState) (*mlEndpoint, error) {
	x, err := e.client.endpoint(ctx, st)
	if err == nil && x != nil {
		err = st.owns("endpoint "+st.Endpoint, x.Tags)
	}
	return x, err
}

// host deploys the versions of a task, or finds them. They get no requests before [Executor.takeOver].
func (e *Executor) host(ctx context.Context, st *taskState, t executors.Task) error {
	e.endpointOf(st)
	if _, err := e.hosts(ctx, *st); err != nil {
		return err
	}
	if err := e.claim(ctx, st); err != nil {
		return err
	}
	m, _ := e.opts.hostOf(&t.Unit)
	st.Machine, st.Versions, st.Shares = m.size, map[string]string{}, map[string]int{}
	if t.Route != nil {
		st.Serial = t.Route.Serial
	}
	variants := cloud.VariantsOf(t)
	for i, v := range variants {
		st.Versions[v.Name], st.Shares[v.Name] = v.Task.Version, v.Share
		operation, err := e.deployAt(ctx, st, v)
		if err == nil && i < len(variants)-1 {
			err = e.operated(ctx, "deploy "+st.deployment(v.Name), operation, explainEndpoint)
		}
		if err != nil {
			return err
		}
		st.Operation = operation
	}
	return nil
}

// claim completes the state of a task with the token of the start that may run. It claims one if none has.
func (e *Executor) claim(ctx context.Context, st *taskState) error {
	was, err := e.claimed(ctx, *st)
	if err != nil || was != "" {
		st.Token = was
		return err
	}
	notes, err := e.codeOf(ctx, *st)
	if err != nil {
		return err
	}
	st.Token = newToken()
	return notes.PutNote(ctx, pod.ClaimNote(st.Run), []byte(st.Token))
}

// deployAt deploys a variant at the endpoint, which it makes if there is none. It returns the operation that does so, or "" if
// there was one.
func (e *Executor) deployAt(ctx context.Context, st *taskState, v cloud.Variant) (operation string, err error) {
	var want *mlDeployment
	name := st.deployment(v.Name)
	err = e.hosting(ctx, "deploy "+name, func(ctx context.Context) (bool, error) {
		x, err := e.hosts(ctx, *st)
		if err != nil {
			return false, err
		}
		if x == nil || x.Properties.State == "Failed" || x.Properties.State == "Canceled" {
			return false, e.makeEndpoint(ctx, *st, x)
		}
		if x.busy() {
			return false, nil
		}
		st.URL = x.Properties.URL
		var had mlDeployment
		there, err := e.client.get(ctx, "the deployment "+name, forManager, e.client.resource(st.deploymentID(v.Name), learningVersion), &had)
		if err != nil || there && had.Properties.State != stateDeleting {
			return there, err
		}
		if there {
			return false, nil
		}
		if want == nil {
			if want, err = e.deploymentOf(ctx, *st, v); err != nil {
				return false, err
			}
		}
		var began bool
		operation, began, err = e.client.makeML(ctx, "deploy "+name, st.deploymentID(v.Name), want)
		return began, err
	})
	return operation, err
}

// makeEndpoint makes the endpoint of a task, or repeats a change of it that has failed.
func (e *Executor) makeEndpoint(ctx context.Context, st taskState, failed *mlEndpoint) error {
	w := e.names()
	want := mlEndpoint{Location: w.Location, Tags: w.tags(), Properties: mlEntrance{Auth: "Key", Traffic: map[string]int{}}}
	if failed != nil {
		want.Tags, want.Properties.Traffic = failed.Tags, failed.Properties.Traffic
	}
	want.Identity = identified(w.id("Microsoft.ManagedIdentity/userAssignedIdentities", w.identity(st.Unit)))
	want.Tags[tagUnit], want.Tags[tagState], want.Tags[tagRoot], want.Tags[tagAccount] = st.Unit, st.State, st.Root, st.Account
	what := "make the endpoint " + st.Endpoint
	operation, _, err := e.client.makeML(ctx, what, st.endpointID(), want)
	if err != nil {
		return err
	}
	return e.operated(ctx, what, operation, explainEndpoint)
}

// deploymentOf sends what a variant needs, and returns its deployment.
func (e *Executor) deploymentOf(ctx context.Context, st taskState, v cloud.Variant) (*mlDeployment, error) {
	need, task, err := e.supply(ctx, st, v.Task)
	if err != nil {
		return nil, err
	}
	store, digest, err := e.bucket(st).Instruct(ctx, st.Unit, task)
	if err != nil {
		return nil, err
	}
	u, p := v.Task.Unit, v.Task.Unit.Endpoint
	ready := mlRoute{cmp.Or(p.Ready, "/"), p.Port}
	environment, err := e.client.environment(ctx, st, e.names().nodes(st.Unit), mlImage{need.image, "Linux", &mlInference{Live: ready, Ready: ready, Score: mlRoute{scorePath, p.Port}}})
	if err != nil {
		return nil, err
	}
	m, _ := e.opts.hostOf(&u)
	tags := e.tagsOf(st)
	tags[tagVersion], tags[tagShare], tags[tagSerial] = v.Task.Version, strconv.Itoa(v.Share), strconv.FormatInt(st.Serial, 10)
	variables := need.variables()
	variables[pod.HostedStore], variables[pod.HostedTask] = store, digest
	least, _ := cloud.Replicas(p)
	const period = 10 * time.Second
	probe := mlProbe{Delay: "PT10S", Period: iso(period), Timeout: "PT2S", Failures: 3, Successes: 1}
	live := probe // a container that does not become ready in time is started again, and its deployment fails
	live.Failures = int64((deployTime(&u) + period - 1) / period)
	return &mlDeployment{
		Location: e.opts.Location, Tags: tags, SKU: &mlSKU{"Default", least},
		Properties: mlServing{
			Type: "Managed", Environment: environment, Variables: variables, Instance: m.size, Live: live, Ready: probe,
			Requests: mlRequests{mostAtOnce, iso(requestTime)}, Scale: mlScale{"Default"},
		},
	}, nil
}

// scorePath is where the serving plane answers what Azure sends to the URL of an endpoint.
const scorePath = "/predict"

// What an instance answers at once, beyond which Azure refuses requests, and the longest time that Azure gives a request. Source:
// "CLI (v2) managed online deployment YAML schema".
const (
	mostAtOnce  = 100
	requestTime = 3 * time.Minute
)

// iso returns a duration as ISO 8601 has it: "PT90S".
func iso(d time.Duration) string { return fmt.Sprintf("PT%dS", int64(d/time.Second)) }

// hosting calls do until it is done, as long as Azure may take for a version.
func (e *Executor) hosting(ctx context.Context, what string, do func(context.Context) (bool, error)) error {
	return e.within(ctx, mostDeploy+machineTime, what, do)
}

// takeDeployment completes the state of a task with what one of its deployments says.
func (st *taskState) takeDeployment(d mlDeployment, variant string) error {
	if d.Tags[tagTask] != st.Name || d.Tags[tagToken] == "" {
		return fmt.Errorf("the endpoint %s has a deployment %s that tenon has not made: remove it", st.Endpoint, d.Name)
	}
	if st.Versions == nil {
		st.Versions, st.Shares = map[string]string{}, map[string]int{}
	}
	st.Token, st.Machine = d.Tags[tagToken], d.Properties.Instance
	st.Root, st.Account = cmp.Or(d.Tags[tagRoot], st.Root), cmp.Or(d.Tags[tagAccount], st.Account)
	st.Versions[variant] = d.Tags[tagVersion]
	st.Shares[variant], _ = strconv.Atoi(d.Tags[tagShare]) // as it was written
	st.Serial, _ = strconv.ParseInt(d.Tags[tagSerial], 10, 64)
	return nil
}

// searchHosted completes the state of a task with what the workspace has of it, given its name. A task is there once one of its
// deployments is. Who may not look has started nothing, because each start looks too.
func (e *Executor) searchHosted(ctx context.Context, st *taskState) (bool, error) {
	now := *st
	now.Workspace = e.names().workspace()
	all, err := listAt[mlEndpoint](ctx, e.client, "the endpoints of Azure Machine Learning", e.client.resource(now.learningID("onlineEndpoints"), learningVersion))
	if noLearning(err) {
		return false, nil
	}
	for _, x := range all {
		now.Unit = x.Tags[tagUnit]
		if now.Unit == "" || x.Tags[tagState] != e.opts.State || e.names().endpoint(now.Unit) != x.Name {
			continue
		}
		e.endpointOf(&now)
		now.URL = x.Properties.URL
		list, err := e.client.deploymentsAt(ctx, now)
		if err != nil {
			return false, err
		}
		for _, d := range list {
			for _, variant := range []string{cloud.MainVariant, cloud.NextVariant} {
				if d.Name == now.deployment(variant) && d.Properties.State != stateDeleting {
					if err := now.takeDeployment(d, variant); err != nil {
						return false, err
					}
				}
			}
		}
		if len(now.Versions) > 0 {
			*st = now
			return true, nil
		}
	}
	return false, err
}

// noLearning reports whether a subscription has no Azure Machine Learning, or these credentials may not look there.
func noLearning(err error) bool {
	var api *refusal
	return errors.As(err, &api) && (api.status == http.StatusForbidden || api.code == "MissingSubscriptionRegistration")
}

// own returns the deployments of a task by variant, and others those of other tasks.
func (st taskState) own(all []mlDeployment) (own map[string]mlDeployment, others []mlDeployment) {
	own = map[string]mlDeployment{}
	for _, d := range all {
		variant := ""
		for v := range st.Versions {
			if d.Name == st.deployment(v) {
				variant = v
			}
		}
		switch {
		case variant == "":
			others = append(others, d)
		case d.Tags[tagToken] == st.Token:
			own[variant] = d
		}
	}
	return own, others
}

// lookHosted returns the status of a task at an endpoint. It is ready once all of its deployments are, or, after it has
// answered, those that a release has left.
func (f *followed) lookHosted(ctx context.Context) (state.Status, error) {
	absent := state.Status{Phase: state.Absent}
	x, err := f.e.client.endpoint(ctx, f.st)
	if err != nil || x == nil || f.st.owns("endpoint", x.Tags) != nil || x.Properties.State == stateDeleting {
		return absent, err
	}
	all, err := f.e.client.deploymentsAt(ctx, f.st)
	if err != nil {
		return absent, err
	}
	own, _ := f.st.own(all)
	maps.DeleteFunc(own, func(_ string, d mlDeployment) bool { return d.Properties.State == stateDeleting })
	if len(own) == 0 || len(own) < len(f.st.Versions) && x.Tags[tagServes] != f.st.Token {
		return absent, nil // an apply was killed before it had deployed all of them
	}
	now := state.Status{Phase: state.Ready}
	for _, variant := range slices.Sorted(maps.Keys(own)) {
		d := own[variant]
		if t := d.System.Created.UTC(); t.After(now.Started) {
			now.Started = t
		}
		switch {
		case d.serves():
		case d.busy():
			now.Phase, now.Queued, now.Message = state.Running, true, "Azure Machine Learning prepares machines for it"
		default:
			f.soon = true // what it printed says why
			why := f.failure(ctx)
			return state.Status{Phase: state.Failed, Started: now.Started, Message: why, Lacking: cloud.Lacks(why, lacking)}, nil
		}
	}
	if n := f.st.share(x); now.Phase == state.Ready && n < 100 && len(x.Properties.Traffic) > 0 {
		now.Message = fmt.Sprintf("%d %% of the requests go to it", n)
	}
	return now, nil
}

func (d *mlDeployment) busy() bool { return busyState(d.Properties.State) }

// failure says why a deployment has failed, as far as that is known: only who has begun it knows the operation.
func (f *followed) failure(ctx context.Context) string {
	if f.st.Operation != "" {
		if _, failed, err := f.e.client.operation(ctx, "look at the deployment", f.st.Operation); err == nil && failed != nil {
			return explainEndpoint("deploy it", failed).Error()
		}
	}
	return hostedNotReady
}

// share returns how many percent of the requests of an endpoint go to the deployments of a task.
func (st taskState) share(x *mlEndpoint) (percent int) {
	for variant := range st.Versions {
		percent += x.Properties.Traffic[st.deployment(variant)]
	}
	return percent
}

// printedHosted returns the lines that the deployments of a task have printed after those of the last call. Azure only has the
// last ones of one instance.
func (f *followed) printedHosted(ctx context.Context) ([]byte, error) {
	if !f.soon && time.Since(f.asked) < f.e.opts.LogPause {
		return nil, nil
	}
	f.asked = time.Now()
	if f.tails == nil {
		f.tails = map[string]string{}
	}
	var text strings.Builder
	for _, variant := range slices.Sorted(maps.Keys(f.st.Versions)) {
		now, err := f.e.client.deploymentLog(ctx, f.st, variant)
		if err != nil {
			return nil, err
		}
		now = now[:strings.LastIndexByte(now, '\n')+1]
		text.WriteString(after(f.tails[variant], now))
		f.tails[variant] = now
	}
	return []byte(text.String()), nil
}

// after returns the lines of the end of a log that are not in an earlier end of it.
func after(was, now string) string {
	for was != "" {
		if rest, is := strings.CutPrefix(now, was); is {
			return rest
		}
		was = was[strings.IndexByte(was, '\n')+1:]
	}
	return now
}
