package aws

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
)

// fargate are settings of a target that places "api" on Fargate.
func fargate(balancer, network map[string]any) map[string]any {
	all := map[string]any{"endpoints": map[string]any{"api": map[string]any{"on": "fargate"}}, "balancer": balancer}
	if network != nil {
		all["existing"] = map[string]any{"network": network}
	}
	return all
}

// containerSystem is a system with two deployments behind a public load balancer.
func containerSystem() *ir.System {
	return &ir.System{
		Name: "shop",
		Target: ir.Target{Name: "prod", Executor: Name, Settings: settings(map[string]any{
			"endpoints": map[string]any{"api": map[string]any{"on": "fargate", "host": "api.acme.example"}, "vision": map[string]any{"on": "fargate", "host": "vision.acme.example"}},
			"balancer":  map[string]any{"public": true, "certificate": "arn:aws:acm:eu-central-1:123456789012:certificate/0a0a0a0a-0b0b-0c0c-0d0d-0e0e0e0e0e0e", "callers": []string{"203.0.113.0/24"}},
		})},
		Units: []ir.Unit{
			service("api", func(u *ir.Unit) {
				u.Release, u.Secrets = &ir.Release{Steps: []int{1, 100}}, []ir.Secret{{Name: "KEY", Env: "API_KEY"}}
			}),
			service("vision", func(u *ir.Unit) { u.Endpoint.Port = 8090 }),
			slo("api", "deployments/api", `{"window":"7d","availability":0.99,"latency":{"p99":"50ms"}}`),
		},
	}
}

// containersInNetworkSystem is a system with a deployment that an existing network reaches, and that uses the Internet.
func containersInNetworkSystem() *ir.System {
	return &ir.System{
		Name: "shop",
		Target: ir.Target{Name: "prod", Executor: Name, Settings: settings(map[string]any{
			"endpoints": map[string]any{"api": map[string]any{"on": "fargate"}}, "balancer": map[string]any{"callers": []string{"10.0.0.0/8"}}, "architecture": "arm64",
			"existing": map[string]any{"network": map[string]any{"vpc": "vpc-0a0a0a0a", "subnets": []string{"subnet-0a0a0a0a", "subnet-0b0b0b0b"}, "open_subnets": []string{"subnet-0c0c0c0c", "subnet-0d0d0d0d"}}},
		})},
		Units: []ir.Unit{service("api", func(u *ir.Unit) { u.Network = ir.NetworkOpen })},
	}
}

func TestDeploymentsThatTheLoadBalancerCannotTellApart(t *testing.T) {
	for want, hosts := range map[string][2]string{
		"deployments/api and deployments/vision have no host in endpoints of target prod":                 {"", ""},
		"deployments/api and deployments/vision have the host a.acme.example in endpoints of target prod": {"a.acme.example", "a.acme.example"},
	} {
		sys := containerSystem()
		sys.Target.Settings["endpoints"] = map[string]any{"api": map[string]any{"on": "fargate", "host": hosts[0]}, "vision": map[string]any{"on": "fargate", "host": hosts[1]}}
		if _, err := Infrastructure(sys); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestNamesThatALoadBalancerCannotHave(t *testing.T) {
	sys := containerSystem()
	sys.Target.Settings["prefix"] = "internal-shop"
	if _, err := Infrastructure(sys); err == nil || !strings.Contains(err.Error(), "would be named internal-shop") {
		t.Errorf("%v", err)
	}
	sys = containerSystem()
	tags := map[string]any{}
	for i := range 45 {
		tags[strings.Repeat("x", i+1)] = "y"
	}
	sys.Target.Settings["tags"] = tags
	if _, err := Infrastructure(sys); err == nil || !strings.Contains(err.Error(), "its cluster would have 55 tags, and AWS allows 50") {
		t.Errorf("%v", err)
	}
}

// A deployment that moves to another port changes nothing that its former version needs until the next one is ready.
func TestAnotherPortChangesNoInfrastructure(t *testing.T) {
	before, sys := write(t, containerSystem()), containerSystem()
	sys.Units[0].Endpoint.Port++
	for name, text := range write(t, sys) {
		if string(before[name]) != string(text) {
			t.Errorf("%s differs", name)
		}
	}
}

// Another deployment does not change the rules of those before.
func TestRulesStay(t *testing.T) {
	w := newWriter(containerSystem(), Settings{Endpoints: map[string]Endpoint{"api": {On: "fargate"}, "vision": {On: "fargate"}}})
	both := w.priorities()
	w.units = w.at(onFargate)[1:]
	if alone := w.priorities(); both["deployments/vision"] != alone["deployments/vision"] || both["deployments/api"] == both["deployments/vision"] {
		t.Errorf("%v and %v", both, alone)
	}
}

func TestFaultsInContainersAreFound(t *testing.T) {
	cloudtest.Faults(t, func() map[string][]byte { return write(t, containerSystem()) },
		cloudtest.Fault{"services.tf", "host_header", "host_headers", "aws_lb_listener_rule.condition has no"},
		cloudtest.Fault{"services.tf", "aws_subnet.closed[0].id", "aws_subnet.shut[0].id", "aws_subnet.shut.id is not declared"},
	)
}
