package azure

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/internal/bundle"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// hosts are the machines of endpoints of Azure Machine Learning that Tenon chooses from, the cheapest first: those without a GPU,
// and those of jobs that have one. Source: "Managed online endpoints SKU list".
var hosts = append([]machine{
	{"Standard_E2s_v3", 2, 16, 32},
	{"Standard_E4s_v3", 4, 32, 64},
	{"Standard_F8s_v2", 8, 16, 64},
	{"Standard_E8s_v3", 8, 64, 128},
	{"Standard_F16s_v2", 16, 32, 128},
	{"Standard_E16s_v3", 16, 128, 256},
	{"Standard_F32s_v2", 32, 64, 256},
	{"Standard_E32s_v3", 32, 256, 512},
	{"Standard_F64s_v2", 64, 128, 512},
	{"Standard_E64s_v3", 64, 432, 864},
}, slices.DeleteFunc(slices.Clone(machines), func(m machine) bool { return m.gpus().GPUs == 0 })...)

// hostOf returns the machine of a deployment: the first that has what it needs, or the one that the target names.
func (s Settings) hostOf(u *ir.Unit) (m machine, ok bool) {
	named := s.endpoint(u).Machine
	i := slices.IndexFunc(hosts, func(m machine) bool { return m.has(u.Needs) && strings.EqualFold(m.size, cmp.Or(named, m.size)) })
	if i < 0 {
		return m, false
	}
	return hosts[i], true
}

// hosted reports what an endpoint of Azure Machine Learning does not have: it passes one kind of request on, whose header with the
// key is Azure's.
func (c *checks) hosted(u ir.Unit) {
	apps := fmt.Sprintf("choose another target, or Container Apps: endpoints: %s: on: %q", cloud.EntityName(&u), byApps)
	if _, ok := c.settings.hostOf(&u); !ok {
		if named := c.settings.endpoint(&u).Machine; named != "" {
			c.Fault("needs", "leave out machine in endpoints of the target, or request less", "Tenon knows no machine %s of endpoints of Azure Machine Learning that has them", named)
		} else {
			last := hosts[len(hosts)-1]
			c.Fault("needs", "request less, or another GPU", "Tenon knows no machine of endpoints of Azure Machine Learning that has them; the largest is %s, with %d GiB", last.text(), last.memory)
		}
	}
	if u.Timeout > mostDeploy {
		c.Fault("timeout", "write at most 2h", "tenon gives a deployment on Azure Machine Learning at most 2 hours to become ready")
	}
	least, most := cloud.Replicas(u.Endpoint)
	if least != most {
		c.Fault("replicas", fmt.Sprintf("write replicas: %d, or %s", max(least, 1), apps), "an endpoint of Azure Machine Learning has a fixed number of machines")
	} else if least > mostInstances {
		c.Fault("replicas", "write at most 50", "a deployment of Azure Machine Learning has at most %d machines", mostInstances)
	}
	if u.Network == ir.NetworkNone {
		c.Fault("network", "remove network: false, or "+apps, "an endpoint of Azure Machine Learning reaches the Internet")
	}
	for _, x := range u.Secrets {
		c.Fault(u.SecretField(x), "remove it, or "+apps, "only units on Container Apps get secrets")
	}
	if c.settings.Ingress != External {
		c.Faults = append(c.Faults, ir.Fault{Field: "component", Note: true, Message: "the Internet reaches its endpoint of Azure Machine Learning, which answers whoever has its key, although ingress is \"internal\"",
			Hint: "keep its keys, or " + apps})
	}
	c.Service(u, "Azure Machine Learning")
	c.Split(u, "Azure Machine Learning", ", or "+apps)
	if u.Code.Runtime != ir.Plane && u.Code.Runtime != ir.PlaneDuckDB {
		c.Fault("component", apps, "Azure Machine Learning posts requests to %s, which only deployments of serve.#HTTP answer", scorePath)
		return
	}
	allowed := slices.DeleteFunc(slices.Clone(bundle.Portable), func(name string) bool { return name == "log" })
	why, err := bundle.NotPortable(u.Params, allowed)
	switch {
	case err != nil:
		c.Fault("component", "choose another target", "%v", err)
	case why != "":
		c.Fault("component", "remove it, or "+apps, "it does not run on an endpoint of Azure Machine Learning: %s", why)
	}
}

// mostInstances is how many instances a deployment may have. Source: "Manage and increase quotas and limits for resources with
// Azure Machine Learning".
const mostInstances = 50

// hostedReasons are parts of what Azure Machine Learning says when it refuses a deployment or when that fails, in lower case,
// besides those of jobs. Source: "Troubleshoot online endpoint deployment and scoring".
var hostedReasons = []mlReason{
	{"outofquota", servingQuota},
	{"out of quota", servingQuota},
	{"not enough quota", servingQuota},
	{"outofcapacity", noHost},
	{"not enough capacity", noHost},
	{"imagebuildfailure", "its image could not be used: plan and apply again, which pushes it"},
	{"resourcenotready", hostedNotReady},
	{"container has crashed", hostedNotReady},
	{"containercrash", hostedNotReady},
	{"liveness probe", hostedNotReady},
	{"readiness probe", hostedNotReady},
	{"already taken", "another customer of Azure has an endpoint of this name in the location: choose another prefix"},
	{"instance type", noSize},
	{"acrpull", "its identity may not pull its image: " + infrastructure},
	{"pull image", "its identity may not pull its image, or it is not in the registry: plan and apply again, and " + infrastructure},
	{"userassignedidentit", "the identity of its unit does not exist, or these credentials may not give it to an endpoint: " + infrastructure},
}

const (
	hostedNotReady = "its container ended, or did not become ready in time: its log says more; raise timeout if the model takes long to load"
	servingQuota   = "a quota for cores of machines of endpoints, or for endpoints, is used up or 0: raise that of their family under Quotas, Machine Learning; Azure reserves 20 % for upgrades"
	noHost         = "the location has no such machine free now: try again, choose another machine in endpoints of the target, or another location"
)

// explainEndpoint is explainCall with what Azure Machine Learning says of endpoints.
func explainEndpoint(what string, err error) error {
	var api *refusal
	if !errors.As(err, &api) || hintOf(api) == rightHint {
		return explainCall(what, err)
	}
	is := mlError{api.code, api.message}
	why := cmp.Or(matchedML(hostedReasons, is), knownML(is))
	if why == "" {
		return explainCall(what, err)
	}
	if err = errors.New(why); cloud.Lacks(why, lacking) {
		return &executors.LackingError{Err: err}
	}
	return err
}

// Placed implements [executors.Placer]. A handle that cannot be read, or that of a job, changes nothing.
func (e *Executor) Placed(u *ir.Unit, h state.Handle) (before, after string) {
	st, err := e.fromHandle(h)
	if err != nil || u.Kind != ir.Service || st.Service == "" && st.Endpoint == "" {
		return "", ""
	}
	before, after = "Container Apps", "Container Apps"
	if st.Endpoint != "" {
		before = "Azure Machine Learning, " + st.Machine
	}
	if e.opts.place(u) == onEndpoint {
		m, _ := e.opts.hostOf(u)
		after = "Azure Machine Learning, " + m.size
	}
	return before, after
}

// PerHour implements [executors.HourPricer].
func (e *Executor) PerHour(u *ir.Unit) (planner.PerHour, bool) {
	if u.Kind != ir.Service || u.Endpoint == nil || e.opts.place(u) != onEndpoint {
		return planner.PerHour{}, false
	}
	m, _ := e.opts.hostOf(u)
	return perHour(u, m.size), true
}

// PerHourOf implements [executors.DeployedPricer].
func (e *Executor) PerHourOf(u *ir.Unit, h state.Handle) (planner.PerHour, bool) {
	st, err := e.fromHandle(h)
	if err != nil || st.Endpoint == "" || u != nil && u.Endpoint == nil {
		return planner.PerHour{}, false
	}
	return perHour(u, st.Machine), true
}

// perHour says which machines a unit pays for, or that it is one if u is nil. What they cost is not known: Azure's prices differ
// by location.
func perHour(u *ir.Unit, machine string) planner.PerHour {
	least, id := int64(1), ""
	if u != nil {
		least, _ = cloud.Replicas(u.Endpoint)
		id = u.ID
	}
	return planner.PerHour{Unit: id, Of: fmt.Sprintf("%d x %s", least, machine)}
}
