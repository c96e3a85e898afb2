package cloudtest

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// Update reports whether the files of testdata are written.
func Update() bool { return *update }

var update = flag.Bool("update", os.Getenv("TENON_UPDATE") != "", "write the files of testdata")

// A Writer writes the infrastructure of systems in one cloud.
type Writer struct {
	// Systems are those of the golden files, by folder of testdata. Each call makes new ones.
	Systems func() map[string]*ir.System
	Write   func(*ir.System) ([]terraform.Document, error)
	Check   func(ir.Target, ir.Unit) []ir.Fault
	Version string // of the provider that the files request
	// Never are texts that no file has: broad rights.
	Never []string
}

// Test compares the files of the systems with golden ones and with the schema, and writes them for units
// in another order.
func (w Writer) Test(t *testing.T) {
	all := map[string]map[string][]byte{}
	for name, sys := range w.Systems() {
		t.Run(name, func(t *testing.T) {
			for _, u := range sys.Units {
				for _, f := range w.Check(sys.Target, u) {
					if !f.Note {
						t.Errorf("%s is refused: %+v", u.ID, f)
					}
				}
			}
			files := w.Files(t, sys)
			Golden(t, filepath.Join("testdata", name), files, *update)
			Lacks(t, files, w.Never...)
			slices.Reverse(sys.Units)
			if diff := cmp.Diff(Texts(files), Texts(w.Files(t, sys))); diff != "" {
				t.Error("the files depend on the order of units:", diff)
			}
			all[name] = files
		})
	}
	Fits(t, all, w.Version)
}

// Files returns what is written for a system, by name.
func (w Writer) Files(t testing.TB, sys *ir.System) map[string][]byte {
	t.Helper()
	docs, err := w.Write(sys)
	return Write(t, docs, err)
}

// Everything returns units of which each has something that the others lack.
func Everything() []ir.Unit {
	return []ir.Unit{
		Job("sources/flights", func(u *ir.Unit) {
			u.Network, u.Secrets = ir.NetworkOpen, []ir.Secret{{Name: "DSN", Env: "FLIGHTS_DSN"}}
		}),
		Job("sources/weather", func(u *ir.Unit) { u.Files = []string{"weather/*.csv"} }),
		Job("features/late", func(u *ir.Unit) {
			u.Needs = ir.Resources{MilliCPU: 3000, Memory: 9 << 30, Disk: 5 << 30}
			u.Timeout = 90 * time.Minute
			u.Inputs = []ir.Input{
				{Port: "f", Unit: "sources/flights", From: "out", Kind: ir.Table}, {Port: "w", Unit: "sources/weather", From: "out", Kind: ir.Table},
				{Port: "airports", Unit: "sources/airports", From: "out", Kind: ir.Table, Checked: true},
			}
		}),
		Job("sources/airports", nil),
		Job("models/late/train", func(u *ir.Unit) {
			u.Needs = ir.Resources{GPU: 1}
			u.Inputs, u.Outputs = []ir.Input{{Port: "train", Unit: "features/late", From: "out", Kind: ir.Table}}, []ir.Output{{Port: "model", Kind: ir.Model}}
		}),
		Service("api", func(u *ir.Unit) { u.Needs = ir.Resources{Memory: 3 << 30} }),
		Job("steps/Report.2", func(u *ir.Unit) {
			u.Secrets = []ir.Secret{{Name: "TOKEN", Env: "REPORT_TOKEN"}}
			u.Inputs = []ir.Input{{Port: "late", Unit: "features/late", From: "out", Kind: ir.Table}, {Port: "api", Unit: "deployments/api", From: "endpoint", Kind: ir.EndpointOf}}
		}),
	}
}

// Reuser returns units of a system whose target names existing resources.
func Reuser() []ir.Unit {
	return []ir.Unit{
		Job("steps/post", func(u *ir.Unit) {
			u.Network, u.Secrets = ir.NetworkOpen, []ir.Secret{{Name: "TOKEN", Env: "TOKEN"}, {Name: "KEY", Env: "KEY"}}
		}),
		Job("steps/count", nil),
		Service("api", nil),
	}
}

// Change changes one of units.
func Change(units []ir.Unit, id string, change func(*ir.Unit)) {
	for i := range units {
		if units[i].ID == id {
			change(&units[i])
		}
	}
}
