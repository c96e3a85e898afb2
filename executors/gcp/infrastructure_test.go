package gcp

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/internal/money"
)

var (
	job     = cloudtest.Job
	service = cloudtest.Service
	slo     = cloudtest.SLO
)

// settings are those of a target with the defaults of tenon.#GCP.
func settings(more map[string]any) map[string]any {
	all := map[string]any{"project": "acme-ml-1", "region": "europe-west3", "folder": "tenon", "cidr": "10.40.0.0/24", "retention": 30}
	for k, v := range more {
		all[k] = v
	}
	return all
}

// systems have everything that can be in the files.
func systems() map[string]*ir.System {
	month := 2000*money.One + money.One/2
	everything := &ir.System{
		Name: "flights", Env: "prod", Budget: ir.Budget{Currency: "EUR", Month: &month},
		Target: ir.Target{Name: "prod", Executor: Name, Settings: settings(map[string]any{
			"emails": []string{"ml@acme.example"}, "labels": map[string]any{"team": "growth"}, "billing_account": "01ABCD-23EF45-678901",
		})},
		Units: []ir.Unit{
			job("sources/flights", func(u *ir.Unit) {
				u.Network, u.Secrets = ir.NetworkOpen, []ir.Secret{{Name: "DSN", Env: "FLIGHTS_DSN"}}
			}),
			job("sources/weather", func(u *ir.Unit) { u.Files = []string{"weather/*.csv"} }),
			job("features/late", func(u *ir.Unit) {
				u.Needs = ir.Resources{MilliCPU: 3000, Memory: 9 << 30, Disk: 5 << 30}
				u.Timeout = 90 * time.Minute
				u.Inputs = []ir.Input{
					{Port: "f", Unit: "sources/flights", From: "out", Kind: ir.Table}, {Port: "w", Unit: "sources/weather", From: "out", Kind: ir.Table},
					{Port: "airports", Unit: "sources/airports", From: "out", Kind: ir.Table, Checked: true},
				}
			}),
			job("sources/airports", nil),
			job("models/late/train", func(u *ir.Unit) {
				u.Needs = ir.Resources{GPU: 1}
				u.Inputs, u.Outputs = []ir.Input{{Port: "train", Unit: "features/late", From: "out", Kind: ir.Table}}, []ir.Output{{Port: "model", Kind: ir.Model}}
			}),
			service("api", func(u *ir.Unit) {
				u.Needs = ir.Resources{Memory: 3 << 30}
				u.Endpoint.Replicas, u.Endpoint.Scale = 0, &ir.Scale{Max: 8, InFlight: 20}
			}),
			job("steps/Report.2", func(u *ir.Unit) {
				u.Secrets = []ir.Secret{{Name: "TOKEN", Env: "REPORT_TOKEN"}}
				u.Inputs = []ir.Input{{Port: "late", Unit: "features/late", From: "out", Kind: ir.Table}, {Port: "api", Unit: "deployments/api", From: "endpoint", Kind: ir.EndpointOf}}
			}),
			slo("api", "deployments/api", `{"window":"30d","availability":0.999,"latency":{"p99":"50ms","p99.9":"1s"}}`),
		},
	}
	existing := &ir.System{
		Name: "notify",
		Target: ir.Target{Name: "prod", Executor: Name, Settings: settings(map[string]any{"prefix": "acme-ml", "existing": map[string]any{
			"bucket": "acme-ml", "repository": "ml-images", "channels": []string{"projects/acme-ml-1/notificationChannels/1"},
			"network": map[string]any{"network": "ml", "subnetwork": "ml-closed"},
			"secrets": map[string]any{"TOKEN": "projects/acme-ml-1/secrets/token"},
		}})},
		Units: []ir.Unit{
			job("steps/post", func(u *ir.Unit) {
				u.Network, u.Secrets = ir.NetworkOpen, []ir.Secret{{Name: "TOKEN", Env: "TOKEN"}, {Name: "KEY", Env: "KEY"}}
			}),
			job("steps/count", nil),
			service("api", nil), slo("api", "deployments/api", `{"window":"7d","availability":0.9}`),
		},
	}
	return map[string]*ir.System{"everything": everything, "existing": existing, "empty": {Name: "empty", Target: ir.Target{Executor: Name, Settings: settings(nil)}}}
}

func write(t testing.TB, sys *ir.System) map[string][]byte {
	t.Helper()
	docs, err := Infrastructure(sys)
	return cloudtest.Write(t, docs, err)
}

var update = flag.Bool("update", os.Getenv("TENON_UPDATE") != "", "write the files of testdata")

func TestFiles(t *testing.T) {
	for name, sys := range systems() {
		t.Run(name, func(t *testing.T) {
			for _, u := range sys.Units {
				for _, f := range Check(sys.Target, u) {
					if !f.Note {
						t.Errorf("%s is refused: %+v", u.ID, f)
					}
				}
			}
			files := write(t, sys)
			for name, text := range files {
				for _, broad := range []string{"roles/editor", "roles/owner", "roles/viewer", "allUsers", "allAuthenticatedUsers"} {
					if strings.Contains(string(text), broad) {
						t.Errorf("%s grants %s", name, broad)
					}
				}
			}
			cloudtest.Golden(t, filepath.Join("testdata", name), files, *update)
		})
	}
}

// The files are the same, whatever the order of units is.
func TestFilesAreDeterministic(t *testing.T) {
	sys := systems()["everything"]
	want := cloudtest.Texts(write(t, sys))
	slices.Reverse(sys.Units)
	if diff := cmp.Diff(want, cloudtest.Texts(write(t, sys))); diff != "" {
		t.Error(diff)
	}
}

// What is written exists in the current provider, which is the one that the files request.
func TestFilesFitTheSchemaOfTheProvider(t *testing.T) {
	all := map[string]map[string][]byte{}
	for name, sys := range systems() {
		all[name] = write(t, sys)
	}
	cloudtest.Fits(t, all, providerVersion)
}

// A misspelled attribute, a missing one and an unknown type are found in the files that are written.
func TestFaultsInFilesAreFound(t *testing.T) {
	cloudtest.Faults(t, func() map[string][]byte { return write(t, systems()["everything"]) },
		cloudtest.Fault{"storage.tf", "public_access_prevention", "public_access_protection", "google_storage_bucket has no attribute public_access_protection"},
		cloudtest.Fault{"rights.tf", "permissions ", "permission ", "google_project_iam_custom_role needs permissions"},
		cloudtest.Fault{"rights.tf", `"google_service_account"`, `"google_service_accounts"`, "the provider has no google_service_accounts"},
		cloudtest.Fault{"rights.tf", "google_project_iam_custom_role.read.id", "google_project_iam_custom_role.reads.id", "google_project_iam_custom_role.reads.id is not declared"},
	)
}

func TestWhatCannotBeWritten(t *testing.T) {
	month := 10 * money.One
	target := ir.Target{Executor: Name, Settings: settings(nil)}
	wide := job("steps/wide", func(u *ir.Unit) {
		for i := range 121 {
			u.Inputs = append(u.Inputs, ir.Input{Port: "in", Unit: "features/x" + strings.Repeat("x", i), From: "out", Kind: ir.Table})
		}
	})
	for want, sys := range map[string]*ir.System{
		"budget.month needs a billing account":           {Target: target, Budget: ir.Budget{Currency: "EUR", Month: &month}},
		"steps/wide reads 122 ports, and IAM allows 120": {Target: target, Units: []ir.Unit{wide}},
		"have the same name in Google Cloud, steps-":     {Target: target, Units: []ir.Unit{job("steps/a_b", nil), job("steps/a_b", nil)}},
	} {
		if _, err := Infrastructure(sys); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
