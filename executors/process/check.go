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
	for _, s := range u.Secrets {
		if s.As == ir.AsFile {
			fault(u.SecretField(s)+".secret.as", "choose a target that runs containers, or leave as out",
				"a local process finds secrets in variables only")
		}
	}
	return fs
}
