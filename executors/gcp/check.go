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
	switch placeOf(&u) {
	case onTenon:
		c.Objectives(u, "Cloud Monitoring")
		return c
	case onJob:
		c.size(u)
		if u.Timeout > mostTime {
			c.Fault("timeout", "write at most 168h", "a job on Cloud Run ends after 168 hours")
		}
	case onService:
		c.service(u)
	case onVertex:
		c.vertex(u)
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

// size reports what no container of Cloud Run has.
func (c *checks) size(u ir.Unit) {
	if _, _, ok := size(u.Needs); !ok {
		c.Fault("needs", "request less, or split the work", "a container of Cloud Run has at most 8 cores and 32 GiB for memory and files together")
	}
}

// unit reports what neither jobs nor services can have.
func (c *checks) unit(u ir.Unit) {
	c.Unit(u, "Google Cloud")
	for _, x := range u.Secrets {
		if placeOf(&u) == onVertex {
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
	if u.Needs.GPU > 0 {
		c.Fault("needs.gpu", "remove needs.gpu, or choose another target", "GPUs of services on Cloud Run are not supported")
	} else {
		c.size(u)
	}
	c.Service(u, "Cloud Run")
}
