package aws

import (
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/bundle"
)

// function reports what a function of AWS Lambda cannot be: it has only the program, the model and
// the tables of its archive, one request at a time, and halts between requests.
func (c *checks) function(u ir.Unit) {
	const another = "choose a target with the executor process, containerd or kubernetes"
	if u.Endpoint == nil {
		return // which is refused as a worker
	}
	switch s := u.Endpoint.Scale; {
	case s == nil && u.Endpoint.Replicas > 1:
		c.Fault("replicas", "remove replicas, or limit them: replicas: {min: 0, max: 20}", "AWS Lambda starts as many instances as there are requests at a time")
	case s != nil && u.Endpoint.Replicas > 0:
		c.Fault("replicas", "write min: 0", "AWS Lambda stops instances that get no requests")
	}
	c.release(u.Release, "AWS Lambda", "AWS Lambda sends a request to one version")
	switch u.Code.Runtime {
	case ir.Plane:
	case ir.PlaneDuckDB:
		c.Fault("component", another, "a part of its features is left to DuckDB, or its model needs ONNX Runtime, which a function does not have")
		return
	default:
		if len(c.Faults) == 0 { // others say more
			c.Fault("component", another, "a function only answers for models and features that need no Python")
		}
		return
	}
	for _, in := range u.Inputs {
		if in.Kind == ir.EndpointOf {
			c.Fault("in."+in.Port, another, "a function reaches no other service")
		}
	}
	// A service outside of AWS Lambda may log and trace requests.
	allowed := slices.DeleteFunc(slices.Clone(bundle.Portable), func(name string) bool { return name == "log" || name == "traces" })
	why, err := bundle.NotPortable(u.Params, allowed)
	switch {
	case err != nil:
		c.Fault("component", another, "%v", err)
	case why != "":
		c.Fault("component", "remove it, or "+another, "it does not run as a function: %s", why)
	}
}
