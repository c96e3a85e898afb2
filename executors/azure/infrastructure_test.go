package azure

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

const (
	subscription = "00000000-1111-2222-3333-444444444444"
	group        = "/subscriptions/" + subscription + "/resourceGroups/acme-ml"
)

// target is one with the defaults of tenon.#Azure.
func target(more map[string]any) ir.Target {
	all := map[string]any{"subscription": subscription, "resource_group": "acme-ml", "location": "westeurope", "folder": "tenon", "cidr": "10.40.0.0/24", "registry": "Basic", "retention": 30}
	for k, v := range more {
		all[k] = v
	}
	return ir.Target{Name: "prod", Executor: Name, Settings: all}
}

// systems have everything that can be in the files.
func systems() map[string]*ir.System {
	month := 2000*money.One + money.One/2
	everything := &ir.System{
		Name: "flights", Env: "prod", Budget: ir.Budget{Currency: "EUR", Month: &month},
		Target: target(map[string]any{"emails": []string{"ml@acme.example"}, "tags": map[string]any{"team": "growth"}}),
		Units:  append(cloudtest.Everything(), slo("api", "deployments/api", `{"window":"30d","availability":0.999,"latency":{"p99":"50ms"}}`)),
	}
	cloudtest.Change(everything.Units, "deployments/api", func(u *ir.Unit) {
		u.Endpoint.Replicas, u.Endpoint.Scale, u.Release = 1, &ir.Scale{Max: 8, InFlight: 20}, &ir.Release{}
		u.Secrets = []ir.Secret{{Name: "KEYS", Env: "API_KEYS"}}
	})
	cloudtest.Change(everything.Units, "features/late", func(u *ir.Unit) { u.Needs.Memory = 8 << 30 })
	existing := &ir.System{
		Name: "notify", Budget: ir.Budget{Currency: "EUR", Month: &month},
		Target: target(map[string]any{"prefix": "acme--ml", "existing": map[string]any{
			"resource_group": true, "storage": map[string]any{"account": "acmeml", "container": "ml"}, "registry": "acmeImages",
			"subnet":       group + "/providers/Microsoft.Network/virtualNetworks/ml/subnets/closed",
			"action_group": group + "/providers/Microsoft.Insights/actionGroups/ml",
			"secrets":      map[string]any{"TOKEN": group + "/providers/Microsoft.KeyVault/vaults/acme-ml/secrets/token"},
		}}),
		Units: append(cloudtest.Reuser(), slo("api", "deployments/api", `{"window":"7d","availability":0.9}`)),
	}
	cloudtest.Change(existing.Units, "steps/post", func(u *ir.Unit) { u.Secrets, u.Network = u.Secrets[:1], "" })
	learns := &ir.System{Name: "notify", Env: "prod", Target: target(map[string]any{"jobs": map[string]any{"spot": true}}), Units: []ir.Unit{
		job("models/late/train", func(u *ir.Unit) { u.Needs, u.Network = ir.Resources{GPU: 2}, ir.NetworkOpen }),
		job("models/large/train", func(u *ir.Unit) {
			u.Needs, u.Network = ir.Resources{GPU: 8, GPUModel: "H100"}, ir.NetworkOpen
		}),
		online(func(u *ir.Unit) { u.Release = &ir.Release{} }),
	}}
	return map[string]*ir.System{"everything": everything, "existing": existing, "learns": learns, "empty": {Name: "empty", Target: target(nil)}}
}

var writes = cloudtest.Writer{
	Systems: withClusters, Write: Infrastructure, Check: checked, Version: providerVersion,
	Never: []string{`= "Owner"`, `= "Contributor"`, "Blob Data Contributor", "Blob Data Owner", "primary_access_key", "AcrPush"},
}

func write(t testing.TB, sys *ir.System) map[string][]byte { return writes.Files(t, sys) }

func TestFiles(t *testing.T) { writes.Test(t) }

// A misspelled attribute, a missing one and an unknown type are found in the files that are written.
func TestFaultsInFilesAreFound(t *testing.T) {
	cloudtest.Faults(t, func() map[string][]byte { return write(t, systems()["everything"]) },
		cloudtest.Fault{"storage.tf", "shared_access_key_enabled", "shared_access_keys_enabled", "azurerm_storage_account has no attribute shared_access_keys_enabled"},
		cloudtest.Fault{"alerts.tf", "window_duration ", "window ", "azurerm_monitor_scheduled_query_rules_alert_v2 needs window_duration"},
		cloudtest.Fault{"rights.tf", "principal_id ", "principal ", "azurerm_role_assignment needs principal_id"},
		cloudtest.Fault{"rights.tf", `"azurerm_user_assigned_identity"`, `"azurerm_identity"`, "the provider has no azurerm_identity"},
		cloudtest.Fault{"rights.tf", "azurerm_role_definition.read.role", "azurerm_role_definition.reads.role", "azurerm_role_definition.reads.role_definition_resource_id is not declared"},
	)
}

func TestWhatCannotBeWritten(t *testing.T) {
	wide := job("steps/wide", func(u *ir.Unit) {
		for i := range 40 {
			u.Inputs = append(u.Inputs, ir.Input{Port: "in", Unit: "features/x" + strings.Repeat("x", i), From: "out", Kind: ir.Table})
		}
	})
	for want, sys := range map[string]*ir.System{
		"steps/wide reads 41 folders, and a condition of Azure has at most 8192 characters": {Target: target(nil), Units: []ir.Unit{wide}},
		"have the same name in Azure, steps-":                                               {Target: target(nil), Units: []ir.Unit{job("steps/a_b", nil), job("steps/a_b", nil)}},
	} {
		if _, err := Infrastructure(sys); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
