package cloud

import (
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// Checks are the faults of a unit on a target.
type Checks struct{ Faults []ir.Fault }

// Fault adds a fault, unless its field has one.
func (c *Checks) Fault(field, hint, format string, args ...any) {
	if slices.ContainsFunc(c.Faults, func(f ir.Fault) bool { return f.Field == field && !f.Target }) {
		return
	}
	c.Faults = append(c.Faults, ir.Fault{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// Unit reports what no unit can have in a cloud, which the messages call where: "AWS".
func (c *Checks) Unit(u ir.Unit, where string) {
	if u.Needs.PIDs > 0 {
		c.Fault("needs.pids", "remove needs.pids", "%s does not limit the number of processes", where)
	}
	if u.Needs.Nodes > 1 {
		c.Fault("needs.nodes", "choose a cluster, or one node", "a job has one machine")
	}
	if u.Needs.GPUSlice != "" {
		c.Fault("needs.gpu.slice", "remove slice", "instances have whole GPUs")
	}
	if u.Kubernetes != nil {
		c.Fault("kubernetes", "remove kubernetes", "it has no pods")
	}
	for _, f := range u.MachineFiles {
		c.Fault(f, "take it from a secret, or choose a target with the executor process", "a container does not have the files of the machine")
	}
	for _, in := range u.Inputs {
		if !portName.MatchString(in.From) {
			c.Fault("in", "choose another name", "the port %q cannot be part of a policy", in.From)
		}
	}
	for _, out := range u.Outputs {
		if !portName.MatchString(out.Port) {
			c.Fault("outputs", "choose another name", "the port %q cannot be part of a policy", out.Port)
		}
	}
}

// portName is what has no meaning in a policy. A star, a dollar or a quote would.
var portName = lazyregexp.New(`^[a-zA-Z0-9_.-]+$`)

// Secret reports a secret that is not in a variable of the machine, or that is to be a file.
func (c *Checks) Secret(u ir.Unit, x ir.Secret, where string) {
	field := u.SecretField(x)
	switch {
	case x.Kubernetes != nil:
		c.Fault(field+".secret.kubernetes", "take it from a variable: secret: env: \"NAME\"", "a job in %s has no Secrets of a cluster", where)
	case x.Env == "":
		c.Fault(field, "take it from a variable: secret: env: \"NAME\"; the target says with existing: secrets: NAME where it is", "a job in %s does not have the files of this machine", where)
	case x.As == ir.AsFile:
		c.Fault(field+".secret.as", "remove as", "a job in %s gets secrets only in variables", where)
	}
}

// Objectives reports objectives of a record that no alarm watches, because the monitoring, such as
// "CloudWatch", has no metric of them.
func (c *Checks) Objectives(u ir.Unit, monitoring string) {
	o, ok := ObjectivesOf(&u)
	if !ok {
		return
	}
	for _, x := range []struct {
		field string
		said  bool
	}{{"freshness", o.Freshness != ""}, {"quality", len(o.Quality) > 0}, {"parity", o.Parity != ""}} {
		if x.said {
			c.Faults = append(c.Faults, ir.Fault{Field: x.field, Note: true, Message: monitoring + " has no metric of it, so there is no alarm", Hint: "watch it with the Prometheus rules"})
		}
	}
}

// Unwatched reports objectives on the requests of an endpoint of a service, such as "Vertex AI", for which Tenon writes no
// alert. Hosts reports whether a unit is one.
func (c *Checks) Unwatched(u ir.Unit, service string, hosts func(unit string) bool) {
	o, ok := ObjectivesOf(&u)
	if !ok || !slices.ContainsFunc(u.Inputs, func(in ir.Input) bool { return in.Kind == ir.EndpointOf && hosts(in.Unit) }) {
		return
	}
	for _, x := range []struct {
		field string
		said  bool
	}{{"availability", o.Availability != ""}, {"latency", len(o.Latency) > 0}} {
		if x.said {
			c.Faults = append(c.Faults, ir.Fault{Field: x.field, Note: true, Message: "alerts on metrics of " + service + " are not supported, so there is no alert", Hint: "watch it with the Prometheus rules"})
		}
	}
}
