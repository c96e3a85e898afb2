package azure

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/local"
)

// Check returns one fault for each field of a unit or its target that cannot be had on Azure, when only
// the infrastructure is written.
func Check(t ir.Target, u ir.Unit) []ir.Fault {
	s, err := SettingsOf(t)
	if err != nil {
		return []ir.Fault{{Field: "executor", Message: err.Error(), Target: true}}
	}
	return s.check(u).Faults
}

func (s Settings) check(u ir.Unit) *checks {
	c := &checks{Checks: cloud.Checks{Faults: local.CheckProgram(u)}, settings: s}
	c.target()
	switch s.place(&u) {
	case onTenon:
		c.Objectives(u, "the log of Container Apps")
		c.Unwatched(u, "Azure Machine Learning", s.hosts)
		return c
	case onML:
		c.Unit(u, "Azure")
		c.ml(u)
		return c
	case onEndpoint:
		c.Unit(u, "Azure")
		c.hosted(u)
		return c
	case onJob, onService:
	}
	c.Unit(u, "Azure")
	if u.Needs.GPU > 0 {
		c.gpus(u)
	} else if _, ok := size(u.Needs); !ok {
		hint := "request less, or split the work"
		if u.Kind == ir.Job {
			hint += `, or write jobs: on: "ml" in the target`
		} else {
			hint += fmt.Sprintf(`, or write endpoints: %s: on: "ml" in the target`, cloud.EntityName(&u))
		}
		c.Fault("needs", hint, "a container of Container Apps has at most 4 cores, 8 GiB of memory and 8 GiB for files")
	}
	for _, x := range u.Secrets {
		c.Secret(u, x, "Azure")
	}
	if u.Kind == ir.Service {
		c.service(u)
	} else if u.Timeout > longestTime {
		c.Fault("timeout", "write at most 168h", "tenon lets a job on Container Apps run for at most 168 hours")
	}
	return c
}

type checks struct {
	cloud.Checks
	settings Settings
}

// target reports settings that contradict each other.
func (c *checks) target() {
	fault := func(field, hint, format string, args ...any) {
		c.Faults = append(c.Faults, ir.Fault{Field: field, Target: true, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	if c.settings.Jobs.On == byApps && c.settings.Jobs.Spot {
		fault("jobs.spot", `remove spot, or on: "apps"`, "jobs on Container Apps do not run on spare capacity")
	}
	if a := c.settings.CIDR; a != "" && c.settings.Existing.Subnet == "" {
		if p, err := netip.ParsePrefix(a); err != nil || !p.Addr().Is4() || p.Bits() < 16 || p.Bits() > 27 || p.Masked() != p {
			fault("cidr", `write "10.40.0.0/24"`, "%q is not the address of a network with 16 to 27 bits, which an environment of Container Apps needs", a)
		}
	}
	for _, tag := range slices.Sorted(maps.Keys(c.settings.Tags)) {
		if low := strings.ToLower(tag); strings.HasPrefix(low, "tenon-") || strings.HasPrefix(low, "microsoft") || strings.HasPrefix(low, "azure") || strings.HasPrefix(low, "windows") {
			fault("tags", "choose another name", "the tag %s is reserved", tag)
			return
		}
	}
	if e := c.settings.Existing; !e.Group && (e.Storage != nil || e.Registry != "") {
		fault("existing", "add resource_group: true to existing", "the storage and the registry that exist are in a resource group that exists, too")
	}
}

// service reports what services on Container Apps do not have.
func (c *checks) service(u ir.Unit) {
	e := u.Endpoint
	if e == nil {
		c.Fault("command", "choose another target", "on Azure, Tenon knows jobs and what answers requests, but no workers")
		return
	}
	c.Service(u, "Container Apps")
	if _, most := cloud.Replicas(e); most > mostReplicas {
		c.Fault("replicas", "write at most 1000", "a revision of Container Apps has at most %d replicas", mostReplicas)
	}
	if m := c.settings.endpoint(&u).Machine; m != "" {
		name := cloud.EntityName(&u)
		c.Faults = append(c.Faults, ir.Fault{Field: "endpoints", Target: true, Message: fmt.Sprintf("%s runs on Container Apps, which have no machine %s", name, m),
			Hint: fmt.Sprintf(`leave out machine, or write endpoints: %s: on: "ml"`, name)})
	}
	var p struct{ Auth json.RawMessage }
	_ = json.Unmarshal(u.Params, &p) // which may be none
	if c.settings.Ingress == External && len(p.Auth) == 0 {
		c.Faults = append(c.Faults, ir.Fault{Field: "component", Note: true, Message: "anyone on the Internet can call it, because the target has ingress: \"external\"", Hint: "add auth, or remove ingress"})
	}
}

// mostReplicas is how many replicas a revision may have. Source: "Quotas for Azure Container Apps".
const mostReplicas = 1000

// gpus reports what no container with a GPU has.
func (c *checks) gpus(u ir.Unit) {
	if _, ok := containerFor(u.Needs); !ok {
		var all []string
		for _, p := range gpuProfiles {
			all = append(all, fmt.Sprintf("%d cores, %d GiB and one %s with %d GiB", p.cores, p.memory, p.model, p.gpuMemory))
		}
		hint := fmt.Sprintf(`request less, or write endpoints: %s: on: "ml" in the target`, cloud.EntityName(&u))
		if u.Kind == ir.Job {
			hint = `request less, or remove jobs: on: "apps" from the target`
		}
		c.Fault("needs", hint, "a container of Container Apps with a GPU has %s, and 8 GiB for files", strings.Join(all, ", or "))
	}
}
