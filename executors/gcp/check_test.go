package gcp

import (
	"fmt"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/planner/state"
)

func TestWhatGoogleCloudCannotHonourIsRefused(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings map[string]any
		unit     ir.Unit
		want     []string // fields
	}{
		{"a job", nil, job("steps/a", nil), nil},
		{"spare capacity of Cloud Run", map[string]any{"jobs": map[string]any{"on": "run", "spot": true}}, job("steps/a", nil), []string{"jobs.spot"}},
		{"a job of the largest size", nil, job("steps/a", func(u *ir.Unit) {
			u.Needs, u.Timeout = ir.Resources{MilliCPU: 8000, Memory: 20 << 30, Disk: 12 << 30}, 168*time.Hour
		}), nil},
		{"too many cores", nil, job("steps/a", func(u *ir.Unit) { u.Needs.MilliCPU = 8001 }), []string{"needs"}},
		{"too much memory with files", nil, job("steps/a", func(u *ir.Unit) { u.Needs.Memory, u.Needs.Disk = 30<<30, 3<<30 }), []string{"needs"}},
		{"too long", nil, job("steps/a", func(u *ir.Unit) { u.Timeout = 169 * time.Hour }), []string{"timeout"}},
		{"a job with a GPU", nil, job("models/a", func(u *ir.Unit) { u.Needs = ir.Resources{GPU: 8, Memory: 600 << 30} }), nil},
		{"more GPUs than a machine has", nil, job("models/a", func(u *ir.Unit) { u.Needs = ir.Resources{GPU: 9} }), []string{"needs"}},
		{"a job with a GPU that takes too long", nil, job("models/a", func(u *ir.Unit) {
			u.Needs, u.Timeout = ir.Resources{GPU: 1, Disk: 64_000 << 30}, 169*time.Hour
		}), []string{"needs.disk", "timeout"}},
		{"processes, nodes, slices and pods", nil, job("steps/a", func(u *ir.Unit) {
			u.Needs, u.Kubernetes = ir.Resources{GPU: 1, PIDs: 8, Nodes: 2, GPUSlice: "1g.10gb"}, &ir.Placement{}
		}), []string{"kubernetes", "needs.gpu.slice", "needs.nodes", "needs.pids"}},
		{"secrets from elsewhere", nil, job("steps/a", func(u *ir.Unit) {
			u.Secrets = []ir.Secret{{Name: "A", File: "/run/a"}, {Name: "B", Kubernetes: &ir.SecretKey{}}, {Name: "C", Env: "C", As: ir.AsFile}, {Name: "D", Env: "D"}}
		}), []string{"secrets.A", "secrets.B.secret.kubernetes", "secrets.C.secret.as"}},
		{"a secret of a job with a GPU", nil, job("steps/a", func(u *ir.Unit) {
			u.Needs.GPU, u.Secrets = 1, []ir.Secret{{Name: "A", Env: "A"}}
		}), []string{"secrets.A"}},
		{"ports that end a condition", nil, job("steps/a", func(u *ir.Unit) {
			u.Inputs, u.Outputs = []ir.Input{{Port: "a", Unit: "steps/b", From: `o"`}}, []ir.Output{{Port: "${x}", Kind: ir.File}}
		}), []string{"in", "outputs"}},
		{"too small a network", map[string]any{"cidr": "10.40.0.0/28"}, job("steps/a", nil), []string{"cidr"}},
		{"an address as network", map[string]any{"cidr": "10.40.0.1/24"}, job("steps/a", nil), []string{"cidr"}},
		{"reserved labels", map[string]any{"labels": map[string]any{"team": "a", "tenon-unit": "b"}}, job("steps/a", nil), []string{"labels"}},
		{"a service", nil, service("api", func(u *ir.Unit) { u.Needs = ir.Resources{MilliCPU: 8000, Memory: 32 << 30} }), nil},
		{"a service that scales", nil, service("api", func(u *ir.Unit) { u.Endpoint.Scale = &ir.Scale{Max: 3} }), nil},
		{"a service with a GPU, in a region without", nil, service("api", func(u *ir.Unit) { u.Needs.GPU = 1 }), []string{"needs.gpu"}},
		{"a service with a GPU", withGPUs(), service("api", func(u *ir.Unit) {
			u.Needs = ir.Resources{GPU: 1, GPUModel: "L4", GPUMemory: 24 << 30, MilliCPU: 8000, Memory: 32 << 30}
		}), nil},
		{"two GPUs of a service", withGPUs(), service("api", func(u *ir.Unit) { u.Needs.GPU = 2 }), []string{"needs.gpu.count"}},
		{"another GPU of a service", withGPUs(), service("api", func(u *ir.Unit) { u.Needs = ir.Resources{GPU: 1, GPUModel: "A100"} }), []string{"needs"}},
		{"too many cores beside a GPU", withGPUs(), service("api", func(u *ir.Unit) { u.Needs = ir.Resources{GPU: 1, MilliCPU: 21_000} }), []string{"needs"}},
		{"a job with a GPU on Cloud Run, with a secret", withGPUs(), job("models/a", func(u *ir.Unit) {
			u.Needs.GPU, u.Timeout, u.Secrets = 1, time.Hour, []ir.Secret{{Name: "A", Env: "A"}}
		}), nil},
		{"one that may take longer than an hour", withGPUs(), job("models/a", func(u *ir.Unit) { u.Needs.GPU = 1 }), []string{"needs.gpu"}},
		{"one that takes too long", withGPUs(), job("models/a", func(u *ir.Unit) { u.Needs.GPU, u.Timeout = 1, 2*time.Hour }), []string{"timeout"}},
		{"an endpoint of Vertex AI", onVertexAI(""), hosted(func(u *ir.Unit) {
			u.Needs, u.Release = ir.Resources{GPU: 2, GPUModel: "L4"}, &ir.Release{Steps: []int{10, 100}, Each: time.Minute}
		}), nil},
		{"one that scales", onVertexAI(""), hosted(func(u *ir.Unit) { u.Endpoint.Scale = &ir.Scale{Max: 3, CPU: 70} }), nil},
		{"one without instances", onVertexAI(""), hosted(func(u *ir.Unit) { u.Endpoint.Replicas, u.Endpoint.Scale = 0, &ir.Scale{Max: 3} }), []string{"replicas.min"}},
		{"a machine that is too small", onVertexAI("g2-standard-4"), hosted(func(u *ir.Unit) { u.Needs.GPU = 2 }), []string{"needs"}},
		{"no machine", onVertexAI(""), hosted(func(u *ir.Unit) { u.Needs.GPU = 9 }), []string{"needs"}},
		{"what an endpoint of Vertex AI does not have", onVertexAI(""), hosted(func(u *ir.Unit) {
			fraction := 0.1
			u.Release = &ir.Release{By: "customer", Shadow: 0.1, Judge: ir.Judge{ErrorRate: &fraction}}
			u.Network, u.Timeout, u.Needs.Disk, u.Keeps = ir.NetworkNone, 3*time.Hour, 51<<30, "log"
			u.Params, u.Secrets, u.Endpoint.TLS = []byte(`{"auth":{}}`), []ir.Secret{{Name: "A", Env: "A"}}, true
		}), []string{"component", "log", "needs.disk", "network", "release.by", "release.judge", "release.shadow", "secrets.A", "timeout", "tls"}},
		{"another program at an endpoint", onVertexAI(""), service("api", nil), []string{"component"}},
		{"a worker at an endpoint", onVertexAI(""), hosted(func(u *ir.Unit) { u.Endpoint = nil }), []string{"command"}},
		{"too large a service", nil, service("api", func(u *ir.Unit) { u.Needs.Memory = 33 << 30 }), []string{"needs"}},
		{"a service that is released, and has secrets", nil, service("api", func(u *ir.Unit) {
			u.Release, u.Secrets = &ir.Release{}, []ir.Secret{{Name: "A", Env: "A"}}
		}), nil},
		{"what a service has elsewhere", nil, service("api", func(u *ir.Unit) {
			u.Endpoint.TLS, u.Endpoint.Management, u.Keeps = true, &ir.Listen{Port: 9090}, "log"
			u.Secrets, u.MachineFiles = []ir.Secret{{Name: "A", File: "/run/a"}}, []string{"tls.cert"}
		}), []string{"log", "management", "secrets.A", "tls", "tls.cert"}},
		{"a worker", nil, service("api", func(u *ir.Unit) { u.Endpoint = nil }), []string{"command"}},
		{"objectives without a metric", nil, slo("a", "deployments/api", `{"window":"30d","freshness":"7d","quality":{"auc":{"min":1}},"parity":0}`), []string{"freshness", "parity", "quality"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cloudtest.Refused(t, Check(ir.Target{Name: "gcp", Executor: Name, Settings: settings(c.settings)}, c.unit), c.want)
		})
	}
}

func TestSizesOfContainers(t *testing.T) {
	for _, c := range []struct{ milli, memory, disk, wantCores, wantMemory int64 }{
		{0, 0, 0, 1, 2048}, {100, 100, 0, 1, 512}, {1001, 0, 0, 2, 2048}, {0, 4097, 0, 2, 4097}, {3000, 100, 0, 4, 2048},
		{0, 2048, 4096, 2, 6144}, {0, 0, 1024, 1, 3072}, {5000, 0, 0, 6, 4096}, {7000, 32_768, 0, 8, 32_768}, {0, 24_577, 0, 8, 24_577},
	} {
		cores, memory, ok := size(ir.Resources{MilliCPU: c.milli, Memory: c.memory << 20, Disk: c.disk << 20})
		if cores != c.wantCores || memory != c.wantMemory || !ok {
			t.Errorf("%+v: got %d and %d", c, cores, memory)
		}
	}
}

// More is refused for units that run there than for their infrastructure.
func TestWhatDoesNotRunOnGoogleCloudIsRefused(t *testing.T) {
	s, err := SettingsOf(ir.Target{Name: "gcp", Executor: Name, Settings: settings(nil)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		unit ir.Unit
		want []string // fields
	}{
		{"a job", job("steps/a", nil), nil},
		{"a record", slo("a", "deployments/api", `{"window":"30d","availability":0.9}`), nil},
		{"a GPU without the network", job("steps/a", func(u *ir.Unit) { u.Needs.GPU, u.Network = 1, "" }), []string{"network"}},
		{"a GPU", job("steps/a", func(u *ir.Unit) { u.Needs.GPU, u.Network = 1, ir.NetworkOpen }), nil},
		{"an endpoint as input", job("steps/a", func(u *ir.Unit) {
			u.Inputs = []ir.Input{{Port: "api", Unit: "deployments/api", From: "endpoint", Kind: ir.EndpointOf}}
		}), []string{"in.api"}},
		{"a service that asks another one", service("api", func(u *ir.Unit) {
			u.Inputs = []ir.Input{{Port: "other", Unit: "deployments/other", From: "endpoint", Kind: ir.EndpointOf}}
		}), []string{"in.other"}},
		{"a service", service("api", nil), nil},
		{"a service that scales", service("api", func(u *ir.Unit) { u.Endpoint.Scale = &ir.Scale{Max: 2} }), nil},
		{"a worker", service("api", func(u *ir.Unit) { u.Endpoint = nil }), []string{"command"}},
	} {
		t.Run(c.name, func(t *testing.T) { cloudtest.Refused(t, New(Options{Settings: s}).Check(c.unit), c.want) })
	}
}

// withGPUs are settings of a target whose region has GPUs of Cloud Run, where jobs with GPUs run.
func withGPUs() map[string]any {
	return map[string]any{"region": "europe-west4", "jobs": map[string]any{"on": "run"}}
}

// onVertexAI are settings of a target with an endpoint of Vertex AI for the deployment "api".
func onVertexAI(machine string) map[string]any {
	return map[string]any{"endpoints": map[string]any{"api": map[string]any{"on": "vertex", "machine": machine}}}
}

// hosted returns a deployment that an endpoint of Vertex AI can run.
func hosted(change func(*ir.Unit)) ir.Unit {
	return service("api", func(u *ir.Unit) {
		u.Code, u.Params = ir.Code{Runtime: ir.Plane, Command: []string{"worker.py"}, Lock: "sha256:0a"}, []byte(`{"deployment":"api"}`)
		change(u)
	})
}

// Each deployment of Vertex AI gets the first machine that has what it needs, or the one that the target names.
func TestMachinesOfEndpoints(t *testing.T) {
	for _, c := range []struct {
		machine, region string
		needs           ir.Resources
		replicas        int
		want            string
	}{
		{"", "us-central1", ir.Resources{}, 1, "1 x e2-standard-2: 0.077 USD"},
		{"", "us-central1", ir.Resources{MilliCPU: 4000, Memory: 30 << 30}, 2, "2 x e2-standard-8: 0.62 USD"},
		{"", "us-central1", ir.Resources{GPU: 1, GPUMemory: 24 << 30}, 1, "1 x g2-standard-4: 0.81 USD"},
		{"g2-standard-12", "us-central1", ir.Resources{GPU: 1}, 1, "1 x g2-standard-12: 1.15 USD"},
		{"", "us-central1", ir.Resources{GPU: 1}, 1, "1 x n1-standard-4: unknown"},
		{"", "europe-west4", ir.Resources{}, 1, "1 x e2-standard-2: unknown"},
	} {
		u := hosted(func(u *ir.Unit) { u.Needs, u.Endpoint.Replicas = c.needs, c.replicas })
		e := New(Options{Settings: Settings{Region: c.region, Endpoints: map[string]Endpoint{"api": {On: byVertex, Machine: c.machine}}}})
		p, known := e.PerHour(&u)
		m, _ := e.opts.hostOf(&u)
		there := state.Handle{Executor: Name, Data: fmt.Appendf(nil, `{"name":"n","project":"p","region":%q,"run":"r","token":"t","endpoint":"e","machine":%q}`, c.region, m.name)}
		if now, is := New(Options{}).PerHourOf(&u, there); !is || now != p {
			t.Errorf("where it is, it costs %+v, %v, want %+v", now, is, p)
		}
		got := p.Of + ": unknown"
		if p.Currency != "" {
			got = p.Of + ": " + p.Rate.Format(p.Currency)
		}
		if _, perRequest := e.PerRequest(u); !known || got != c.want || perRequest {
			t.Errorf("%+v: got %q, %v, want %q", c, got, known, c.want)
		}
	}
}

// A deployment moves if its target says so, and stays if nothing is known.
func TestPlacesOfADeployment(t *testing.T) {
	u := hosted(func(*ir.Unit) {})
	for _, c := range []struct{ data, on, want string }{
		{`"service":"s"`, byVertex, "Cloud Run, then Vertex AI, e2-standard-2"},
		{`"service":"s"`, "", "Cloud Run, then Cloud Run"},
		{`"endpoint":"e","machine":"g2-standard-4"`, byVertex, "Vertex AI, g2-standard-4, then Vertex AI, e2-standard-2"},
		{`"endpoint":"e","machine":"g2-standard-4"`, byRun, "Vertex AI, g2-standard-4, then Cloud Run"},
		{`"endpoint":"e"`, byVertex, ", then "},
	} {
		e := New(Options{Settings: Settings{Endpoints: map[string]Endpoint{"api": {On: c.on}}}})
		data := `{"name":"n","project":"p","region":"r","run":"r","token":"t",` + c.data + `}`
		before, after := e.Placed(&u, state.Handle{Executor: Name, Data: []byte(data)})
		if got := before + ", then " + after; got != c.want {
			t.Errorf("%s: got %q, want %q", c.data, got, c.want)
		}
	}
}
