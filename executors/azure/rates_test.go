package azure

import (
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
)

func TestPricesOfServices(t *testing.T) {
	two := func(u *ir.Unit) { u.Needs = ir.Resources{MilliCPU: 2000, Memory: 4 << 30} }
	for _, c := range []struct {
		name, location                  string
		change                          func(*ir.Unit)
		million, longer, idle, instance string
	}{
		{"a service that may have no replica", "eastus", func(u *ir.Unit) {
			two(u)
			u.Endpoint.Replicas, u.Endpoint.Scale = 0, &ir.Scale{Max: 3, InFlight: 10}
		}, "0.40 USD", "6.00 USD", "0.00 USD", "0.00 USD"},
		{"one that always has two", "eastus", func(u *ir.Unit) { two(u); u.Endpoint.Replicas = 2 }, "0.40 USD", "6.00 USD", "94.61 USD", "0.00 USD"},
		{"one with releases", "centralus", func(u *ir.Unit) { two(u); u.Release = &ir.Release{} }, "0.40 USD", "0.00 USD", "157.68 USD", "0.22 USD"},
		{"a location whose prices are not known", "westeurope", two, "", "", "", ""},
		{"a GPU", "eastus", func(u *ir.Unit) { u.Needs.GPU = 1 }, "", "", "", ""},
	} {
		e := New(Options{Settings: Settings{Subscription: subscription, Group: "acme-ml", Location: c.location}, Options: cloud.Options{System: "s"}})
		x, known := e.PerRequest(service("api", c.change))
		if !known && c.million == "" {
			continue
		}
		got := [4]string{x.Million.Format("USD"), x.Longer.Format("USD"), x.Idle.Format("USD"), x.Instance.Format("USD")}
		if want := [4]string{c.million, c.longer, c.idle, c.instance}; got != want || !known {
			t.Errorf("%s: got %v, want %v", c.name, got, want)
		}
	}
}

// What cannot be made becomes an error that says what to change.
func TestFaultsOfApps(t *testing.T) {
	for said, want := range map[string]string{
		`Failed to provision revision. Error details: Field 'template.containers.unit.image' is invalid with details: 'UNAUTHORIZED: authentication required'`: "its identity may not pull its image",
		`MANIFEST_UNKNOWN: manifest unknown`:                                      "its image is not in the registry",
		`Failed to fetch secret value from Key Vault`:                             "its identity may not read its secrets",
		`Maximum Allowed Cores exceeded for the Managed Environment: quota`:       quota,
		`The environment has no workload profile gpu-t4. WorkloadProfileNotFound`: "its environment lacks the workload profile",
		`something else`: "make x on Azure: ContainerAppOperationError: something else",
	} {
		err := explainApp("make x", &refusal{status: 400, code: "ContainerAppOperationError", message: said})
		if got := err.Error(); len(got) < len(want) || got[:len(want)] != want {
			t.Errorf("%s: got %q, want %q", said, got, want)
		}
	}
}
