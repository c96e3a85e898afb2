package azure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A release has two deployments at one endpoint, and Azure divides the requests by whole percents. Tags of the endpoint say for
// which start and which route that is, and since when. They change in the same call as the requests, so that an apply that is
// killed anywhere goes on.

// takeOver sends requests to a task that is ready, as they are sent to a service of its kind.
func (e *Executor) takeOver(ctx context.Context, st taskState) error {
	if st.Endpoint == "" {
		return e.promote(ctx, st)
	}
	return e.until(ctx, "send requests to "+st.start(), func(ctx context.Context) (bool, error) {
		x, own, err := e.stillHosts(ctx, st)
		if err != nil || x.busy() {
			return false, err
		}
		if x.Tags[tagServes] == st.Token && st.share(x) == 100 { // a later route may divide them in another way
			return true, nil
		}
		traffic := map[string]int{}
		for variant, d := range own {
			if len(own) == 1 { // what a release has left
				traffic[d.Name] = 100
			} else if share := st.Shares[variant]; share > 0 {
				traffic[d.Name] = share
			}
		}
		return false, e.divide(ctx, st, x, traffic, st.routed(st.Serial))
	})
}

// stillHosts reads the endpoint of a task that was deployed there, and its deployments.
func (e *Executor) stillHosts(ctx context.Context, st taskState) (*mlEndpoint, map[string]mlDeployment, error) {
	x, err := e.hosts(ctx, st)
	if err == nil && x == nil {
		err = errors.New("its endpoint was removed outside tenon: apply again")
	}
	if err != nil {
		return nil, nil, err
	}
	all, err := e.client.deploymentsAt(ctx, st)
	own, _ := st.own(all)
	return x, own, err
}

// routed returns the tags of an endpoint whose route is that of a task from now on.
func (st taskState) routed(serial int64) map[string]string {
	return map[string]string{tagServes: st.Token, tagRoute: cloud.RouteMark(serial)}
}

// divide divides the requests of an endpoint, and gives it tags besides those that it has. Azure does not see if somebody
// changes it between a look and this: the lock of the state keeps other applies away.
func (e *Executor) divide(ctx context.Context, st taskState, x *mlEndpoint, traffic map[string]int, tags map[string]string) error {
	want := mlEndpoint{Location: x.Location, Tags: maps.Clone(x.Tags), Identity: x.Identity, Properties: mlEntrance{Auth: x.Properties.Auth, Traffic: traffic}}
	maps.Copy(want.Tags, tags)
	what := "divide the requests of " + st.Endpoint
	operation, _, err := e.client.makeML(ctx, what, st.endpointID(), want)
	if err != nil {
		return err
	}
	return e.operated(ctx, what, operation, explainEndpoint)
}

// setSplit divides the requests of an endpoint by a route. The deployment of a version that is no longer in it is removed.
func (e *Executor) setSplit(ctx context.Context, st taskState, r step.Route) error {
	traffic := map[string]int{}
	for variant, weight := range st.Weights(r) {
		traffic[st.deployment(variant)] = weight
	}
	return e.hosting(ctx, "divide the requests of "+st.Endpoint, func(ctx context.Context) (bool, error) {
		x, own, err := e.stillHosts(ctx, st)
		if err != nil || x.busy() {
			return false, err
		}
		for name := range traffic {
			if !slices.ContainsFunc(slices.Collect(maps.Values(own)), func(d mlDeployment) bool { return d.Name == name && d.serves() }) {
				return false, fmt.Errorf("the endpoint %s no longer runs a version of the route: apply again", st.Endpoint)
			}
		}
		if serial, _, ok := x.route(st); !ok || serial != r.Serial || !x.divides(traffic) {
			return false, e.divide(ctx, st, x, traffic, st.routed(r.Serial))
		}
		if len(r.Versions) > 1 {
			return true, nil
		}
		left := true
		for variant, d := range own {
			if traffic[d.Name] == 0 {
				left = false
				if err := e.drop(ctx, st, variant, d); err != nil {
					return false, err
				}
			}
		}
		return left, nil
	})
}

// drop removes a deployment, unless Azure does so already.
func (e *Executor) drop(ctx context.Context, st taskState, variant string, d mlDeployment) error {
	if d.Properties.State == stateDeleting {
		return nil
	}
	return e.client.dropML(ctx, "the deployment "+d.Name, st.deploymentID(variant))
}

// divides reports whether requests of an endpoint are divided so. Deployments without requests may be in its traffic.
func (x *mlEndpoint) divides(traffic map[string]int) bool {
	now := maps.Clone(x.Properties.Traffic)
	maps.DeleteFunc(now, func(_ string, percent int) bool { return percent == 0 })
	return maps.Equal(now, traffic)
}

// route returns which route of a task an endpoint has, and since when.
func (x *mlEndpoint) route(st taskState) (serial int64, since time.Time, ok bool) {
	serial, since, ok = cloud.MarkedRoute(x.Tags[tagRoute])
	return serial, since, ok && x.Tags[tagServes] == st.Token
}

// unhost removes the deployments of a task from the endpoint, and with the last ones the endpoint. Requests of a task that is
// given up go to another one first, if there is one.
func (e *Executor) unhost(ctx context.Context, st taskState) error {
	claim, err := e.claimed(ctx, st)
	if err != nil || claim != "" && claim != st.Token { // that of a later start
		return err
	}
	drained := false
	err = e.hosting(ctx, "remove "+st.start(), func(ctx context.Context) (bool, error) {
		x, err := e.client.endpoint(ctx, st)
		if err != nil || x == nil || st.owns("endpoint", x.Tags) != nil {
			return true, err
		}
		if x.busy() {
			return false, nil
		}
		all, err := e.client.deploymentsAt(ctx, st)
		if err != nil {
			return false, err
		}
		own, others := st.own(all)
		others = slices.DeleteFunc(others, func(d mlDeployment) bool { return d.Properties.State == stateDeleting })
		to := successor(others)
		switch {
		case len(others) == 0:
			return false, e.client.dropML(ctx, "the endpoint "+st.Endpoint, st.endpointID())
		case len(own) == 0:
			return true, nil
		case st.share(x) > 0 && to != nil:
			return false, e.divide(ctx, st, x, map[string]int{to.Name: 100}, map[string]string{tagServes: to.Tags[tagToken], tagRoute: ""})
		case st.share(x) > 0:
			return false, e.divide(ctx, st, x, map[string]int{}, map[string]string{tagServes: "", tagRoute: ""})
		case !drained: // until requests that its machines have are answered
			drained = true
			return false, cloud.Sleep(ctx, e.opts.Drain)
		}
		for variant, d := range own {
			if err := e.drop(ctx, st, variant, d); err != nil {
				return false, err
			}
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	s, err := e.codeOf(ctx, st)
	if err != nil {
		return err
	}
	return s.DeleteNotes(ctx, pod.ClaimNote(st.Run))
}

// successor returns the deployment that answers instead of those of a task: of the youngest task whose deployments are ready, the
// champion if there are two. It returns nil if there is none.
func successor(others []mlDeployment) (best *mlDeployment) {
	began := map[string]time.Time{} // by start: when its first deployment was made, which is the champion
	for _, d := range others {
		at, known := began[d.Tags[tagToken]]
		if d.serves() && (!known || d.System.Created.Before(at)) {
			began[d.Tags[tagToken]] = d.System.Created
		}
	}
	for i := range others {
		d := &others[i]
		first := d.System.Created.Equal(began[d.Tags[tagToken]])
		if d.serves() && first && (best == nil || d.System.Created.After(best.System.Created)) {
			best = d
		}
	}
	return best
}

// SetRoute replaces the note that each replica of an app looks at once a second, or divides the requests of an endpoint of Azure
// Machine Learning.
func (e *Executor) SetRoute(ctx context.Context, h state.Handle, r step.Route) error {
	st, err := e.hosted(ctx, h)
	if err == nil && st == nil {
		return e.Versions.SetRoute(ctx, h, r)
	}
	if err == nil {
		err = e.setSplit(ctx, *st, r)
	}
	if err != nil {
		return fmt.Errorf("set the route of %s: %w", h.ID, err)
	}
	return nil
}

// Observe adds up what all replicas of an app have stored, also those that have ended. Of an endpoint of Azure Machine Learning it
// only says which route is in effect: nothing counts what its versions answer.
func (e *Executor) Observe(ctx context.Context, h state.Handle) (*step.Observed, error) {
	st, err := e.hosted(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("read what %s observes: %w", h.ID, err)
	}
	if st == nil {
		return e.Versions.Observe(ctx, h)
	}
	x, own, err := e.stillHosts(ctx, *st)
	if err != nil {
		return nil, err
	}
	serial, since, ok := x.route(*st)
	if !ok || serial == 0 {
		return nil, nil
	}
	seen := &step.Observed{Serial: serial, Since: since, At: time.Now().UTC(), Versions: map[string]step.Observation{}}
	for variant, d := range own {
		if d.Properties.State != stateDeleting {
			seen.Versions[st.Versions[variant]] = step.Observation{}
		}
	}
	return seen, nil
}

// hosted returns the state of an endpoint of Azure Machine Learning that exists, or nil for an app of Container Apps.
func (e *Executor) hosted(ctx context.Context, h state.Handle) (*taskState, error) {
	st, err := e.fromHandle(h)
	if err != nil || st.Endpoint == "" {
		return nil, err
	}
	now, _, err := (&followed{e: e, st: st}).Look(ctx)
	if err == nil && now.Phase == state.Absent {
		err = errors.New("it is no longer on Azure: apply again")
	}
	return &st, err
}
