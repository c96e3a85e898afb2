package containerd

import (
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Check returns one fault per field of the unit that containers cannot honour.
func (e *Executor) Check(u ir.Unit) []executors.Fault {
	var fs []executors.Fault
	fault := func(field, hint, format string, args ...any) {
		fs = append(fs, executors.Fault{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	if u.Kind == ir.Service {
		if u.Endpoint == nil || u.Endpoint.Port < 1 || u.Endpoint.Port > 65535 {
			fault("port", "name a free port of this machine", "a service needs a port from 1 to 65535")
		}
		if u.Needs.Disk > 0 {
			fault("needs.disk", "leave needs.disk out",
				"it measures the disk of jobs only: nothing watches a service for as long as it stands")
		}
		if u.Network == ir.NetworkNone {
			fault("network", "leave network out", "a service listens on the network of the machine")
		}
	}
	for _, in := range u.Inputs {
		if in.Kind == ir.EndpointOf && u.Network == ir.NetworkNone {
			fault("network", "leave network out", "it reads the endpoint of %s, which it reaches by the network", in.Unit)
		}
	}
	if u.Needs.Memory > 0 && u.Needs.Memory < leastMemory {
		fault("needs.memory", "ask for 16MiB or more", "no container starts with less than 16 MiB")
	}
	switch u.Code.Runtime {
	case ir.Builtin:
		if u.Code.Image != "" {
			fault("image", "leave image out", "this component brings its own image")
		}
	case ir.Python, ir.Command:
		if len(u.Code.Command) == 0 {
			fault("code.command", "", "there is nothing to run")
		}
		if u.Code.Runtime == ir.Python && u.Code.Lock == "" {
			fault("packages", "", "a Python unit needs a locked environment")
		}
	default:
		fault("code.runtime", "", "it cannot run %q", u.Code.Runtime)
	}
	for _, s := range u.Secrets {
		if s.Name == step.Env {
			fault("secrets", "choose another name", "%s is the contract's own variable", step.Env)
		}
		if s.As == ir.AsFile && strings.ContainsAny(s.Name, "/\x00") {
			fault("secrets", "choose another name", "%q is no name of a file", s.Name)
		}
	}
	return fs
}

// leastMemory is what the first process and the runtime need themselves.
const leastMemory = 16 << 20
