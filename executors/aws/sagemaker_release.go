package aws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A release has two variants at one endpoint, and SageMaker divides the requests by their weights. A tag of
// the endpoint says which route that is, and since when, so that an apply that is killed anywhere goes on.

// tagRoute is the tag with the serial of the route of an endpoint, and the time since when, in milliseconds.
const tagRoute = "tenon:route"

var _ releaser = endpoints{}

// routeTag returns the tag for a route that is effective from now on.
func routeTag(serial int64) tag {
	return tag{tagRoute, fmt.Sprintf("%d %d", serial, time.Now().UnixMilli())}
}

// observe implements [releaser]. The containers of both versions print what they answer into the log of the endpoint.
// A route is effective since its tag says so, or since the endpoint has its configuration, whichever is later: the version
// before answers until then.
func (e endpoints) observe(ctx context.Context, c *cloud, st *taskState) (*step.Observed, error) {
	now, err := c.describeEndpoint(ctx, st.Endpoint)
	if err != nil || now == nil || now.changing() || !st.owns(now.EndpointConfigName) {
		return nil, err
	}
	tags, err := c.tagsOf(ctx, now.EndpointArn)
	if err != nil {
		return nil, err
	}
	first, second, _ := strings.Cut(tags[tagRoute], " ")
	serial, bad := strconv.ParseInt(first, 10, 64)
	milliseconds, worse := strconv.ParseInt(second, 10, 64)
	if bad != nil || worse != nil { // no route was set
		return nil, nil
	}
	since := time.UnixMilli(max(milliseconds, now.LastModifiedTime.time().UnixMilli())).UTC()
	models, versions := map[string]string{}, []string(nil)
	for variant, version := range st.Versions {
		models[st.Run+"-"+variant] = version
	}
	for _, v := range now.ProductionVariants {
		versions = append(versions, st.Versions[v.VariantName])
	}
	return e.counted(ctx, c, st, serial, since, versions, reading{
		pattern: `"` + release.CountPrefix + `"`, what: "the endpoint " + st.Endpoint,
		version: func(_ logEvent, line string) (string, bool) {
			count, _ := release.ReadCount(line)
			version, own := models[count.Of]
			return version, own
		},
		other: func(*tally, string) (none step.Observation) { return none },
	})
}

// setRoute implements [releaser]. A version that is no longer in the route is removed, and with it its
// instances.
func (e endpoints) setRoute(ctx context.Context, c *cloud, st *taskState, r step.Route) error {
	now, err := e.settle(ctx, c, st.Endpoint)
	if err != nil {
		return err
	}
	if now == nil || !st.owns(now.EndpointConfigName) {
		return fmt.Errorf("the endpoint %s no longer runs this version: apply again", st.Endpoint)
	}
	switch {
	case now.EndpointConfigName == st.Run+twoVariants:
		if err := e.weigh(ctx, c, st, now, r); err != nil {
			return err
		}
	case len(r.Versions) > 1:
		return fmt.Errorf("the endpoint %s runs one version: apply again", st.Endpoint)
	}
	if len(r.Versions) == 1 {
		if err := e.finish(ctx, c, st, r.Versions[0].Name); err != nil {
			return err
		}
	}
	return e.mark(ctx, c, now.EndpointArn, routeTag(r.Serial))
}

// mark gives an endpoint tags, or other values of them.
func (e endpoints) mark(ctx context.Context, c *cloud, arn string, tags ...tag) error {
	return explainCall("tag "+arn, c.sagemaker.call(ctx, "AddTags", map[string]any{"ResourceArn": arn, "Tags": tags}, nil))
}

// weigh gives the variants of an endpoint the weights of a route, and waits until SageMaker has done so.
func (e endpoints) weigh(ctx context.Context, c *cloud, st *taskState, now *endpoint, r step.Route) error {
	wanted := map[string]float64{}
	for variant, version := range st.Versions {
		i := slices.IndexFunc(r.Versions, func(v step.RouteVersion) bool { return v.Name == version })
		wanted[variant] = 0
		if i >= 0 {
			wanted[variant] = float64(r.Versions[i].Weight) / 100
		}
	}
	same := true
	for _, v := range now.ProductionVariants {
		same = same && math.Abs(v.DesiredWeight-wanted[v.VariantName]) < 1e-3
	}
	if same {
		return nil
	}
	var list []map[string]any
	for _, variant := range slices.Sorted(maps.Keys(wanted)) {
		list = append(list, map[string]any{"VariantName": variant, "DesiredWeight": wanted[variant]})
	}
	err := c.sagemaker.call(ctx, "UpdateEndpointWeightsAndCapacities", map[string]any{"EndpointName": st.Endpoint, "DesiredWeightsAndCapacities": list}, nil)
	if err != nil {
		return explainEndpoint("change the weights of the endpoint "+st.Endpoint, err)
	}
	_, err = e.settle(ctx, c, st.Endpoint)
	return err
}

// finish makes a version of a release answer alone, and removes the other one.
func (e endpoints) finish(ctx context.Context, c *cloud, st *taskState, version string) error {
	alone, both := st.Run+oneVariant, st.Run+twoVariants
	two, err := c.endpointConfig(ctx, both)
	if err != nil || two == nil { // it was finished before
		return err
	}
	i := slices.IndexFunc(two.ProductionVariants, func(v production) bool { return st.Versions[v.VariantName] == version })
	if i < 0 {
		return fmt.Errorf("the endpoint %s has no version %s: apply again", st.Endpoint, version)
	}
	last := two.ProductionVariants[i]
	kept := last.ModelName
	last.VariantName, last.InitialVariantWeight = clouds.MainVariant, 1
	if err := e.define(ctx, c, st, alone, last); err != nil {
		return err
	}
	if err := e.point(ctx, c, st, alone); err != nil {
		return err
	}
	now, err := e.settle(ctx, c, st.Endpoint)
	if err != nil {
		return err
	}
	if now == nil || now.EndpointConfigName != alone {
		why := ""
		if now != nil {
			why = ": " + explainFailure(now.FailureReason)
		}
		return fmt.Errorf("the endpoint %s still runs both versions%s", st.Endpoint, why)
	}
	for _, v := range two.ProductionVariants {
		if v.ModelName != kept {
			err = errors.Join(err, c.remove(ctx, "Model", v.ModelName))
		}
	}
	return errors.Join(err, c.remove(ctx, "EndpointConfig", both)) // last: without it, nothing is left to do
}
