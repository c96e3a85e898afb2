package project

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
)

// A plan does not see that a service is elsewhere if both targets have the same executor, so it leaves the other one out.
func TestServicesKeepOutTargetsOfTheSameKind(t *testing.T) {
	at := func(name, executor, region string) compiler.Candidate {
		return compiler.Candidate{Target: ir.Target{Name: name, Executor: executor, Settings: map[string]any{"region": region}}}
	}
	c := &choosing{from: &compiler.Result{Candidates: []compiler.Candidate{at("eu", "aws", "eu-central-1"), at("us", "aws", "us-east-1"), at("twin", "aws", "eu-central-1"), at("gcp", "gcp", "europe-west3")}}}
	services := map[string]string{"eu": "deployments/api", "gone": "deployments/old"}
	for i, want := range []string{"", "deployments/api runs on eu", "", ""} {
		k := &c.from.Candidates[i]
		if got := c.stays(services, k); (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", k.Target.Name, got, want)
		}
		if got := c.stays(nil, k); got != "" {
			t.Errorf("%s without services: %q", k.Target.Name, got)
		}
	}
}
