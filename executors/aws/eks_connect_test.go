package aws

import (
	"context"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/tenon-ml/tenon/internal/test/ekstest"
)

var someone = aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret", SessionToken: "session"}

// A token is the presigned request that EKS expects, and its signature covers the name of the cluster.
func TestATokenOfEKS(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	token, err := clusterToken(t.Context(), someone, "tenon-flights", "eu-central-1", at)
	if err != nil {
		t.Fatal(err)
	}
	packed, ok := strings.CutPrefix(token, "k8s-aws-v1.")
	if !ok || strings.Contains(packed, "=") {
		t.Fatalf("got %s, want unpadded base64 behind k8s-aws-v1.", token)
	}
	text, err := base64.RawURLEncoding.DecodeString(packed)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if u.Scheme != "https" || u.Host != "sts.eu-central-1.amazonaws.com" || u.Path != "/" {
		t.Errorf("it is a request to %s", u)
	}
	q := u.Query()
	for name, want := range map[string]string{
		"Action": "GetCallerIdentity", "Version": "2011-06-15", "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Date": "20261130T120000Z", "X-Amz-Expires": "60",
		"X-Amz-Credential": "AKIDEXAMPLE/20261130/eu-central-1/sts/aws4_request", "X-Amz-SignedHeaders": "host;x-k8s-aws-id", "X-Amz-Security-Token": "session",
	} {
		if got := q.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	// STS computes the signature from the request that EKS sends, with the name of its own cluster.
	for cluster, same := range map[string]bool{"tenon-flights": true, "another": false} {
		again, err := clusterToken(t.Context(), someone, cluster, "eu-central-1", at)
		if err != nil {
			t.Fatal(err)
		}
		if (again == token) != same {
			t.Errorf("the signature for %s is the same: %v", cluster, !same)
		}
	}
	china, err := clusterToken(t.Context(), someone, "c", "cn-north-1", at)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(china, tokenPrefix)); !strings.HasPrefix(string(text), "https://sts.cn-north-1.amazonaws.com.cn/") {
		t.Errorf("in China, it is a request to %s", text)
	}
}

// A token is used again until it or its credentials expire.
func TestTokensAreReplaced(t *testing.T) {
	calls := 0
	provider := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		calls++
		c := someone
		c.CanExpire, c.Expires = calls == 1, time.Now().Add(-time.Second)
		return c, nil
	})
	tokens := &clusterTokens{cluster: "c", region: "eu-central-1", credentials: provider}
	for range 3 {
		if _, err := tokens.token(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 2 {
		t.Errorf("credentials were asked for %d times, want 2: the first ones had expired", calls)
	}
	if left := time.Until(tokens.expires); left > 15*time.Minute || left < 10*time.Minute {
		t.Errorf("a token is used for %s", left)
	}
}

func TestAClusterIsFound(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	ekstest.Serve(t, map[string]ekstest.Cluster{"there": {Status: "ACTIVE", Endpoint: "https://api.example", CA: []byte("PEM")}, "coming": {Status: "CREATING"}})
	access, err := ReachCluster(t.Context(), "eks/123456789012/us-east-1/there")
	if err != nil {
		t.Fatal(err)
	}
	if access.Host != "https://api.example" || string(access.CA) != "PEM" {
		t.Errorf("got %+v", access)
	}
	for cluster, want := range map[string]string{
		"eks/123456789012/us-east-1/coming": "its status is CREATING",
		"eks/123456789012/us-east-1/gone":   "there is no cluster gone in us-east-1: apply the infrastructure",
		"eks/210987654321/us-east-1/there":  "is in the account 210987654321, and the credentials are of 123456789012",
		"gke/p/r/c":                         "is not a cluster of EKS",
	} {
		if _, err := ReachCluster(t.Context(), cluster); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", cluster, err, want)
		}
	}
}
