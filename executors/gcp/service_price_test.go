package gcp

import (
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
)

func TestPricesOfServices(t *testing.T) {
	two := func(u *ir.Unit) {
		u.Needs = ir.Resources{MilliCPU: 2000, Memory: 4 << 30}
	}
	for _, c := range []struct {
		name, region                    string
		change                          func(*ir.Unit)
		million, longer, idle, instance string
	}{
		{"a service that may have no instance", "europe-west1", func(u *ir.Unit) {
			two(u)
			u.Endpoint.Replicas, u.Endpoint.Scale = 0, &ir.Scale{Max: 3, InFlight: 10}
		}, "0.40 USD", "5.80 USD", "0.00 USD", "0.00 USD"},
		{"one that always has two", "europe-west1", func(u *ir.Unit) { two(u); u.Endpoint.Replicas = 2 }, "0.40 USD", "5.80 USD", "78.84 USD", "0.00 USD"},
		{"one with releases", "us-central1", func(u *ir.Unit) { two(u); u.Release = &ir.Release{} }, "0.00 USD", "0.00 USD", "115.63 USD", "0.16 USD"},
		{"one with a GPU", "us-central1", func(u *ir.Unit) { two(u); u.Needs.GPU = 1 }, "0.00 USD", "0.00 USD", "763.96 USD", "1.05 USD"},
		{"one with a GPU whose price is not known", "us-central1", func(u *ir.Unit) { u.Needs.GPU, u.Needs.GPUMemory = 1, 96<<30 }, "", "", "", ""},
		{"a region whose prices are not known", "europe-west3", two, "", "", "", ""},
	} {
		e := New(Options{Settings: Settings{Project: "acme-ml-1", Region: c.region}, Options: cloud.Options{System: "s"}})
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
