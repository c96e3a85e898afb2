package ssh

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/internal/money"
)

// Check returns one fault for each field of the target or the unit that hosts cannot honour.
func (e *Executor) Check(u ir.Unit) []ir.Fault {
	c := checks{faults: e.runner(u).Check(u)}
	for i, f := range c.faults {
		c.faults[i].Hint = strings.Replace(f.Hint, "choose a target that runs containers", "give it an image, choose a target that runs containers", 1)
	}
	c.target(e.opts.Settings)
	c.unit(u)
	hosts := e.candidates(u, nil)
	switch {
	case len(hosts) > 0:
		c.needs(hosts, u.Needs)
	case len(e.opts.Hosts) > 0:
		c.fault("host", "write the address of a host of the target, or remove host to let Tenon choose one", "no host of the target has the address %s", u.Endpoint.Host)
	}
	c.limits(u)
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
	if a := s.Autostop; a != nil && duration.Parse(a.After) == 0 {
		c.fault("autostop.after", `write how long a host may be idle, such as "30m", or remove autostop`, "a host would stop itself at once")
	}
	currency := ""
	for i, h := range s.Hosts {
		if _, of, err := money.ParseRate(h.Price); h.Price != "" && err == nil {
			if currency != "" && of != currency {
				c.fault(fmt.Sprintf("hosts.%d.price", i), "use one currency", "it is in %s, and another host has a price in %s: they cannot be compared", of, currency)
			}
			currency = of
		}
		at := fmt.Sprintf("hosts.%d.", i)
		if h.HostKey != "" {
			if _, _, _, _, err := gossh.ParseAuthorizedKey([]byte(h.HostKey)); err != nil {
				c.fault(at+"host_key", `write the type and the key as "ssh-ed25519 AAAA...", as /etc/ssh/ssh_host_ed25519_key.pub on the host has them`, "it is not a public key")
			}
		}
		if h.StartWithin != "" && duration.Parse(h.StartWithin) == 0 {
			c.fault(at+"start_within", `write how long it may take, such as "5m"`, "no host starts in no time")
		}
		if slices.ContainsFunc(s.Hosts[:i], h.same) {
			c.fault(at+"address", "remove one of them, or give them different folders", "%s is listed twice, and each entry would count its resources", h)
		}
	}
}

func (c *checks) unit(u ir.Unit) {
	// What this machine reads of it has to be brought, which only works for files that never change.
	if u.Keeps != "" && len(u.Ships) == 0 && u.Keeps != u.Code.DuckDB {
		c.fault(u.Keeps, another, "a host may be lost, and with it what the service needs to keep there")
	}
	// It listens at the address of its host, so that other units reach it.
	if u.Endpoint != nil && u.Endpoint.Host == loopback && !asksWho(u) {
		c.faults = append(c.faults, ir.Fault{Field: "host", Note: true,
			Message: "whoever reaches the address of the host of ssh can send requests to it", Hint: "add auth and tls, keep others away with a firewall, or name a host of the target here if that is intended"})
	}
	for _, f := range u.MachineFiles {
		c.fault(f, `take it from a secret, or choose a target with the executor process`, "a host does not have the files of this machine")
	}
}

// loopback is where services listen by default.
const loopback = "127.0.0.1"

// asksWho reports whether a service only answers callers that it knows.
func asksWho(u ir.Unit) bool {
	var params struct{ Auth json.RawMessage }
	return json.Unmarshal(u.Params, &params) == nil && params.Auth != nil
}

// limits says that memory is a matter of trust where nothing limits it.
func (c *checks) limits(u ir.Unit) {
	const field = "needs.memory"
	if contained(u) || u.Needs.Memory == 0 || slices.ContainsFunc(c.faults, func(f ir.Fault) bool { return !f.Note }) {
		return
	}
	c.faults = append(c.faults, ir.Fault{Field: field, Note: true,
		Message: "hosts of ssh reserve it, and let a process use more", Hint: "give the unit an image if that could disturb others: containers have a limit"})
}

func (c *checks) needs(hosts []Host, n ir.Resources) {
	if n.GPUSlice != "" {
		c.fault("needs.gpu", "choose another target, or remove slice from the pool", "hosts lend whole GPUs and no slices")
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
