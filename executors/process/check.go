package process

import (
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Check returns one fault per field of the unit that local processes cannot
// honour.
func (e *Executor) Check(u ir.Unit) []executors.Fault {
	var fs []executors.Fault
	fault := func(field, hint, format string, args ...any) {
		fs = append(fs, executors.Fault{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	if u.Needs.GPU > 0 {
		fault("needs.gpu", "choose a target with another executor, or leave needs.gpu out",
			"the process executor hands out no GPUs; this asks for %d", u.Needs.GPU)
	}
	if u.Needs.PIDs > 0 {
		fault("needs.pids", "choose a target that runs containers, or leave needs.pids out",
			"nothing counts the processes of a local process")
	}
	if u.Code.Image != "" {
		fault("image", "choose a target that runs containers, or remove image", "it runs no containers")
	}
	if u.Network == ir.NetworkNone {
		fault("network", "choose a target that runs containers, or leave network out",
			"a local process reaches what the machine reaches")
	}
	if u.Kind == ir.Service && u.Needs.Disk > 0 {
		fault("needs.disk", "leave needs.disk out, or choose a target with another executor",
			"the process executor measures the disk of jobs only: nothing watches a service for as long as it stands")
	}
	if u.Kind == ir.Service && (u.Endpoint == nil || u.Endpoint.Port < 1 || u.Endpoint.Port > 65535) {
		fault("port", "name a free port of this machine", "a service needs a port from 1 to 65535")
	}
	switch u.Code.Runtime {
	case ir.Builtin:
	case ir.Python, ir.Command:
		if len(u.Code.Command) == 0 {
			fault("code.command", "", "there is nothing to run")
		}
		if u.Code.Runtime == ir.Python && u.Code.Lock == "" {
			fault("packages", "", "a Python unit needs a locked environment")
		}
	default:
		fault("code.runtime", "", "the process executor cannot run %q", u.Code.Runtime)
	}
	for _, s := range u.Secrets {
		if s.Name == step.Env {
			fault("secrets", "choose another name", "%s is the contract's own variable", step.Env)
		}
		if s.As == ir.AsFile {
			fault("secrets."+s.Name+".secret.as", "choose a target that runs containers, or leave as out",
				"a local process finds secrets in variables only")
		}
	}
	return fs
}
