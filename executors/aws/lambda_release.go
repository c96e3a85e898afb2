package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/tenon-ml/tenon/executors"
	runtime "github.com/tenon-ml/tenon/internal/lambda"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A release publishes two versions of the function for a task, both of which have the route with which it
// begins as a variable. The alias divides the requests, and its description says which route that is. AWS
// thus has all there is to know: an apply that is killed anywhere goes on.

// versionTasks returns what a task publishes a version for: itself, and those beside it. The version of the task is the
// first, which gives the task its record.
func versionTasks(t executors.Task) []executors.Task {
	all := []executors.Task{t}
	for _, name := range slices.Sorted(maps.Keys(t.Beside)) {
		beside := t.Beside[name]
		beside.Route = t.Route
		all = append(all, beside)
	}
	return all
}

// versionFor returns the version of a task with a name, or nil. A task without a release has one version.
func versionFor(own []version, t executors.Task) *version {
	for i := range own {
		if t.Route == nil || own[i].name == t.Version {
			return &own[i]
		}
	}
	return nil
}

// marks returns the variables of the version of a task.
func marks(st *taskState, t executors.Task) (map[string]string, error) {
	all := map[string]string{envRun: st.Run, envUnit: st.Unit, envReady: t.Unit.Endpoint.Ready}
	if t.Route == nil {
		return all, nil
	}
	route, err := json.Marshal(t.Route)
	all[envVersion], all[runtime.Route] = t.Version, string(route)
	return all, err
}

// routeOf returns the route in the variables of a version, or nil.
func routeOf(variables map[string]string) *step.Route {
	var r step.Route
	if text := variables[runtime.Route]; text == "" || json.Unmarshal([]byte(text), &r) != nil {
		return nil
	}
	return &r
}

// A pointing is which versions the URL of a function invokes.
type pointing struct {
	number, other string  // "" is no other one
	share         float64 // of the requests, that the other one answers
	description   string
}

func (p pointing) weights() *types.AliasRoutingConfiguration {
	all := map[string]float64{}
	if p.other != "" {
		all[p.other] = p.share
	}
	return &types.AliasRoutingConfiguration{AdditionalVersionWeights: all}
}

// pointing returns what a route means for the versions of a task.
func (r described) pointing(own []version) (p pointing, err error) {
	for _, v := range r.Versions {
		i := slices.IndexFunc(own, func(o version) bool { return o.name == v.Name })
		switch {
		case i < 0:
			return p, fmt.Errorf("its version %s was removed outside tenon: apply again", v.Name)
		case v.Weight == 0:
		case p.number == "":
			p.number = own[i].number
		default:
			p.other, p.share = own[i].number, float64(v.Weight)/100
		}
	}
	if p.number == "" {
		return p, fmt.Errorf("no version answers requests in its route")
	}
	p.description = r.text()
	return p, nil
}

// A described route is one that the description of an alias names.
type described struct {
	step.Route
	since time.Time
}

const routeText = "route %d since %s"

func (r described) text() string {
	return fmt.Sprintf(routeText, r.Serial, r.since.UTC().Format(time.RFC3339Nano))
}

// effective returns the route that the description of an alias names, without its versions, or false.
func effective(a *lambda.GetAliasOutput) (r described, ok bool) {
	var since string
	if n, _ := fmt.Sscanf(aws.ToString(a.Description), routeText, &r.Serial, &since); n != 2 {
		return r, false
	}
	var err error
	r.since, err = time.Parse(time.RFC3339Nano, since)
	return r, err == nil
}

// invokes reports whether an alias sends requests to a version.
func invokes(a *lambda.GetAliasOutput, v version) bool {
	if aws.ToString(a.FunctionVersion) == v.number {
		return true
	}
	if a.RoutingConfig == nil {
		return false
	}
	_, also := a.RoutingConfig.AdditionalVersionWeights[v.number]
	return also
}

// point makes the URL of a function invoke versions, in one step.
func (e functions) point(ctx context.Context, c *cloud, st *taskState, p pointing) error {
	_, err := c.lambda.UpdateAlias(ctx, &lambda.UpdateAliasInput{
		FunctionName: &st.Function, Name: aws.String(live), FunctionVersion: &p.number, Description: &p.description, RoutingConfig: p.weights(),
	})
	return explainLambda("change the alias of the function "+st.Function, err)
}

// setRoute implements [releaser]. Versions that are no longer in the route are removed.
func (e functions) setRoute(ctx context.Context, c *cloud, st *taskState, r step.Route) error {
	published, _, err := c.versions(ctx, st.Function)
	if err != nil {
		return err
	}
	own := st.own(published)
	to, err := described{r, time.Now()}.pointing(own)
	if err != nil {
		return err
	}
	a, err := c.alias(ctx, st.Function)
	if err != nil {
		return err
	}
	if a == nil {
		return fmt.Errorf("the alias %s of the function %s was removed outside tenon: apply again", live, st.Function)
	}
	if now, ok := effective(a); !ok || now.Serial != r.Serial || aws.ToString(a.FunctionVersion) != to.number {
		if err := e.point(ctx, c, st, to); err != nil {
			return err
		}
	}
	return e.unpublish(ctx, c, st, slices.DeleteFunc(own, func(v version) bool {
		return slices.ContainsFunc(r.Versions, func(in step.RouteVersion) bool { return in.Name == v.name })
	}))
}

// unpublish removes versions that the alias no longer names.
func (e functions) unpublish(ctx context.Context, c *cloud, st *taskState, all []version) error {
	if len(all) == 0 {
		return nil
	}
	if err := sleep(ctx, e.opts.Settle); err != nil { // until no part of AWS sends requests there
		return err
	}
	for _, v := range all {
		err := e.again(ctx, func() error {
			_, err := c.lambda.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &st.Function, Qualifier: &v.number})
			return err
		})
		if err != nil && !missing(err) {
			return explainLambda("remove a version of the function "+st.Function, err)
		}
	}
	return nil
}
