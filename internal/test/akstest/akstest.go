// Package akstest answers as the parts of Azure do through which a cluster of AKS is reached: the identity of a machine,
// the calls of Azure Resource Manager that describe a cluster and the identities of units, and the check of tokens in front
// of its API. It stands for AKS, which no emulator runs.
package akstest

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/tenon-ml/tenon/internal/test/fronttest"
)

// Where the clusters are.
const (
	Subscription = "00000000-1111-2222-3333-444444444444"
	Group        = "acme-ml"
	providers    = "/subscriptions/" + Subscription + "/resourceGroups/" + Group + "/providers/"
)

// A Cluster is what AKS says about one.
type Cluster struct {
	State    string // of its provisioning; "" is Succeeded
	Endpoint string // URL; "" is none yet
	CA       []byte // PEM
	Stopped  bool
	Units    map[string]string // client ids of the identities of units, by name
}

// Applications for which there are tokens. Source: "Use kubelogin to authenticate in Azure Kubernetes Service".
const (
	clusters = "6dae42f8-4368-4678-94ff-3960e28e3630"
	manager  = "https://management.azure.com"
	secret   = "identity"
)

// tokenFor returns a token for an application.
func tokenFor(application string) string { return "entra " + application }

// Check checks a token as a cluster of AKS does.
func Check(token string) error {
	if token != tokenFor(clusters) {
		return errors.New("the token is for another application")
	}
	return nil
}

// Front serves the API of a cluster of Kubernetes as AKS does: over TLS, to those who have a token for it. They are then
// who config says. Units are the client ids of the identities of units, by name.
func Front(t testing.TB, config *rest.Config, units map[string]string) Cluster {
	t.Helper()
	at, ca := fronttest.Serve(t, config, func(_ context.Context, token string) error { return Check(token) })
	return Cluster{Endpoint: at, CA: ca, Units: units}
}

// Serve answers for clusters, by name, at $TENON_AZURE_ENDPOINT, until the test ends.
func Serve(t testing.TB, all map[string]Cluster) {
	t.Helper()
	machine := httptest.NewServer(http.HandlerFunc(identity))
	t.Cleanup(machine.Close)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+tokenFor(manager) {
			refuse(w, http.StatusUnauthorized, "InvalidAuthenticationToken")
			return
		}
		answer(w, r, all)
	}))
	t.Cleanup(server.Close)
	for k, v := range map[string]string{"TENON_AZURE_ENDPOINT": server.URL, "IDENTITY_ENDPOINT": machine.URL, "IDENTITY_HEADER": secret} {
		t.Setenv(k, v)
	}
	for _, k := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"} {
		t.Setenv(k, "") // so that it is set again afterwards
		_ = os.Unsetenv(k)
	}
	trust(t, server.Certificate())
}

// trust makes clients of the default transport trust a certificate, until the test ends.
func trust(t testing.TB, cert *x509.Certificate) {
	t.Helper()
	former, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		t.Fatalf("the default transport is a %T", http.DefaultTransport)
	}
	mine := former.Clone()
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	mine.TLSClientConfig.RootCAs = roots
	http.DefaultTransport = mine
	t.Cleanup(func() {
		http.DefaultTransport = former
		mine.CloseIdleConnections()
	})
}

// identity answers as the identity of a machine does.
func identity(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Identity-Header") != secret {
		refuse(w, http.StatusUnauthorized, "unauthorized_client")
		return
	}
	application := r.URL.Query().Get("resource")
	// Azure's library keeps a token for all tests of a process, unless it expires soon.
	write(w, map[string]string{"access_token": tokenFor(application), "expires_on": fmt.Sprint(time.Now().Add(time.Minute).Unix()), "resource": application, "token_type": "Bearer"})
}

func answer(w http.ResponseWriter, r *http.Request, all map[string]Cluster) {
	rest, ok := strings.CutPrefix(r.URL.Path, providers)
	provider, name := path.Split(strings.TrimSuffix(rest, "/listClusterUserCredential"))
	c, there := all[name]
	switch {
	case !ok || r.URL.Query().Get("api-version") == "":
		refuse(w, http.StatusBadRequest, "InvalidRequest")
	case provider == "Microsoft.ManagedIdentity/userAssignedIdentities/":
		for _, c := range all {
			if client, ok := c.Units[name]; ok {
				write(w, map[string]any{"properties": map[string]any{"clientId": client}})
				return
			}
		}
		refuse(w, http.StatusNotFound, "ResourceNotFound")
	case provider != "Microsoft.ContainerService/managedClusters/" || !there:
		refuse(w, http.StatusNotFound, "ResourceNotFound")
	case r.Method == http.MethodPost && r.URL.Query().Get("format") == "exec" && strings.HasSuffix(rest, "/listClusterUserCredential"):
		write(w, map[string]any{"kubeconfigs": []any{map[string]any{"name": "clusterUser", "value": c.kubeconfig()}}})
	case r.Method == http.MethodGet:
		is := map[string]any{"provisioningState": "Succeeded", "powerState": map[string]any{"code": "Running"}}
		if c.State != "" {
			is["provisioningState"] = c.State
		}
		if c.Stopped {
			is["powerState"] = map[string]any{"code": "Stopped"}
		}
		if c.Endpoint != "" {
			is["fqdn"] = strings.TrimPrefix(c.Endpoint, "https://")
		}
		write(w, map[string]any{"properties": is})
	default:
		refuse(w, http.StatusBadRequest, "InvalidRequest")
	}
}

// kubeconfig returns what AKS answers for a cluster whose accounts are those of Microsoft Entra.
func (c Cluster) kubeconfig() []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: c
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: u
  user:
    exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: kubelogin, args: [get-token, --server-id, %s]}
`, c.Endpoint, base64.StdEncoding.EncodeToString(c.CA), clusters)
}

func write(w http.ResponseWriter, what any) { _ = json.NewEncoder(w).Encode(what) }

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	write(w, map[string]any{"error": map[string]string{"code": code, "message": code}})
}
