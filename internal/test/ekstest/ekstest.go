// Package ekstest answers as the parts of AWS do through which a cluster of EKS is reached: STS, the call that
// describes a cluster, and the check of tokens in front of its API. It stands for EKS, which no emulator runs.
package ekstest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"k8s.io/client-go/rest"

	"github.com/tenon-ml/tenon/internal/test/fronttest"
	"github.com/tenon-ml/tenon/internal/test/s3test"
)

// Where the clusters are.
const (
	Account = "123456789012"
	Region  = s3test.Region
)

// A Cluster is what EKS says about one.
type Cluster struct {
	Status, Endpoint string
	CA               []byte // PEM
}

// noBody is the SHA-256 of nothing.
const noBody = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// timeFormat is that of signatures.
const timeFormat = "20060102T150405Z"

// credentials are those of the environment: whoever signs with others is refused.
func credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY")}
}

// Serve answers for clusters, by name, at $AWS_ENDPOINT_URL, until the test ends.
func Serve(t testing.TB, clusters map[string]Cluster) {
	t.Helper()
	ServeFound(t, func(name string) (c Cluster, ok bool) {
		c, ok = clusters[name]
		return c, ok
	})
}

// ServeFound is Serve for the clusters that find returns. It is called by several goroutines.
func ServeFound(t testing.TB, find func(name string) (Cluster, bool)) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost { // STS
			fmt.Fprintf(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Account>%s</Account><Arn>arn:aws:iam::%[1]s:user/ann</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>`, Account)
			return
		}
		refuse := func(status int, code string) {
			w.Header().Set("X-Amzn-ErrorType", code)
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"message":%q}`, code)
		}
		if !isSigned(r) {
			refuse(http.StatusForbidden, "SignatureDoesNotMatch")
			return
		}
		c, ok := find(strings.TrimPrefix(r.URL.Path, "/clusters/"))
		if !ok {
			refuse(http.StatusNotFound, "ResourceNotFoundException")
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"cluster": map[string]any{
			"status": c.Status, "endpoint": c.Endpoint, "certificateAuthority": map[string]any{"data": base64.StdEncoding.EncodeToString(c.CA)},
		}})
	}))
	t.Cleanup(server.Close)
	for k, v := range map[string]string{"AWS_ENDPOINT_URL": server.URL, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull} {
		t.Setenv(k, v)
	}
}

// isSigned reports whether a request without a body is signed for EKS.
func isSigned(r *http.Request) bool {
	at, err := time.Parse(timeFormat, r.Header.Get("X-Amz-Date"))
	if err != nil {
		return false
	}
	again := r.Clone(r.Context())
	again.Header, again.URL.Host = http.Header{}, r.Host
	err = v4.NewSigner().SignHTTP(r.Context(), credentials(), again, noBody, "eks", Region, at)
	return err == nil && again.Header.Get("Authorization") == r.Header.Get("Authorization")
}

// Front serves the API of a cluster of Kubernetes as EKS does: over TLS, to those who have a token for the cluster of a
// name. They are then who config says.
func Front(t testing.TB, name string, config *rest.Config) Cluster {
	t.Helper()
	at, ca := fronttest.Serve(t, config, func(ctx context.Context, token string) error { return Check(ctx, token, name) })
	return Cluster{Status: "ACTIVE", Endpoint: at, CA: ca}
}

// Check checks a token for a cluster as EKS does, and the signature in it as STS does.
func Check(ctx context.Context, token, cluster string) error {
	packed, ok := strings.CutPrefix(token, "k8s-aws-v1.")
	text, err := base64.RawURLEncoding.DecodeString(packed)
	if !ok || err != nil {
		return errors.New("the token has another form")
	}
	u, err := url.Parse(string(text))
	if err != nil {
		return err
	}
	q := u.Query()
	at, err := time.Parse(timeFormat, q.Get("X-Amz-Date"))
	if age := time.Since(at); err != nil || age > 15*time.Minute || age < -15*time.Minute {
		return errors.New("the token has expired")
	}
	asked := url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}, "X-Amz-Expires": {q.Get("X-Amz-Expires")}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://sts."+Region+".amazonaws.com/?"+asked.Encode(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("X-K8s-Aws-Id", cluster)
	want, _, err := v4.NewSigner().PresignHTTP(ctx, credentials(), r, noBody, "sts", Region, at)
	if err != nil {
		return err
	}
	if want != string(text) {
		return errors.New("the signature is another one")
	}
	return nil
}
