package aws

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	clouds "github.com/tenon-ml/tenon/executors/cloud"
)

// ReachCluster says how a cluster of EKS is reached with the credentials that AWS's own tools find. Its name is
// "eks/ACCOUNT/REGION/NAME".
func ReachCluster(ctx context.Context, cluster string) (access clouds.ClusterAccess, err error) {
	parts := strings.Split(cluster, "/")
	if len(parts) != 4 || parts[0] != EKS {
		return access, fmt.Errorf("%q is not a cluster of EKS", cluster)
	}
	account, region, name := parts[1], parts[2], parts[3]
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region), config.WithLogger(logging.Nop{}))
	if err != nil {
		return access, fmt.Errorf("read the configuration of AWS: %w", err)
	}
	cfg.RetryMaxAttempts = cmp.Or(cfg.RetryMaxAttempts, patience)
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return access, explainCall("ask whose credentials they are", err)
	}
	if is := aws.ToString(who.Account); is != account {
		return access, fmt.Errorf("the cluster %s is in the account %s, and the credentials are of %s: choose a profile of that account with AWS_PROFILE", name, account, is)
	}
	var found struct {
		Cluster struct {
			Status               string
			Endpoint             string
			CertificateAuthority struct{ Data string }
		}
	}
	err = newClient(eksService, cfg, partitionOf(region)).get(ctx, "/clusters/"+url.PathEscape(name), &found)
	if hasCode(err, "ResourceNotFoundException") {
		return access, &clouds.NoClusterError{Name: name, Where: region, Fix: infrastructure}
	}
	if err != nil {
		return access, explainCall("look for the cluster "+name, err)
	}
	c := found.Cluster
	if c.Endpoint == "" {
		return access, fmt.Errorf("the cluster %s has no API yet: its status is %s; try again when it is ACTIVE", name, c.Status)
	}
	ca, err := base64.StdEncoding.DecodeString(c.CertificateAuthority.Data)
	if err != nil {
		return access, fmt.Errorf("the certificate of the cluster %s: %w", name, err)
	}
	tokens := &clusterTokens{cluster: name, region: region, credentials: cfg.Credentials}
	return clouds.ClusterAccess{Host: c.Endpoint, CA: ca, Token: tokens.token}, nil
}

// A token of EKS is a request to STS that says who sends it, signed for one cluster. EKS sends it, and accepts the
// token for 15 minutes. Source: "API Authorization from Outside a Cluster" of aws-iam-authenticator.
const (
	tokenPrefix  = "k8s-aws-v1."
	tokenHeader  = "X-K8s-Aws-Id" // the name of the cluster
	tokenExpires = "60"           // seconds; EKS ignores it, and STS refuses a request without
	tokenLife    = 14 * time.Minute
)

// clusterTokens makes tokens for a cluster, and keeps the last one while it is accepted.
type clusterTokens struct {
	cluster, region string
	credentials     aws.CredentialsProvider

	mu      sync.Mutex
	last    string
	expires time.Time
}

func (t *clusterTokens) token(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Before(t.expires) {
		return t.last, nil
	}
	creds, err := t.credentials.Retrieve(ctx)
	if err != nil {
		return "", explainCall("make a token for the cluster "+t.cluster, fmt.Errorf("get credentials: %w", err))
	}
	token, err := clusterToken(ctx, creds, t.cluster, t.region, now)
	if err != nil {
		return "", err
	}
	t.last, t.expires = token, now.Add(tokenLife)
	if creds.CanExpire && creds.Expires.Before(t.expires) {
		t.expires = creds.Expires
	}
	return token, nil
}

// clusterToken returns the token of credentials for a cluster at a time.
func clusterToken(ctx context.Context, creds aws.Credentials, cluster, region string, at time.Time) (string, error) {
	query := url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}, "X-Amz-Expires": {tokenExpires}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://sts."+region+"."+domainOf(partitionOf(region))+"/?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	r.Header.Set(tokenHeader, cluster)
	empty := sha256.Sum256(nil)
	signed, _, err := v4.NewSigner().PresignHTTP(ctx, creds, r, hex.EncodeToString(empty[:]), "sts", region, at)
	if err != nil {
		return "", fmt.Errorf("sign a token for the cluster %s: %w", cluster, err)
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(signed)), nil
}
