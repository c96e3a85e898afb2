package aws

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
)

func TestWhatAWSCannotHonourIsRefused(t *testing.T) {
	sagemaker := map[string]any{"endpoints": map[string]any{"api": map[string]any{"on": "sagemaker", "instance": "ml.m5.large"}}}
	for _, c := range []struct {
		name     string
		settings map[string]any
		unit     ir.Unit
		want     []string // fields
	}{
		{"a job", nil, job("steps/a", nil), nil},
		{"a job of the largest size", nil, job("steps/a", func(u *ir.Unit) {
			u.Needs = ir.Resources{MilliCPU: 16_000, Memory: 120 << 30, Disk: 200 << 30}
		}), nil},
		{"too many cores", nil, job("steps/a", func(u *ir.Unit) { u.Needs.MilliCPU = 16_001 }), []string{"needs"}},
		{"too much memory", nil, job("steps/a", func(u *ir.Unit) { u.Needs.Memory = 120<<30 + 1 }), []string{"needs"}},
		{"too much disk", nil, job("steps/a", func(u *ir.Unit) { u.Needs.Disk = 200<<30 + 1 }), []string{"needs.disk"}},
		{"processes, nodes, slices and pods", nil, job("steps/a", func(u *ir.Unit) {
			u.Needs, u.Kubernetes = ir.Resources{GPU: 1, PIDs: 8, Nodes: 2, GPUSlice: "1g.10gb"}, &ir.Placement{}
		}), []string{"kubernetes", "needs.gpu.slice", "needs.nodes", "needs.pids"}},
		{"secrets from elsewhere", nil, job("steps/a", func(u *ir.Unit) {
			u.Secrets = []ir.Secret{{Name: "A", File: "/run/a"}, {Name: "B", Kubernetes: &ir.SecretKey{}}, {Name: "C", Env: "C", As: ir.AsFile}, {Name: "D", Env: "D"}}
		}), []string{"secrets.A", "secrets.B.secret.kubernetes", "secrets.C.secret.as"}},
		{"a parameter of a training job", map[string]any{"existing": map[string]any{"secrets": map[string]any{"B": "arn:aws:ssm:eu-central-1:123456789012:parameter/b"}}}, job("steps/a", func(u *ir.Unit) {
			u.Needs.GPU, u.Secrets = 1, []ir.Secret{{Name: "A", Env: "A"}, {Name: "B", Env: "B"}}
		}), []string{"secrets.B"}},
		{"a training job without the network", nil, job("steps/a", func(u *ir.Unit) { u.Needs.GPU, u.Network = 1, ir.NetworkNone }), []string{"network"}},
		{"more GPUs than an instance has", nil, job("steps/a", func(u *ir.Unit) { u.Needs.GPU = 16 }), []string{"needs"}},
		{"another GPU than that of the instance", map[string]any{"jobs": map[string]any{"instance": "ml.g5.xlarge"}}, job("steps/a", func(u *ir.Unit) { u.Needs = ir.Resources{GPU: 1, GPUModel: "T4"} }), []string{"needs"}},
		{"an instance that is not known", map[string]any{"jobs": map[string]any{"instance": "ml.p6.xlarge"}}, job("steps/a", func(u *ir.Unit) { u.Needs.GPU = 16 }), nil},
		{"a training job on arm64", map[string]any{"architecture": "arm64"}, job("steps/a", func(u *ir.Unit) { u.Needs.GPU = 1 }), []string{"needs.gpu"}},
		{"a training job that takes a month", nil, job("steps/a", func(u *ir.Unit) { u.Needs.GPU, u.Timeout = 1, 30*24*time.Hour }), []string{"timeout"}},
		{"ports that are patterns", nil, job("steps/a", func(u *ir.Unit) {
			u.Inputs, u.Outputs = []ir.Input{{Port: "a", Unit: "steps/b", From: "o*"}}, []ir.Output{{Port: "${x}", Kind: ir.File}}
		}), []string{"in", "outputs"}},
		{"the network without subnets for it", map[string]any{"existing": map[string]any{"network": map[string]any{"vpc": "vpc-0", "subnets": []string{"subnet-0"}}}},
			job("steps/a", func(u *ir.Unit) { u.Network = ir.NetworkOpen }), []string{"network"}},
		{"a network of another size", map[string]any{"cidr": "10.40.1.0/16"}, job("steps/a", nil), []string{"cidr"}},
		{"reserved tags", map[string]any{"tags": map[string]any{"team": "a", "tenon:unit": "b"}}, job("steps/a", nil), []string{"tags"}},
		{"a function", nil, service("api", func(u *ir.Unit) { u.Needs = ir.Resources{Memory: 10_240 << 20, Disk: 10_240 << 20} }), nil},
		{"a function that scales", nil, service("api", func(u *ir.Unit) { u.Endpoint.Scale = &ir.Scale{Max: 3} }), nil},
		{"a function with a GPU", nil, service("api", func(u *ir.Unit) { u.Needs.GPU = 1 }), []string{"needs.gpu"}},
		{"too large a function", nil, service("api", func(u *ir.Unit) { u.Needs.Memory = 11 << 30 }), []string{"needs.memory"}},
		{"too much scratch", nil, service("api", func(u *ir.Unit) { u.Needs.Disk = 11 << 30 }), []string{"needs.disk"}},
		{"an endpoint", sagemaker, service("api", func(u *ir.Unit) { u.Needs = ir.Resources{Memory: 20 << 30, GPU: 1} }), nil},
		{"an endpoint without an instance", map[string]any{"endpoints": map[string]any{"api": map[string]any{"on": "sagemaker"}}}, service("api", nil), []string{"needs"}},
		{"an endpoint that scales", sagemaker, service("api", func(u *ir.Unit) { u.Endpoint.Scale = &ir.Scale{Max: 3} }), []string{"replicas"}},
		{"a container", fargate(nil, nil), service("api", func(u *ir.Unit) {
			u.Needs, u.Secrets = ir.Resources{MilliCPU: 16_000, Memory: 120 << 30, Disk: 200 << 30}, []ir.Secret{{Name: "A", Env: "A"}}
		}), nil},
		{"a container with a GPU", fargate(nil, nil), service("api", func(u *ir.Unit) { u.Needs.GPU = 1 }), []string{"needs.gpu"}},
		{"too large a container", fargate(nil, nil), service("api", func(u *ir.Unit) { u.Needs.Memory = 121 << 30 }), []string{"needs"}},
		{"too much disk of a container", fargate(nil, nil), service("api", func(u *ir.Unit) { u.Needs.Disk = 201 << 30 }), []string{"needs.disk"}},
		{"a worker on Fargate", fargate(nil, nil), service("api", func(u *ir.Unit) { u.Endpoint = nil }), []string{"command"}},
		{"a container without a path of readiness", fargate(nil, nil), service("api", func(u *ir.Unit) { u.Endpoint.Ready = "" }), []string{"command"}},
		{"a container that asks another service", fargate(nil, nil), service("api", func(u *ir.Unit) {
			u.Inputs = []ir.Input{{Port: "b", Unit: "deployments/b", From: "endpoint", Kind: ir.EndpointOf}}
		}), []string{"in.b"}},
		{"a container that follows its load", fargate(nil, nil), service("api", func(u *ir.Unit) { u.Endpoint.Scale = &ir.Scale{Max: 3, CPU: 70} }), nil},
		{"a container that ends without load", fargate(nil, nil), service("api", func(u *ir.Unit) { u.Endpoint.Scale, u.Endpoint.Replicas = &ir.Scale{Max: 3, CPU: 70}, 0 }), []string{"replicas"}},
		{"a container that follows requests in flight", fargate(nil, nil), service("api", func(u *ir.Unit) { u.Endpoint.Scale = &ir.Scale{Max: 3, InFlight: 8} }), []string{"replicas"}},
		{"limits of callers at each of several containers", fargate(nil, nil), service("api", func(u *ir.Unit) { u.Endpoint.Replicas, u.Endpoint.Counts = 2, "limits" }), []string{"limits"}},
		{"a public load balancer without a certificate, for everybody", fargate(map[string]any{"public": true}, nil), service("api", nil), []string{"balancer"}},
		{"HTTPS without a name", fargate(map[string]any{"certificate": "arn"}, nil), service("api", nil), []string{"endpoint"}},
		{"callers that are no networks", fargate(map[string]any{"callers": []string{"10.0.0.1/16", "10.0.0.0/16"}}, nil), service("api", nil), []string{"balancer"}},
		{"subnets without a network", fargate(map[string]any{"subnets": []string{"subnet-0a"}}, nil), service("api", nil), []string{"balancer"}},
		{"an existing network with one subnet, for everybody", fargate(nil, map[string]any{"vpc": "vpc-0", "subnets": []string{"subnet-0"}}), service("api", nil), []string{"balancer", "existing"}},
		{"a public load balancer in an existing network", fargate(map[string]any{"public": true, "certificate": "arn", "callers": []string{"0.0.0.0/0"}}, map[string]any{"vpc": "vpc-0", "subnets": []string{"subnet-0", "subnet-1"}}),
			service("api", func(u *ir.Unit) { u.Network = ir.NetworkOpen }), []string{"balancer", "endpoint", "network"}},
		{"what a service has elsewhere", nil, service("api", func(u *ir.Unit) {
			u.Endpoint.TLS, u.Endpoint.Management, u.Release, u.Keeps = true, &ir.Listen{Port: 9090}, &ir.Release{}, "log"
			u.Secrets, u.MachineFiles = []ir.Secret{{Name: "A", Env: "A"}}, []string{"tls.cert"}
		}), []string{"log", "management", "secrets.A", "tls", "tls.cert"}},
		{"a worker", nil, service("api", func(u *ir.Unit) { u.Endpoint = nil }), []string{"command"}},
		{"objectives without a metric", nil, slo("a", "deployments/api", `{"window":"30d","freshness":"7d","quality":{"auc":{"min":1}},"parity":0}`), []string{"freshness", "parity", "quality"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := ir.Target{Name: "aws", Executor: Name, Settings: settings(c.settings)}
			cloudtest.Refused(t, Check(target, c.unit), c.want)
		})
	}
}

func TestSizesOfTasks(t *testing.T) {
	for _, c := range []struct{ milli, mebibytes, wantMilli, wantMemory int64 }{
		{0, 0, 1000, 2048}, {100, 0, 250, 2048}, {100, 100, 250, 512}, {250, 1025, 250, 2048}, {250, 2049, 500, 3072}, {0, 100, 1000, 2048},
		{1500, 0, 2000, 4096}, {4000, 30_721, 8000, 32_768}, {16_000, 33_000, 16_000, 40_960}, {100, 122_880, 16_000, 122_880},
	} {
		milli, memory, ok := size(ir.Resources{MilliCPU: c.milli, Memory: c.mebibytes << 20})
		if milli != c.wantMilli || memory != c.wantMemory || !ok {
			t.Errorf("%d and %d MiB: got %d and %d", c.milli, c.mebibytes, milli, memory)
		}
	}
}

// A function with 2 GiB costs 0.0000333334 USD a second.
func TestWhatAFunctionCosts(t *testing.T) {
	for _, c := range []struct {
		architecture string
		memory       int64
		want         string
	}{{"x86_64", 0, "3.33 USD"}, {"arm64", 0, "2.67 USD"}, {"x86_64", 128 << 20, "0.21 USD"}, {"x86_64", 1, "0.21 USD"}} {
		e := New(Options{Settings: Settings{Architecture: c.architecture}})
		got, ok := e.PerRequest(plane(func(u *ir.Unit) { u.Needs.Memory = c.memory }))
		if !ok || got.Longer.Format("USD") != c.want || got.Million.Format("USD") != "0.20 USD" || got.Source == "" {
			t.Errorf("%s, %d bytes: %+v, %v", c.architecture, c.memory, got, ok)
		}
	}
	if got, ok := New(Options{}).PerRequest(job("steps/a", nil)); ok {
		t.Errorf("a job: %+v", got)
	}
}

func TestNamesFit(t *testing.T) {
	for _, c := range []struct {
		name string
		most int
		want string
	}{{"short", 10, "short"}, {"0123456789", 10, "0123456789"}, {"0123456789a", 10, "0-" + short("0123456789a")}} {
		if got := fit(c.name, c.most); got != c.want || len(got) > c.most {
			t.Errorf("%s: got %s", c.name, got)
		}
	}
	if got := hyphened("Late_flights", 30); got != "late-flights-"+short("Late_flights") {
		t.Error(got)
	}
}

// plane makes a deployment that runs on AWS Lambda.
func plane(change func(*ir.Unit)) ir.Unit {
	return service("api", func(u *ir.Unit) {
		u.Code, u.Params = ir.Code{Runtime: ir.Plane, Command: []string{"worker.py"}, Lock: "sha256:0a"}, json.RawMessage(`{"deployment":"api","model":"late"}`)
		if change != nil {
			change(u)
		}
	})
}

// More is refused for units that run there than for their infrastructure.
func TestWhatDoesNotRunInAWSIsRefused(t *testing.T) {
	s, err := SettingsOf(ir.Target{Name: "aws", Executor: Name, Settings: settings(nil)})
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
		{"a GPU", job("steps/a", func(u *ir.Unit) { u.Needs.GPU = 1 }), nil},
		{"an endpoint as input", job("steps/a", func(u *ir.Unit) {
			u.Inputs = []ir.Input{{Port: "api", Unit: "deployments/api", From: "endpoint", Kind: ir.EndpointOf}}
		}), []string{"in.api"}},
		{"a function", plane(nil), nil},
		{"a function with a limit", plane(func(u *ir.Unit) { u.Endpoint.Scale, u.Endpoint.Replicas = &ir.Scale{Max: 2}, 0 }), nil},
		{"a function that is kept warm", plane(func(u *ir.Unit) { u.Endpoint.Scale = &ir.Scale{Max: 2} }), []string{"replicas"}},
		{"replicas of a function", plane(func(u *ir.Unit) { u.Endpoint.Replicas = 2 }), []string{"replicas"}},
		{"a function in Python", service("api", nil), []string{"component"}},
		{"a function with DuckDB", plane(func(u *ir.Unit) { u.Code.Runtime = ir.PlaneDuckDB }), []string{"component"}},
		{"a function with a log", plane(func(u *ir.Unit) { u.Params = json.RawMessage(`{"log":{}}`) }), []string{"component"}},
		{"a function with tokens", plane(func(u *ir.Unit) { u.Params = json.RawMessage(`{"auth":{}}`) }), []string{"component"}},
		{"a function with a history", plane(func(u *ir.Unit) { u.Params = json.RawMessage(`{"request":{"history":{}}}`) }), []string{"component"}},
		{"a function that asks another service", plane(func(u *ir.Unit) {
			u.Inputs = []ir.Input{{Port: "other", Unit: "deployments/other", From: "endpoint", Kind: ir.EndpointOf}}
		}), []string{"in.other"}},
		{"a worker", service("api", func(u *ir.Unit) { u.Endpoint = nil }), []string{"command"}},
	} {
		var got []string
		for _, f := range New(Options{Settings: s}).Check(c.unit) {
			got = append(got, f.Field)
			if f.Hint == "" || f.Message == "" {
				t.Errorf("%s: %+v says nothing", c.name, f)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
