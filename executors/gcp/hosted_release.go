package gcp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A release has two deployed models at one endpoint, and Vertex AI divides the requests by whole percents. Labels of the endpoint
// say for which start and which route that is, and since when. They change in the same call as the requests, so that an
// apply that is killed anywhere goes on.

// takeOver sends requests to a task that is ready, as they are sent to a service of its kind.
func (e *Executor) takeOver(ctx context.Context, st taskState) error {
	if st.Endpoint == "" {
		return e.promote(ctx, st)
	}
	return e.until(ctx, "send requests to "+st.start(), func(ctx context.Context) (bool, error) {
		x, err := e.stillHosts(ctx, st)
		if err != nil {
			return false, err
		}
		if x.Labels[labelStart] == st.Token && x.share(st) == 100 { // a later route may divide them in another way
			return true, nil
		}
		split, own := map[string]int{}, x.runs(st)
		for variant, d := range own {
			if len(own) == 1 { // what a release has left
				split[d.ID] = 100
			} else if share := st.Shares[variant]; share > 0 {
				split[d.ID] = share
			}
		}
		return e.client.split(ctx, st, x, split, st.routed(st.Serial))
	})
}

// stillHosts reads the endpoint of a task that was deployed there.
func (e *Executor) stillHosts(ctx context.Context, st taskState) (*hostedEndpoint, error) {
	x, err := e.hosts(ctx, st)
	if err == nil && x == nil {
		err = errors.New("its endpoint was removed outside tenon: apply again")
	}
	return x, err
}

// routed returns the labels of an endpoint whose route is that of a task from now on.
func (st taskState) routed(serial int64) map[string]string {
	return map[string]string{labelStart: st.Token, labelRoute: cloud.RouteMark(serial)}
}

// setSplit divides the requests of an endpoint by a route. A version that is no longer in it is undeployed, and its model
// removed.
func (e *Executor) setSplit(ctx context.Context, st taskState, r step.Route) error {
	split := map[string]int{}
	for variant, weight := range st.Weights(r) {
		split[st.deployed(variant)] = weight
	}
	return e.hosting(ctx, "divide the requests of "+st.Endpoint, func(ctx context.Context) (bool, error) {
		x, err := e.stillHosts(ctx, st)
		if err != nil {
			return false, err
		}
		own := x.runs(st)
		for id := range split {
			if !deploys(own, id) {
				return false, fmt.Errorf("the endpoint %s no longer runs a version of the route: apply again", st.Endpoint)
			}
		}
		if serial, _, ok := x.route(st); !ok || serial != r.Serial || !x.divides(split) {
			_, err := e.client.split(ctx, st, x, split, st.routed(r.Serial))
			return false, err
		}
		if len(r.Versions) > 1 {
			return true, nil
		}
		return e.leaveOne(ctx, st, own, split)
	})
}

// divides reports whether requests of an endpoint are divided so. Deployed models without requests may be in its split.
func (x *hostedEndpoint) divides(split map[string]int) bool {
	now := maps.Clone(x.Traffic)
	maps.DeleteFunc(now, func(_ string, percent int) bool { return percent == 0 })
	return maps.Equal(now, split)
}

func deploys(own map[string]deployedModel, id string) bool {
	for _, d := range own {
		if d.ID == id {
			return true
		}
	}
	return false
}

// leaveOne undeploys the version that gets no requests, and removes its model unless that is the one by which the task is found. It
// reports whether that is done.
func (e *Executor) leaveOne(ctx context.Context, st taskState, own map[string]deployedModel, split map[string]int) (bool, error) {
	for variant := range st.Versions {
		if split[st.deployed(variant)] > 0 {
			continue
		}
		if d, there := own[variant]; there {
			op, err := e.client.undeployModel(ctx, st, d.ID)
			return false, e.ended(ctx, st, op, err)
		}
		if variant == cloud.NextVariant {
			return true, e.removeModel(ctx, st, variant)
		}
	}
	return true, nil
}

// route returns which route of a task an endpoint has, and since when.
func (x *hostedEndpoint) route(st taskState) (serial int64, since time.Time, ok bool) {
	serial, since, ok = cloud.MarkedRoute(x.Labels[labelRoute])
	return serial, since, ok && x.Labels[labelStart] == st.Token
}

// observeHosted says which route is in effect: nothing counts what the versions answer.
func (e *Executor) observeHosted(ctx context.Context, st taskState) (*step.Observed, error) {
	x, err := e.hosts(ctx, st)
	if err != nil || x == nil {
		return nil, err
	}
	serial, since, ok := x.route(st)
	if !ok || serial == 0 {
		return nil, nil
	}
	seen := &step.Observed{Serial: serial, Since: since, At: time.Now().UTC(), Versions: map[string]step.Observation{}}
	for variant := range x.runs(st) {
		seen.Versions[st.Versions[variant]] = step.Observation{}
	}
	return seen, nil
}
