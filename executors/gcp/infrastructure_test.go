package gcp

import (
	"strings"
	"testing"

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
		Units: append(cloudtest.Everything(), slo("api", "deployments/api", `{"window":"30d","availability":0.999,"latency":{"p99":"50ms","p99.9":"1s"}}`)),
	}
	cloudtest.Change(everything.Units, "deployments/api", func(u *ir.Unit) {
		u.Endpoint.Replicas, u.Endpoint.Scale = 0, &ir.Scale{Max: 8, InFlight: 20}
	})
	existing := &ir.System{
		Name: "notify",
		Target: ir.Target{Name: "prod", Executor: Name, Settings: settings(map[string]any{"prefix": "acme-ml", "existing": map[string]any{
			"bucket": "acme-ml", "repository": "ml-images", "channels": []string{"projects/acme-ml-1/notificationChannels/1"},
			"network": map[string]any{"network": "ml", "subnetwork": "ml-closed"},
			"secrets": map[string]any{"TOKEN": "projects/acme-ml-1/secrets/token"},
		}})},
		Units: append(cloudtest.Reuser(), slo("api", "deployments/api", `{"window":"7d","availability":0.9}`)),
	}
	hosts := &ir.System{Name: "hosts", Target: ir.Target{Name: "prod", Executor: Name, Settings: settings(onVertexAI(""))}, Units: []ir.Unit{
		hosted(func(u *ir.Unit) { u.Inputs, u.Release = nil, &ir.Release{Steps: []int{10}} }), slo("api", "deployments/api", `{"window":"7d","availability":0.9}`),
	}}
	return map[string]*ir.System{"hosts": hosts, "everything": everything, "existing": existing, "empty": {Name: "empty", Target: ir.Target{Executor: Name, Settings: settings(nil)}}}
}

var writes = cloudtest.Writer{
	Systems: withClusters, Write: Infrastructure, Check: checked, Version: providerVersion,
	Never: []string{"roles/editor", "roles/owner", "roles/viewer", "allUsers", "allAuthenticatedUsers"},
}

func write(t testing.TB, sys *ir.System) map[string][]byte { return writes.Files(t, sys) }

func TestFiles(t *testing.T) { writes.Test(t) }

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
