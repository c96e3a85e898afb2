package ssh

import (
	"fmt"
	"slices"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// Check returns one fault for each field of the target or the unit that hosts cannot honour.
func (e *Executor) Check(u ir.Unit) []ir.Fault {
	c := checks{faults: e.local.Check(u)}
	c.target(e.opts.Settings)
	c.unit(u)
	if len(e.opts.Hosts) > 0 {
		c.needs(e.opts.Hosts, u.Needs)
	}
	return c.faults
}

var _ executors.Checker = (*Executor)(nil)

type checks struct {
	faults []ir.Fault
	of     bool // the fault is in the target
}

// fault adds a fault, unless its field has one.
func (c *checks) fault(field, hint, format string, args ...any) {
	if slices.ContainsFunc(c.faults, func(f ir.Fault) bool { return f.Field == field && f.Target == c.of }) {
		return
	}
	c.faults = append(c.faults, ir.Fault{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint, Target: c.of})
}

// another is the way out for what only other executors can do.
const another = "choose a target with the executor process, containerd or kubernetes"

func (c *checks) target(s Settings) {
	c.of = true
	defer func() { c.of = false }()
	if len(s.Hosts) == 0 {
		c.fault("hosts", `list one: hosts: [{address: "10.0.0.1", user: "ml"}]`, "there is no host to run anything on")
	}
	for i, h := range s.Hosts {
		at := fmt.Sprintf("hosts.%d.", i)
		if h.HostKey != "" {
			if _, _, _, _, err := gossh.ParseAuthorizedKey([]byte(h.HostKey)); err != nil {
				c.fault(at+"host_key", `write the type and the key as "ssh-ed25519 AAAA...", as /etc/ssh/ssh_host_ed25519_key.pub on the host has them`, "it is not a public key")
			}
		}
		if slices.ContainsFunc(s.Hosts[:i], h.same) {
			c.fault(at+"address", "remove one of them, or give them different folders", "%s is listed twice, and each entry would count its resources", h)
		}
	}
}

func (c *checks) unit(u ir.Unit) {
	if u.Kind == ir.Service && !slices.ContainsFunc(c.faults, func(f ir.Fault) bool { return !f.Target }) {
		c.fault("component", another, "it is a service, and hosts of tenon.#SSH run jobs only")
	}
	for _, in := range u.Inputs {
		if in.Kind == ir.EndpointOf {
			c.fault("in."+in.Port, another, "it calls the service %s, whose address is that of another machine", strings.Replace(in.Unit, "/", ".", 1))
		}
	}
	for _, f := range u.MachineFiles {
		c.fault(f, `take it from a secret, or choose a target with the executor process`, "a host does not have the files of this machine")
	}
	if u.Keeps != "" {
		c.fault(u.Keeps, another, "a host keeps no files for later versions")
	}
}

func (c *checks) needs(hosts []Host, n ir.Resources) {
	if n.GPU > 0 {
		c.fault("needs.gpu", "choose another target, or remove needs.gpu", "GPUs of hosts are neither found nor lent")
	}
	// What is not declared is asked for when the job starts.
	var cpu, memory int64
	for _, h := range hosts {
		of := h.capacity()
		if of.MilliCPU == 0 || of.Memory == 0 {
			return
		}
		if of.MilliCPU >= n.MilliCPU && of.Memory >= n.Memory {
			return
		}
		cpu, memory = max(cpu, of.MilliCPU), max(memory, of.Memory)
	}
	switch {
	case n.MilliCPU > cpu:
		c.fault("needs.cpu", "add a larger host, or ask for less", "it needs %s cores, and the largest host has %s", ir.FormatCores(n.MilliCPU), ir.FormatCores(cpu))
	case n.Memory > memory:
		c.fault("needs.memory", "add a larger host, or ask for less", "it needs %s, and the largest host has %s", ir.FormatSize(n.Memory), ir.FormatSize(memory))
	default:
		c.fault("needs", "add a larger host, or ask for less", "no host has %s cores and %s of memory", ir.FormatCores(n.MilliCPU), ir.FormatSize(n.Memory))
	}
}
