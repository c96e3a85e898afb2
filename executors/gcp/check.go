package gcp

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/local"
)

// Check returns one fault for each field of a unit or its target that cannot be had on Google
// Cloud, when only the infrastructure is written.
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
		c.Objectives(u, "Cloud Monitoring")
		c.Unwatched(u, "Vertex AI", c.settings.hosts)
		return c
	case onJob:
		c.size(u, `remove jobs: on: "run" from the target`)
		if u.Needs.GPU > 0 && u.Timeout == 0 {
			c.Faults = append(c.Faults, ir.Fault{Field: "needs.gpu", Note: true, Message: "a job with a GPU on Cloud Run ends after an hour, and this one has no timeout",
				Hint: `write timeout: "1h" or less, or remove jobs: on: "run" from the target`})
		} else if u.Needs.GPU > 0 && u.Timeout > gpuJobTime {
			c.Fault("timeout", `write at most 1h, or remove jobs: on: "run" from the target`, "a job with a GPU on Cloud Run ends after an hour")
		} else if u.Timeout > mostTime {
			c.Fault("timeout", "write at most 168h", "a job on Cloud Run ends after 168 hours")
		}
	case onService:
		c.service(u)
	case onHosted:
		c.hosted(u)
	case onVertex:
		c.vertex(u)
	case onCluster: // package kubernetes checks it
	}
	c.unit(u)
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
	if c.settings.Jobs.On == byRun && c.settings.Jobs.Spot {
		fault("jobs.spot", `remove spot, or on: "run"`, "jobs on Cloud Run do not run on spare capacity")
	}
	if a := c.settings.CIDR; a != "" && c.settings.Existing.Network == nil && !isNetwork(a) {
		fault("cidr", `write "10.40.0.0/24"`, "%q is not the address of a network with 16 to 26 bits", a)
	}
	for _, label := range slices.Sorted(maps.Keys(c.settings.Labels)) {
		if strings.HasPrefix(label, "tenon-") || strings.HasPrefix(label, "goog") {
			fault("labels", "choose another name", "the label %s is reserved", label)
			return
		}
	}
}

// isNetwork reports whether an address in CIDR notation is that of a network that has enough
// addresses for the instances of Cloud Run.
func isNetwork(cidr string) bool {
	p, err := netip.ParsePrefix(cidr)
	return err == nil && p.Addr().Is4() && p.Bits() >= 16 && p.Bits() <= 26 && p.Masked() == p
}

// size reports what no container of Cloud Run has. A unit with a GPU may run elsewhere.
func (c *checks) size(u ir.Unit, elsewhere string) {
	if u.Needs.GPU > 0 {
		c.runGPU(u, elsewhere)
	} else if _, _, ok := size(u.Needs); !ok {
		c.Fault("needs", "request less, or split the work", "a container of Cloud Run has at most 8 cores and 32 GiB for memory and files together")
	}
}

// unit reports what neither jobs nor services can have.
func (c *checks) unit(u ir.Unit) {
	c.Unit(u, "Google Cloud")
	for _, x := range u.Secrets {
		if at := c.settings.place(&u); at == onVertex || at == onHosted {
			c.Fault(u.SecretField(x), "let the program read it from Secret Manager, or choose another target", "only units on Cloud Run get secrets")
		} else {
			c.Secret(u, x, "Google Cloud")
		}
	}
}

// service reports what services on Cloud Run do not have.
func (c *checks) service(u ir.Unit) {
	e := u.Endpoint
	if e == nil {
		c.Fault("command", "choose another target", "Cloud Run runs jobs and what answers requests, but no workers")
		return
	}
	c.size(u, fmt.Sprintf(`add to the target: endpoints: %s: on: "vertex"`, cloud.EntityName(&u)))
	c.Service(u, "Cloud Run")
}
