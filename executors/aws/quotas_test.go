package aws

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
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

// fake returns a configuration of clients of a server.
func fake(s *httptest.Server) aws.Config {
	return aws.Config{
		Region: "eu-central-1", BaseEndpoint: &s.URL, RetryMaxAttempts: 3, HTTPClient: s.Client(),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	}
}
