package process

import (
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local"
)

// Check returns one fault per field of the unit that local processes cannot
// honour.
func (e *Executor) Check(u ir.Unit) []ir.Fault {
	fs := local.Check(u)
	fault := func(field, hint, format string, args ...any) {
		fs = append(fs, ir.Fault{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	if u.Needs.PIDs > 0 {
		fault("needs.pids", "choose a target that runs containers, or remove needs.pids",
			"the number of processes is not limited for local processes")
	}
	if u.Code.Image != "" {
		fault("image", "choose a target that runs containers, or remove image", "it does not run containers")
	}
	if e := u.Endpoint; e != nil && e.Scale != nil && e.Replicas == 0 && local.HeldSocket(u) == "" {
		fault("replicas", "set min to 1, or give host an address such as \"127.0.0.1\"", "a host that is a name may have several addresses, and nothing would hold requests at all of them")
	}
	if u.Network == ir.NetworkNone {
		fault("network", "choose a target that runs containers, or remove network",
			"a local process uses the network of the machine")
	}
	for _, s := range u.Secrets {
		if s.As == ir.AsFile {
			fault(u.SecretField(s)+".secret.as", "choose a target that runs containers, or remove as",
				"a local process gets secrets only in variables")
		}
	}
	return fs
}
