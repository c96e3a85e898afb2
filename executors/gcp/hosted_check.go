package gcp

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/internal/bundle"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// hosts are the machines of endpoints of Vertex AI that Tenon chooses from, the cheapest first: those without a GPU, and those
// of custom jobs. Source: "Configure compute resources for inference" of Vertex AI.
var hosts = append([]machine{
	{name: "e2-standard-2", cores: 2, memory: 8}, {name: "e2-standard-4", cores: 4, memory: 16}, {name: "e2-standard-8", cores: 8, memory: 32},
	{name: "e2-standard-16", cores: 16, memory: 64}, {name: "e2-standard-32", cores: 32, memory: 128},
	{name: "e2-highmem-16", cores: 16, memory: 128},
}, machines...)

// hostOf returns the machine of a deployment: the first that has what it needs, or the one that the target names.
func (s Settings) hostOf(u *ir.Unit) (m machine, ok bool) {
	named := s.endpoint(u).Machine
	i := slices.IndexFunc(hosts, func(m machine) bool { return m.has(u.Needs) && m.name == cmp.Or(named, m.name) })
	if i < 0 {
		return m, false
	}
	return hosts[i], true
}

// hosted reports what an endpoint of Vertex AI does not have: it passes one kind of request on, without the headers with which
// callers show who they are.
func (c *checks) hosted(u ir.Unit) {
	const another = "choose a target with the executor process, containerd or kubernetes"
	cloudRun := fmt.Sprintf("leave out endpoints: %s of the target, for Cloud Run", cloud.EntityName(&u))
	if u.Endpoint == nil {
		c.Fault("command", "choose another target", "Vertex AI runs jobs and what answers requests, but no workers")
		return
	}
	if _, ok := c.settings.hostOf(&u); !ok {
		if named := c.settings.endpoint(&u).Machine; named != "" {
			c.Fault("needs", "leave out machine in endpoints of the target, or request less", "Tenon knows no machine %s of Vertex AI that has them", named)
		} else {
			c.Fault("needs", "request less, or another GPU", "Tenon knows no machine of Vertex AI that has them")
		}
	}
	if u.Needs.Disk > mostHostDisk {
		c.Fault("needs.disk", "request less, or "+cloudRun, "the disk of a machine of an endpoint cannot be chosen, and has 100 GB with the image")
	}
	if u.Timeout > mostDeploy {
		c.Fault("timeout", "write at most 2h", "Vertex AI gives a deployment at most 2 hours to become ready")
	}
	if least, _ := cloud.Replicas(u.Endpoint); least == 0 {
		c.Fault("replicas.min", "write at least 1, or "+cloudRun, "an endpoint of Vertex AI always has a machine")
	}
	if u.Network == ir.NetworkNone {
		c.Fault("network", "remove network: false, or "+cloudRun, "an endpoint of Vertex AI reaches the Internet")
	}
	c.Service(u, "Vertex AI")
	c.Split(u, "Vertex AI", fmt.Sprintf(", or leave out endpoints: %s of the target: Cloud Run has both versions in each instance", cloud.EntityName(&u)))
	if u.Code.Runtime != ir.Plane && u.Code.Runtime != ir.PlaneDuckDB {
		c.Fault("component", cloudRun, "Vertex AI posts requests to /predict, which only deployments of serve.#HTTP answer")
		return
	}
	allowed := slices.DeleteFunc(slices.Clone(bundle.Portable), func(name string) bool { return name == "log" })
	why, err := bundle.NotPortable(u.Params, allowed)
	switch {
	case err != nil:
		c.Fault("component", another, "%v", err)
	case why != "":
		c.Fault("component", "remove it, or "+cloudRun, "it does not run on an endpoint of Vertex AI: %s", why)
	}
}

// hosts reports whether a deployment is an endpoint of Vertex AI, given its unit.
func (s Settings) hosts(unit string) bool {
	entity, _ := ir.SplitID(unit)
	return s.endpoint(&ir.Unit{Entity: entity}).On == byVertex
}

// mostHostDisk is the disk that a deployment may need, in bytes: the rest is for its image and what it fetches.
const mostHostDisk = 50 * gib

// hostedReasons are parts of what Vertex AI says when it refuses a deployment or when that fails, in lower case, and what that
// means to a user. Sources: "Troubleshooting Vertex AI", and its quotas.
var hostedReasons = append([]reason{
	{[]string{"model server", "never became ready"}, hostedNotReady},
	{[]string{"model server", "exited unexpectedly"}, hostedNotReady},
	{[]string{"model server", "terminated"}, hostedNotReady},
	{[]string{"custommodelserving", "quota"}, servingQuota},
	{[]string{"custom_model_serving", "quota"}, servingQuota},
}, vertexReasons...)

const (
	hostedNotReady = "its container ended, or did not become ready in time: its log says more; raise timeout if the model takes long to load"
	servingQuota   = "a quota of the project for machines of endpoints is used up or 0: raise the one that Google names, custom_model_serving_..., under IAM & Admin, Quotas, for the region of the target"
)

// hostedError returns why a deployment failed.
func hostedError(said string) error {
	return errors.New(cmp.Or(matched(hostedReasons, said, said), "Vertex AI cannot run it: "+oneLine(said)))
}

// explainHosted is explainCall with what Vertex AI says of endpoints.
func explainHosted(what string, err error) error {
	var api *refusal
	if !errors.As(err, &api) {
		return explainCall(what, err)
	}
	why := matched(hostedReasons, api.status+" "+api.message, api.message)
	if why == "" {
		return exhausted(explainCall(what, err))
	}
	err = fmt.Errorf("%s on Google Cloud: %s", what, why)
	if cloud.Lacks(why, lacking) {
		return &executors.LackingError{Err: err}
	}
	return err
}

// hostPrices are what Vertex AI charges for each hour of a machine of an endpoint, whether it answers or not, in millionths of
// a USD. They are quoted from "Vertex AI pricing", and not compared with Google's price list: other regions mostly cost more. Those of machines with
// GPUs are 1.15 times what Compute Engine charges there.
// Machines whose price is not known have none.
var hostPrices = struct {
	hour                 map[string]int64
	source, date, region string
}{
	map[string]int64{
		"e2-standard-2": 77_056, "e2-standard-4": 154_113, "e2-standard-8": 308_226, "e2-standard-16": 616_451, "e2-standard-32": 1_232_902,
		"g2-standard-4": 812_931, "g2-standard-8": 981_730, "g2-standard-12": 1_150_530, "g2-standard-16": 1_319_330,
		"g2-standard-24": 2_301_061, "g2-standard-32": 1_994_620, "g2-standard-48": 4_602_123, "g2-standard-96": 9_204_246,
		"a2-highgpu-1g": 4_224_393,
	},
	"prices of endpoints of Vertex AI in us-central1, as quoted from cloud.google.com/vertex-ai/pricing", "2026-11-30", "us-central1",
}

// Placed implements [executors.Placer]. A handle that cannot be read, or does not say what its machines are, changes
// nothing.
func (e *Executor) Placed(u *ir.Unit, h state.Handle) (before, after string) {
	st, err := e.fromHandle(h)
	to := e.opts.place(u)
	if err != nil || u.Kind != ir.Service || st.Service == "" && st.Machine == "" {
		return "", ""
	}
	before, after = "Cloud Run", "Cloud Run"
	if st.Machine != "" {
		before = "Vertex AI, " + st.Machine
	}
	if to == onHosted {
		m, _ := e.opts.hostOf(u)
		after = "Vertex AI, " + m.name
	}
	return before, after
}

// PerHour implements [executors.HourPricer].
func (e *Executor) PerHour(u *ir.Unit) (planner.PerHour, bool) {
	if u.Kind != ir.Service || u.Endpoint == nil || e.opts.place(u) != onHosted {
		return planner.PerHour{}, false
	}
	m, _ := e.opts.hostOf(u)
	return perHour(u, m.name, e.opts.Region), true
}

// PerHourOf implements [executors.DeployedPricer].
func (e *Executor) PerHourOf(u *ir.Unit, h state.Handle) (planner.PerHour, bool) {
	st, err := e.fromHandle(h)
	if err != nil || st.Endpoint == "" || u != nil && u.Endpoint == nil {
		return planner.PerHour{}, false
	}
	return perHour(u, cmp.Or(st.Machine, "machine of unknown type"), st.Region), true
}

// perHour returns the price of the machines of a unit, or of one if u is nil.
func perHour(u *ir.Unit, machine, region string) planner.PerHour {
	least, id := int64(1), ""
	if u != nil {
		least, _ = cloud.Replicas(u.Endpoint)
		id = u.ID
	}
	x := planner.PerHour{Unit: id, Of: fmt.Sprintf("%d x %s", least, machine)}
	if one, known := hostPrices.hour[machine]; known && region == hostPrices.region {
		x.Currency, x.Rate, x.Source, x.Date = "USD", money.One.Times(one*least, 1_000_000), hostPrices.source, hostPrices.date
	}
	return x
}
