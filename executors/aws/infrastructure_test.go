package aws

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

// settings are those of a target with the defaults of tenon.#AWS.
func settings(more map[string]any) map[string]any {
	all := map[string]any{
		"region": "eu-central-1", "folder": "tenon", "cidr": "10.40.0.0/16", "jobs": map[string]any{"cpu": 64, "spot": false}, "architecture": "x86_64", "retention": 30,
	}
	for k, v := range more {
		all[k] = v
	}
	return all
}

// systems have everything that can be in the files.
func systems() map[string]*ir.System {
	month := 2000 * money.One
	everything := &ir.System{
		Name: "flights", Env: "prod", Budget: ir.Budget{Currency: "USD", Month: &month},
		Target: ir.Target{Name: "prod", Executor: Name, Settings: settings(map[string]any{
			"account": "123456789012", "emails": []string{"ml@acme.example"}, "tags": map[string]any{"team": "growth"}, "jobs": map[string]any{"cpu": 128, "spot": true},
			"endpoints": map[string]any{"vision": map[string]any{"on": "sagemaker", "instance": "ml.g5.xlarge"}},
		})},
		Units: append(
			cloudtest.Everything(),
			ir.Unit{ID: "models/late/register", Entity: "models/late", Kind: ir.Record, Code: ir.Code{Runtime: ir.Builtin}, Outputs: []ir.Output{{Port: "model", Kind: ir.Model}},
				Inputs: []ir.Input{{Port: "model", Unit: "models/late/train", From: "model", Kind: ir.Model}}},
			service("vision", func(u *ir.Unit) { u.Needs, u.Endpoint.Replicas = ir.Resources{GPU: 1}, 2 }),
			slo("api", "deployments/api", `{"window":"30d","availability":0.999,"latency":{"p99":"50ms"}}`),
			slo("vision", "deployments/vision", `{"window":"7d","availability":0.9,"latency":{"p50":"7ms"},"parity":0}`),
		),
	}
	cloudtest.Change(everything.Units, "features/late", func(u *ir.Unit) { u.Needs.Disk = 50 << 30 })
	cloudtest.Change(everything.Units, "steps/Report.2", func(u *ir.Unit) {
		u.Inputs = append(u.Inputs, ir.Input{Port: "v", Unit: "deployments/vision", From: "endpoint", Kind: ir.EndpointOf})
	})
	existing := &ir.System{
		Name: "notify",
		Target: ir.Target{Name: "prod", Executor: Name, Settings: settings(map[string]any{"prefix": "acme-ml", "architecture": "arm64", "existing": map[string]any{
			"bucket": "acme-ml", "repository": "ml/images", "topic": "arn:aws:sns:eu-central-1:123456789012:alarms",
			"network": map[string]any{"vpc": "vpc-0a", "subnets": []string{"subnet-0a", "subnet-0b"}, "open_subnets": []string{"subnet-0c"}},
			"secrets": map[string]any{"TOKEN": "arn:aws:ssm:eu-central-1:123456789012:parameter/token"},
		}})},
		Units: append(cloudtest.Reuser(), slo("api", "deployments/api", `{"window":"30d","availability":0.99}`)),
	}
	return map[string]*ir.System{"everything": everything, "existing": existing, "containers": containerSystem(), "containers-existing": containersInNetworkSystem(), "scheduled": scheduledSystem(), "empty": {Name: "empty", Target: ir.Target{Executor: Name, Settings: settings(nil)}}}
}

var writes = cloudtest.Writer{Systems: withClusters, Write: Infrastructure, Check: checked, Version: providerVersion}

func write(t testing.TB, sys *ir.System) map[string][]byte { return writes.Files(t, sys) }

func TestFiles(t *testing.T) { writes.Test(t) }

// A misspelled attribute, a missing one and an unknown type are found in the files that are written.
func TestFaultsInFilesAreFound(t *testing.T) {
	cloudtest.Faults(t, func() map[string][]byte { return write(t, systems()["everything"]) },
		cloudtest.Fault{"storage.tf", "block_public_acls", "block_public_acl", "aws_s3_bucket_public_access_block has no attribute block_public_acl"},
		cloudtest.Fault{"jobs.tf", "max_vcpus ", "max_cpus ", "aws_batch_compute_environment.compute_resources needs max_vcpus"},
		cloudtest.Fault{"roles.tf", `"aws_iam_role_policy"`, `"aws_iam_roles_policy"`, "the provider has no aws_iam_roles_policy"},
		cloudtest.Fault{"jobs.tf", "aws_batch_compute_environment.closed.arn", "aws_batch_compute_environment.closed.arm", "aws_batch_compute_environment has no attribute arm"},
		cloudtest.Fault{"jobs.tf", "aws_subnet.closed[*].id", "aws_subnet.shut[*].id", "aws_subnet.shut.id is not declared"},
	)
}

// The page for users shows the role of a unit as it is written.
func TestTheDocumentationShowsARole(t *testing.T) {
	cloudtest.Page(t, "aws.md", "resource \"aws_iam_role_policy\"", write(t, systems()["everything"])["roles.tf"])
}

func TestWhatCannotBeWritten(t *testing.T) {
	month := 10 * money.One
	target := ir.Target{Executor: Name, Settings: settings(nil)}
	wide := job("steps/wide", func(u *ir.Unit) {
		for range 100 {
			u.Inputs = append(u.Inputs, ir.Input{Port: "in", Unit: "features/" + strings.Repeat("x", len(u.Inputs)+1)[:len(u.Inputs)%99+1], From: "out", Kind: ir.Table})
		}
	})
	for want, sys := range map[string]*ir.System{
		"budget.month is in EUR":            {Target: target, Budget: ir.Budget{Currency: "EUR", Month: &month}},
		"and AWS allows 10240":              {Target: target, Units: []ir.Unit{wide}},
		"have the same name in AWS, steps-": {Target: target, Units: []ir.Unit{job("steps/a_b", nil), job("steps/a_b", nil)}},
	} {
		if _, err := Infrastructure(sys); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
