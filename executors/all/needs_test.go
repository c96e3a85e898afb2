package all_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/internal/money"
)

// clouds are targets with infrastructure, by the definition that declares them.
func clouds() map[string]ir.Target {
	inCluster := func(service string, more map[string]any) ir.Target {
		more["cluster"], more["folder"], more["namespace"], more["access"], more["version"], more["channel"] = service, "tenon", "ml", []string{"192.0.2.0/24"}, "1.34", "REGULAR"
		return ir.Target{Name: service, Executor: "kubernetes", Settings: more}
	}
	in := func(executor string, settings map[string]any) ir.Target {
		settings["folder"], settings["retention"], settings["emails"] = "tenon", 30, []string{"ml@acme.example"}
		return ir.Target{Name: executor, Executor: executor, Settings: settings}
	}
	azure := func() map[string]any {
		return map[string]any{"subscription": "00000000-1111-2222-3333-444444444444", "resource_group": "acme-ml", "location": "westeurope", "registry": "Basic", "cidr": "10.40.0.0/24"}
	}
	google := func(cidr string) map[string]any {
		return map[string]any{"project": "acme-ml-1", "region": "europe-west3", "billing_account": "01ABCD-23EF45-678901", "cidr": cidr}
	}
	amazon := func() map[string]any {
		return map[string]any{"region": "eu-central-1", "account": "123456789012", "cidr": "10.40.0.0/16", "retention": 30}
	}
	aws := amazon()
	aws["jobs"], aws["architecture"] = map[string]any{"on": "batch", "cpu": 64, "wait": "1h"}, "x86_64"
	learns := azure()
	learns["jobs"] = map[string]any{"on": "ml"}
	return map[string]ir.Target{
		"tenon.#AWS": in("aws", aws), "tenon.#GCP": in("gcp", google("10.40.0.0/24")), "tenon.#Azure": in("azure", learns),
		"tenon.#EKS": inCluster("eks", amazon()), "tenon.#GKE": inCluster("gke", google("10.40.0.0/20")), "tenon.#AKS": inCluster("aks", azure()),
	}
}

var written = regexp.MustCompile("(?m)^resource \"([a-z0-9_]+)\"")

// The page about what targets make names types of resources that the files of such a target have.
func TestThePageOfInfrastructure(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "infrastructure.md"))
	if err != nil {
		t.Fatal(err)
	}
	var table [][]string
	for line := range strings.Lines(string(page)) {
		if cells, ok := strings.CutPrefix(line, "| "); ok {
			table = append(table, strings.Split(cells, "|"))
		}
	}
	month := 2000 * money.One
	named := regexp.MustCompile("`((aws|google|azurerm)_[a-z0-9_]+)`")
	for column, of := range table[0] {
		target, ok := clouds()[strings.Trim(of, " `\n")]
		if !ok {
			continue
		}
		units := append(cloudtest.Everything(), cloudtest.SLO("api", "deployments/api", `{"window":"30d","availability":0.999,"latency":{"p99":"50ms"}}`))
		systems := []*ir.System{{Name: "flights", Env: "prod", Target: target, Units: units, Budget: ir.Budget{Currency: "USD", Month: &month}}}
		if target.Executor == "aws" {
			target.Settings = maps.Clone(target.Settings)
			target.Settings["controller"] = map[string]any{"every": "15m"}
			systems = append(systems, &ir.System{Name: "flights", Env: "prod", Target: target, Units: []ir.Unit{cloudtest.Job("steps/count", nil)}})
		}
		makes, found := map[string]bool{}, 0
		for _, sys := range systems {
			docs, _, err := all.Infrastructure(sys)
			if err != nil {
				t.Errorf("%s: %v", of, err)
			}
			for _, d := range docs {
				for _, m := range written.FindAllStringSubmatch(string(d.Content), -1) {
					makes[m[1]] = true
				}
			}
		}
		for _, row := range table[1:] {
			for _, m := range named.FindAllStringSubmatch(row[column], -1) {
				if found++; !makes[m[1]] {
					t.Errorf("%s makes no %s for %s", of, m[1], row[0])
				}
			}
		}
		if found < 8 {
			t.Errorf("the page names %d types of %s", found, of)
		}
	}
}
