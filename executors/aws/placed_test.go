package aws_test

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/aws"
)

func TestAnEndpointOfNoDeploymentIsRefused(t *testing.T) {
	sys := &ir.System{Name: "late", Target: ir.Target{Name: "cloud", Executor: aws.Name, Settings: map[string]any{
		"region": "eu-central-1", "endpoints": map[string]any{"lat": map[string]any{"on": "sagemaker", "instance": "ml.m5.large"}},
	}}, Units: []ir.Unit{{ID: "deployments/late/serve", Entity: "deployments/late", Kind: ir.Service}}}
	_, err := aws.Infrastructure(sys)
	if want := "endpoints of target cloud names lat, but the services of this system are: late"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}
