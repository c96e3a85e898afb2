package local_test

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
)

// What an image does not have keeps a version from running beside another one, and the message names
// the version: the fields are not those of the new one.
func TestVersionsThatCannotShareAContainer(t *testing.T) {
	own := ir.Code{Lock: "sha256:a", Python: "3.11", Runtime: ir.Plane}
	for _, c := range []struct {
		other         ir.Code
		inOne, inMany string // what is said if the image has one environment, or those of all versions
	}{
		{ir.Code{Lock: "sha256:a", Python: "3.11", Runtime: ir.PlaneDuckDB}, "", ""},
		{ir.Code{Lock: "sha256:b", Python: "3.11"}, "late v3, which has another Python environment", ""},
		{ir.Code{Lock: "sha256:a", Python: "3.12"}, "late v3, which has another version of Python", "late v3, which has another version of Python"},
		{ir.Code{Lock: "sha256:a", Python: "3.11", Environments: []string{"sha256:x"}}, "late v3, which has features in Python", ""},
		{ir.Code{}, "late v3, which has another Python environment", ""},
	} {
		task := executors.Task{Unit: ir.Unit{Code: own}, Beside: map[string]executors.Task{"late v3": {Unit: ir.Unit{Code: c.other}}}}
		for further, want := range map[bool]string{false: c.inOne, true: c.inMany} {
			if err := local.Apart(task, further); (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("beside %+v: %v, want %q", c.other, err, want)
			}
		}
	}
}
