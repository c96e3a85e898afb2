package containerd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local"
)

// Check returns one fault for each field of the unit that containers cannot honour.
func (e *Executor) Check(u ir.Unit) []ir.Fault {
	fs := local.Check(u)
	fault := func(field, hint, format string, args ...any) {
		fs = append(fs, ir.Fault{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	if u.Network == ir.NetworkNone {
		read := slices.IndexFunc(u.Inputs, func(in ir.Input) bool { return in.Kind == ir.EndpointOf })
		switch {
		case u.Endpoint != nil:
			fault("network", "remove network", "a service uses the network of the machine")
		case read >= 0:
			fault("network", "remove network", "it reads the endpoint of %s over the network", u.Inputs[read].Unit)
		}
	}
	if e := u.Endpoint; e != nil && e.Scale != nil && e.Replicas == 0 {
		fault("replicas", "set min to 1, or choose a target with the executor process or kubernetes", "nothing would hold requests while its container has no program")
	}
	if u.Needs.Memory > 0 && u.Needs.Memory < leastMemory {
		fault("needs.memory", "ask for 16MiB or more", "a container needs at least 16 MiB")
	}
	for _, f := range u.MachineFiles {
		fault(f, "take it from a secret with as: \"file\", or choose a target with the executor process", "a container does not have the files of the machine")
	}
	if u.Code.Runtime == ir.Builtin && u.Code.Image != "" {
		fault("image", "remove image", "this component brings its own image")
	}
	for _, s := range u.Secrets {
		if s.As == ir.AsFile && (s.Name == "." || s.Name == ".." || s.Name == variables || strings.Contains(s.Name, "/")) {
			fault(u.SecretField(s)+".secret.as", "choose another name", "%q is not a file name", s.Name)
		}
	}
	return fs
}

// leastMemory is what tenon-run and the runtime need for themselves.
const leastMemory = 16 << 20
