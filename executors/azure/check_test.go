package azure

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/planner/state"
)

// online is a deployment with more GPUs than a container of Container Apps has.
func online(change func(*ir.Unit)) ir.Unit {
	return service("api", func(u *ir.Unit) {
		u.Code.Runtime, u.Code.Lock, u.Needs.GPU, u.Params = ir.Plane, "sha256:0a", 2, []byte(`{}`)
		if change != nil {
			change(u)
		}
	})
}

var onApps = map[string]any{"endpoints": map[string]any{"api": map[string]any{"on": "apps"}}}

func TestWhatAzureCannotHonourIsRefused(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings map[string]any
		unit     ir.Unit
		want     []string // fields
	}{
		{"a job", nil, job("steps/a", nil), nil},
		{"a job of the largest size", nil, job("steps/a", func(u *ir.Unit) {
			u.Needs, u.Timeout = ir.Resources{MilliCPU: 4000, Memory: 8 << 30, Disk: 8 << 30}, 168*time.Hour
		}), nil},
		{"too many cores", nil, job("steps/a", func(u *ir.Unit) { u.Needs.MilliCPU = 4001 }), []string{"needs"}},
		{"too much memory", nil, job("steps/a", func(u *ir.Unit) { u.Needs.Memory = 8<<30 + 1 }), []string{"needs"}},
		{"too many files", nil, job("steps/a", func(u *ir.Unit) { u.Needs.Disk = 8<<30 + 1 }), []string{"needs"}},
		{"too long", nil, job("steps/a", func(u *ir.Unit) { u.Timeout = 169 * time.Hour }), []string{"timeout"}},
		{"the largest GPU", nil, job("models/a", func(u *ir.Unit) {
			u.Needs = ir.Resources{GPU: 1, GPUModel: "A100", GPUMemory: 80 << 30, Memory: 220 << 30, MilliCPU: 24_000, Disk: 8 << 30}
		}), nil},
		{"GPUs on Azure Machine Learning", nil, job("models/a", func(u *ir.Unit) { u.Needs, u.Network = ir.Resources{GPU: 8}, ir.NetworkOpen }), nil},
		{"GPUs without the network", nil, job("models/a", func(u *ir.Unit) { u.Needs = ir.Resources{GPU: 8} }), []string{"network"}},
		{"GPUs on Container Apps", map[string]any{"jobs": map[string]any{"on": "apps"}}, job("models/a", func(u *ir.Unit) { u.Needs = ir.Resources{GPU: 8} }), []string{"needs"}},
		{"a large disk with a GPU on Container Apps", map[string]any{"jobs": map[string]any{"on": "apps"}}, job("models/a", func(u *ir.Unit) { u.Needs = ir.Resources{GPU: 1, Disk: 9 << 30} }), []string{"needs"}},
		{"spot on Container Apps", map[string]any{"jobs": map[string]any{"on": "apps", "spot": true}}, job("models/a", nil), []string{"jobs.spot"}},
		{"a GPU that there is not", nil, job("models/a", func(u *ir.Unit) { u.Needs, u.Network = ir.Resources{GPU: 1, GPUModel: "V100"}, ir.NetworkOpen }), []string{"needs"}},
		{"what Azure Machine Learning does not have", nil, job("models/a", func(u *ir.Unit) {
			u.Needs, u.Network, u.Timeout, u.Secrets = ir.Resources{GPU: 2, Nodes: 2}, ir.NetworkOpen, 169*time.Hour, []ir.Secret{{Name: "A", Env: "A"}}
		}), []string{"needs.nodes", "secrets.A", "timeout"}},
		{"many cores on Azure Machine Learning", map[string]any{"jobs": map[string]any{"on": "ml"}}, job("steps/a", func(u *ir.Unit) { u.Needs.MilliCPU, u.Network = 16_000, ir.NetworkOpen }), nil},
		{"a worker with several GPUs", nil, service("api", func(u *ir.Unit) { u.Endpoint, u.Needs.GPU = nil, 2 }), []string{"command", "needs"}},
		{"an endpoint with several GPUs, which has keys", nil, online(nil), []string{"component"}},
		{"one of a target whose apps the Internet reaches too", map[string]any{"ingress": "external"}, online(nil), nil},
		{"several GPUs on Container Apps", onApps, online(nil), []string{"needs"}},
		{"a machine of Container Apps", map[string]any{"endpoints": map[string]any{"api": map[string]any{"machine": "Standard_E4s_v3"}}}, service("api", nil), []string{"endpoints"}},
		{"a machine without GPUs", map[string]any{"ingress": "external", "endpoints": map[string]any{"api": map[string]any{"machine": "Standard_E4s_v3"}}}, online(nil), []string{"needs"}},
		{"an unknown GPU of an endpoint", map[string]any{"ingress": "external"}, online(func(u *ir.Unit) { u.Needs.GPUModel = "V100" }), []string{"needs"}},
		{"what an endpoint does not have", map[string]any{"ingress": "external"}, online(func(u *ir.Unit) {
			u.Endpoint.TLS, u.Endpoint.Scale, u.Network, u.Timeout, u.Keeps = true, &ir.Scale{Max: 2}, ir.NetworkNone, 3*time.Hour, "log"
			u.Secrets, u.Params = []ir.Secret{{Name: "A", Env: "A"}}, []byte(`{"auth": {"keys": "/keys"}}`)
			u.Release = &ir.Release{By: "id", Shadow: 10, Judge: ir.Judge{Requests: 1}}
		}), []string{"component", "log", "network", "release.by", "release.judge", "release.shadow", "replicas", "secrets.A", "timeout", "tls"}},
		{"too many machines", map[string]any{"ingress": "external"}, online(func(u *ir.Unit) { u.Endpoint.Replicas = 51 }), []string{"replicas"}},
		{"another program at an endpoint", map[string]any{"ingress": "external"}, online(func(u *ir.Unit) { u.Code.Runtime = ir.Python }), []string{"component"}},
		{"processes, nodes and pods", nil, job("steps/a", func(u *ir.Unit) {
			u.Needs, u.Kubernetes = ir.Resources{PIDs: 8, Nodes: 2}, &ir.Placement{}
		}), []string{"kubernetes", "needs.nodes", "needs.pids"}},
		{"secrets from elsewhere", nil, job("steps/a", func(u *ir.Unit) {
			u.Secrets = []ir.Secret{{Name: "A", File: "/run/a"}, {Name: "C", Env: "C", As: ir.AsFile}, {Name: "D", Env: "D"}}
		}), []string{"secrets.A", "secrets.C.secret.as"}},
		{"ports that end a condition", nil, job("steps/a", func(u *ir.Unit) {
			u.Inputs, u.Outputs = []ir.Input{{Port: "a", Unit: "steps/b", From: `o'`}}, []ir.Output{{Port: "${x}", Kind: ir.File}}
		}), []string{"in", "outputs"}},
		{"too small a network", map[string]any{"cidr": "10.40.0.0/28"}, job("steps/a", nil), []string{"cidr"}},
		{"an address as network", map[string]any{"cidr": "10.40.0.1/24"}, job("steps/a", nil), []string{"cidr"}},
		{"reserved tags", map[string]any{"tags": map[string]any{"team": "a", "tenon-unit": "b"}}, job("steps/a", nil), []string{"tags"}},
		{"storage in a new resource group", map[string]any{"existing": map[string]any{"registry": "acmeml"}}, job("steps/a", nil), []string{"existing"}},
		{"a service", nil, service("api", nil), nil},
		{"what a service has elsewhere", nil, service("api", func(u *ir.Unit) {
			u.Endpoint.TLS, u.Endpoint.Management, u.Release, u.Keeps = true, &ir.Listen{Port: 9090}, &ir.Release{}, "log"
			u.Secrets, u.MachineFiles = []ir.Secret{{Name: "A", File: "/run/a"}}, []string{"tls.cert"}
		}), []string{"log", "management", "secrets.A", "tls", "tls.cert"}},
		{"a service with releases, a secret and a GPU", nil, service("api", func(u *ir.Unit) {
			u.Release, u.Secrets, u.Needs.GPU = &ir.Release{}, []ir.Secret{{Name: "A", Env: "A"}}, 1
		}), nil},
		{"limits of callers and too many replicas", nil, service("api", func(u *ir.Unit) {
			u.Endpoint.Counts, u.Endpoint.Scale = "limits", &ir.Scale{Max: 1001}
		}), []string{"limits", "replicas"}},
		{"a service for everybody", map[string]any{"ingress": "external"}, service("api", nil), []string{"component"}},
		{"one for whoever has a key", map[string]any{"ingress": "external"}, service("api", func(u *ir.Unit) { u.Params = []byte(`{"auth": {"keys": "/keys"}}`) }), nil},
		{"a worker", nil, service("api", func(u *ir.Unit) { u.Endpoint = nil }), []string{"command"}},
		{"objectives", nil, slo("a", "deployments/api", `{"window":"30d","availability":0.9,"latency":{"p99":"1s"},"freshness":"7d"}`), []string{"freshness"}},
		{"objectives of an endpoint", map[string]any{"ingress": "external", "endpoints": map[string]any{"api": map[string]any{"on": "ml"}}},
			slo("a", "deployments/api", `{"window":"30d","availability":0.9,"latency":{"p99":"1s"}}`), []string{"availability", "latency"}},
	} {
		t.Run(c.name, func(t *testing.T) { cloudtest.Refused(t, Check(target(c.settings), c.unit), c.want) })
	}
}

func TestSizesOfContainers(t *testing.T) {
	for _, c := range []struct {
		milli, memory, disk int64 // memory and disk in MiB
		cores, gib          string
	}{
		{0, 0, 0, "1", "2Gi"}, {1, 1, 0, "0.25", "0.5Gi"}, {250, 512, 1024, "0.25", "0.5Gi"}, {250, 513, 0, "0.5", "1Gi"}, {100, 0, 1025, "0.5", "1Gi"},
		{100, 0, 4096, "0.75", "1.5Gi"}, {0, 0, 4097, "1.25", "2.5Gi"}, {3001, 0, 0, "3.25", "6.5Gi"}, {4000, 8192, 8192, "4", "8Gi"},
	} {
		milli, ok := size(ir.Resources{MilliCPU: c.milli, Memory: c.memory << 20, Disk: c.disk << 20})
		if got := strconv.FormatFloat(float64(milli)/1000, 'f', -1, 64); got != c.cores || memoryOf(milli) != c.gib || !ok {
			t.Errorf("%+v: got %s and %s", c, got, memoryOf(milli))
		}
	}
}

// A plan shows that a deployment moves, or gets other machines, which cost money also while idle.
func TestWhereDeploymentsRun(t *testing.T) {
	apps, ml := `{"name":"a","subscription":"s","resource_group":"g","run":"r","token":"t","service":"a"}`, `{"name":"a","subscription":"s","resource_group":"g","run":"r","token":"t","endpoint":"a","machine":"Standard_E2s_v3"}`
	for _, c := range []struct {
		unit                ir.Unit
		settings            map[string]any
		data, before, after string
	}{
		{online(nil), nil, apps, "Container Apps", "Azure Machine Learning, Standard_NC64as_T4_v3"},
		{online(func(u *ir.Unit) { u.Needs = ir.Resources{} }), nil, apps, "Container Apps", "Container Apps"},
		{online(func(u *ir.Unit) { u.Needs = ir.Resources{} }), nil, ml, "Azure Machine Learning, Standard_E2s_v3", "Container Apps"},
		{online(func(u *ir.Unit) { u.Needs = ir.Resources{MilliCPU: 8000} }), nil, ml, "Azure Machine Learning, Standard_E2s_v3", "Azure Machine Learning, Standard_F8s_v2"},
		{online(func(u *ir.Unit) { u.Needs = ir.Resources{} }), map[string]any{"endpoints": map[string]any{"api": map[string]any{"on": "ml"}}}, ml,
			"Azure Machine Learning, Standard_E2s_v3", "Azure Machine Learning, Standard_E2s_v3"},
		{job("steps/a", nil), nil, ml, "", ""},
	} {
		s, err := SettingsOf(target(c.settings))
		s.Location = "eastus" // whose prices are known
		if err != nil {
			t.Fatal(err)
		}
		e, h := New(Options{Settings: s}), state.Handle{Executor: Name, Data: []byte(c.data)}
		if before, after := e.Placed(&c.unit, h); before != c.before || after != c.after {
			t.Errorf("%s: got %q and %q, want %q and %q", c.data, before, after, c.before, c.after)
		}
		p, priced := e.PerHour(&c.unit)
		if on := strings.HasPrefix(c.after, "Azure Machine Learning"); priced != on || on && "Azure Machine Learning, "+strings.TrimPrefix(p.Of, "1 x ") != c.after {
			t.Errorf("it costs %+v, %v", p, priced)
		}
		if _, perRequest := e.PerRequest(c.unit); perRequest != (c.after == "Container Apps") {
			t.Errorf("%s: its requests cost something on Container Apps", c.after)
		}
	}
}
