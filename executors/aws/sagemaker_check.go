package aws

import (
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/bundle"
)

// hosted reports what an endpoint of SageMaker does not have: it takes one kind of request, without
// the headers with which callers show who they are, and runs the serving plane.
func (c *checks) hosted(u ir.Unit) {
	const another = "choose a target with the executor process, containerd or kubernetes"
	if u.Endpoint == nil {
		return // which is refused as a worker
	}
	if u.Code.Runtime != ir.Plane && u.Code.Runtime != ir.PlaneDuckDB {
		if len(c.Faults) == 0 { // others say more
			c.Fault("component", another, "SageMaker asks for GET /ping and POST /invocations, which only deployments of serve.#HTTP answer")
		}
		return
	}
	if c.settings.Architecture == "arm64" {
		c.Fault("component", "choose architecture: \"x86_64\" in the target", "the instances of endpoints are x86_64")
	}
	if u.Network == ir.NetworkNone {
		c.Fault("network", "remove network: false", "an endpoint of SageMaker reaches the Internet")
	}
	c.release(u.Release, "SageMaker", "a shadow variant of SageMaker has no weight, and nothing compares what it answers")
	for _, in := range u.Inputs {
		if in.Kind == ir.EndpointOf {
			c.Fault("in."+in.Port, another, "an endpoint of SageMaker reaches no other service")
		}
	}
	allowed := slices.DeleteFunc(slices.Clone(bundle.Portable), func(name string) bool { return name == "log" })
	why, err := bundle.NotPortable(u.Params, allowed)
	switch {
	case err != nil:
		c.Fault("component", another, "%v", err)
	case why != "":
		c.Fault("component", "remove it, or "+another, "it does not run on SageMaker: %s", why)
	}
	if i := slices.IndexFunc(instances, func(i instance) bool { return i.name == c.settings.endpoint(&u).Instance }); i >= 0 && !instances[i].has(u.Needs) {
		c.Fault("needs", fmt.Sprintf("request less, or name another type in endpoints: %s: instance of the target", entityName(&u)),
			"an instance %s has %d cores, %d GiB%s", instances[i].name, instances[i].cores, instances[i].memory/gib, instances[i].gpuText())
	}
}
