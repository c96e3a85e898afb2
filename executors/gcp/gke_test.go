package gcp

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/internal/money"
)

// clusterSettings are those of a target with the defaults of tenon.#GKE.
func clusterSettings(more map[string]any) map[string]any {
	all := map[string]any{"cluster": "gke", "project": "acme-ml-1", "region": "europe-west3", "folder": "tenon", "channel": "REGULAR", "namespace": "ml", "cidr": "10.40.0.0/20"}
	for k, v := range more {
		all[k] = v
	}
	return all
}

// withClusters returns all systems of golden files.
func withClusters() map[string]*ir.System {
	month := 2000 * money.One
	all := systems()
	all["cluster"] = &ir.System{
		Name: "flights", Env: "prod", Budget: ir.Budget{Currency: "EUR", Month: &month},
		Target: ir.Target{Name: "gke", Executor: "kubernetes", Settings: clusterSettings(map[string]any{
			"access": []string{"192.0.2.0/24"}, "billing_account": "01ABCD-23EF45-678901",
			"pools": map[string]any{
				"gpu": map[string]any{"machine": "g2-standard-24", "max": 4, "spot": true, "zones": []string{"europe-west3-a"}},
				"t4":  map[string]any{"machine": "n1-standard-8", "accelerator": "nvidia-tesla-t4", "count": 4, "max": 1, "labels": map[string]any{"acme.example/old": "yes"}, "taints": []any{map[string]any{"key": "old", "value": "yes", "effect": "NoExecute"}}},
			},
		})},
		Units: []ir.Unit{
			job("features/late", nil),
			job("models/late/train", func(u *ir.Unit) { u.Checkpoints, u.Needs = 3, ir.Resources{GPU: 2, GPUModel: "L4"} }),
			service("api", func(u *ir.Unit) { u.Ships = []ir.Shipment{{Folder: "requests"}} }),
		},
	}
	all["cluster-existing"] = &ir.System{Name: "notify", Units: []ir.Unit{job("steps/Report.2", nil)}, Target: ir.Target{Name: "gke", Executor: "kubernetes", Settings: clusterSettings(map[string]any{
		"prefix": "acme-ml", "existing": map[string]any{"bucket": "acme-ml", "repository": "ml-images", "network": map[string]any{"network": "ml", "subnetwork": "ml-nodes"}},
		"pools": map[string]any{"cpu": map[string]any{"machine": "n2-standard-8", "min": 1, "max": 4}},
	})}}
	return all
}

// checked checks a unit as its executor does.
func checked(t ir.Target, u ir.Unit) []ir.Fault {
	if t.Executor == Name {
		return Check(t, u)
	}
	c, err := ClusterOf(t, "flights", "prod")
	if err != nil {
		return []ir.Fault{{Message: err.Error()}}
	}
	return c.Check(u)
}

// The executor for Kubernetes uses the bucket, the repository and the pools that the files make.
func TestWhatTheExecutorKnowsOfACluster(t *testing.T) {
	sys := withClusters()["cluster"]
	c, err := ClusterOf(sys.Target, sys.Name, sys.Env)
	if err != nil {
		t.Fatal(err)
	}
	want := &cloud.Cluster{
		Name: "gke/acme-ml-1/europe-west3/tenon-flights-prod", Store: "gs://tenon-flights-prod-acme-ml-1/tenon/flights/prod",
		Registry: "europe-west3-docker.pkg.dev/acme-ml-1/tenon-flights-prod", Identity: []string{"169.254.169.254/32"},
		Undisturbed: map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
		Pools:       []cloud.Pool{{Name: "gpu", GPUs: 2, Model: "NVIDIA L4", Memory: 24 << 30}, {Name: "t4", GPUs: 4, Model: "NVIDIA T4", Memory: 16 << 30}},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	files := cloudtest.Texts(write(t, sys))
	for file, text := range map[string]string{
		"cluster.tf": `name       = "tenon-flights-prod"`, "storage.tf": `"tenon-flights-prod-${var.project}"`, "images.tf": `"tenon-flights-prod"`,
		"nodes.tf": `"tenon.dev/pool" = "units"`, "rights.tf": "/subject/ns/ml/sa/tenon-models-late-train",
	} {
		if !strings.Contains(files[file], text) {
			t.Errorf("%s does not have %s:\n%s", file, text, files[file])
		}
	}
}

func TestPoolsThatAreRefused(t *testing.T) {
	c, err := ClusterOf(ir.Target{Settings: clusterSettings(map[string]any{"pools": map[string]any{
		"fine":    map[string]any{"machine": "a2-ultragpu-8g", "max": 1},
		"attach":  map[string]any{"machine": "e2-standard-4", "accelerator": "nvidia-tesla-t4", "max": 1},
		"unknown": map[string]any{"machine": "a4-highgpu-8g", "max": 1},
		"empty":   map[string]any{"machine": "e2-standard-4", "min": 2, "max": 1},
	}})}, "flights", "")
	if err != nil {
		t.Fatal(err)
	}
	cloudtest.Refused(t, c.Faults, []string{"pools.attach.accelerator", "pools.empty.min", "pools.unknown.machine"})
}

func TestAClusterIsFound(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer ours":
			refuse(w, http.StatusUnauthorized, `{"error": {"status": "UNAUTHENTICATED", "message": "who"}}`)
		case r.URL.Path == "/v1/projects/p/locations/r/clusters/there":
			fmt.Fprintf(w, `{"status": "RUNNING", "endpoint": "192.0.2.1", "masterAuth": {"clusterCaCertificate": %q}}`, base64.StdEncoding.EncodeToString([]byte("PEM")))
		case strings.HasSuffix(r.URL.Path, "/coming"):
			fmt.Fprint(w, `{"status": "PROVISIONING"}`)
		default:
			refuse(w, http.StatusNotFound, `{"error": {"status": "NOT_FOUND", "message": "Not found"}}`)
		}
	}))
	t.Cleanup(server.Close)
	c := &client{plain: server.Client(), container: server.URL, tokens: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "ours"})}
	access, err := c.reach(t.Context(), "gke/p/r/there")
	if err != nil {
		t.Fatal(err)
	}
	token, err := access.Token(t.Context())
	if err != nil || token != "ours" || access.Host != "https://192.0.2.1" || string(access.CA) != "PEM" {
		t.Errorf("got %+v, %q, %v", access, token, err)
	}
	for cluster, want := range map[string]string{
		"gke/p/r/coming": "its status is PROVISIONING", "gke/p/r/gone": "there is no cluster gone in r: apply the infrastructure", "eks/1/r/c": "is not a cluster of GKE",
	} {
		if _, err := c.reach(t.Context(), cluster); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", cluster, err, want)
		}
	}
}

// The page for users says which version of the provider was compared.
func TestThePageOfClustersNamesTheProvider(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "clusters.md"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "google " + cloudtest.Schema(t).Version; !strings.Contains(string(text), want) {
		t.Errorf("docs/clusters.md does not say that %s was compared", want)
	}
}
