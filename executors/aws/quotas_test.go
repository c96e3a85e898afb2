package aws

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/tenon-ml/tenon/compiler/ir"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
)

// Credentials that may not read quotas start jobs all the same, with one warning for each service. Another error
// stops the apply.
func TestQuotasThatCredentialsMayNotRead(t *testing.T) {
	for code, want := range map[string]struct {
		warning, err string
	}{
		"AccessDeniedException": {warning: "the quotas of fargate are not checked, since these credentials may not read them: grant them servicequotas:ListServiceQuotas"},
		"IllegalArgument":       {err: "read the quotas of fargate in AWS: IllegalArgument: no"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"`+code+`","message":"no"}`)
		}))
		var warnings []string
		e := New(Options{Settings: Settings{Region: "eu-central-1"}, Options: clouds.Options{Warn: func(err error) { warnings = append(warnings, err.Error()) }}})
		e.clouds["eu-central-1"] = &cloud{region: "eu-central-1", warn: e.opts.Warn, quotas: newClient(quotasService, fake(s), "aws")}
		said := ""
		for range 2 {
			if _, err := e.Admit(t.Context(), []ir.Unit{job("steps/a", nil)}); err != nil {
				said = err.Error()
			}
		}
		s.Close()
		if said != want.err || (len(warnings) == 1) != (want.warning != "") || len(warnings) == 1 && warnings[0] != want.warning {
			t.Errorf("%s: %q, with warnings %q", code, said, warnings)
		}
	}
}

// Services on Fargate run at the same time, and jobs one after another beside them.
func TestServicesOnFargateShareAQuota(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Quotas":[{"QuotaCode":"L-3032A541","QuotaName":"Fargate On-Demand vCPU resource count","Value":6}]}`)
	}))
	defer s.Close()
	e := New(Options{Settings: Settings{Region: "eu-central-1", Endpoints: map[string]Endpoint{"a": {On: "fargate"}, "b": {On: "fargate"}}}})
	e.clouds["eu-central-1"] = &cloud{region: "eu-central-1", warn: e.opts.Warn, quotas: newClient(quotasService, fake(s), "aws"), ecs: newClient(ecsService, fake(s), "aws")}
	cores := func(n int64) func(*ir.Unit) { return func(u *ir.Unit) { u.Needs.MilliCPU = 1000 * n } }
	a, b, small, large := service("a", cores(2)), service("b", cores(2)), job("steps/small", cores(1)), job("steps/large", cores(2))
	if asked, err := e.Admit(t.Context(), []ir.Unit{a, small, b, large}); err != nil || !asked {
		t.Errorf("4 and 2 of 6 cores: %v, %v", asked, err)
	}
	b.Endpoint.Replicas = 2
	want := `deployments/a, deployments/b, steps/large needs 8 of the quota "Fargate On-Demand vCPU resource count" (L-3032A541) of fargate`
	if _, err := e.Admit(t.Context(), []ir.Unit{a, small, b, large}); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// fake returns a configuration of clients of a server.
func fake(s *httptest.Server) aws.Config {
	return aws.Config{
		Region: "eu-central-1", BaseEndpoint: &s.URL, RetryMaxAttempts: 3, HTTPClient: s.Client(),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	}
}
