package azure

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/internal/test/akstest"
)

// clusterTarget is one with the defaults of tenon.#AKS.
func clusterTarget(more map[string]any) ir.Target {
	all := map[string]any{
		"cluster": "aks", "subscription": subscription, "resource_group": "acme-ml", "location": "westeurope", "folder": "tenon", "registry": "Basic",
		"version": "1.34", "namespace": "ml", "access": []string{"192.0.2.0/24"}, "device_plugin": "nvcr.io/nvidia/k8s-device-plugin:v0.17.1",
	}
	for k, v := range more {
		all[k] = v
	}
	return ir.Target{Name: "aks", Executor: "kubernetes", Settings: all}
}

// withClusters returns all systems of golden files.
func withClusters() map[string]*ir.System {
	month := 2000 * money.One
	all := systems()
	all["cluster"] = &ir.System{
		Name: "flights", Env: "prod", Budget: ir.Budget{Currency: "EUR", Month: &month},
		Target: clusterTarget(map[string]any{
			"admins": []string{"00000000-aaaa-bbbb-cccc-444444444444"},
			"pools": map[string]any{
				"gpu": map[string]any{"size": "Standard_NC48ads_A100_v4", "max": 4, "spot": true, "zones": []string{"1", "3"}},
				"t4":  map[string]any{"size": "Standard_NC64as_T4_v3", "min": 1, "max": 2, "labels": map[string]any{"acme.example/old": "yes"}, "taints": []any{map[string]any{"key": "old", "value": "yes", "effect": "NoExecute"}}},
			},
		}),
		Units: []ir.Unit{
			job("features/late", nil),
			job("models/late/train", func(u *ir.Unit) { u.Checkpoints, u.Needs = 3, ir.Resources{GPU: 2, GPUModel: "A100"} }),
			service("api", func(u *ir.Unit) { u.Ships = []ir.Shipment{{Folder: "requests"}} }),
		},
	}
	all["cluster-existing"] = &ir.System{Name: "notify", Units: []ir.Unit{job("steps/Report.2", nil)}, Target: clusterTarget(map[string]any{
		"prefix": "acme-ml", "access": []string{"0.0.0.0/0"},
		"existing": map[string]any{
			"resource_group": true, "storage": map[string]any{"account": "acmeml", "container": "ml"}, "registry": "acmeImages",
			"subnet": group + "/providers/Microsoft.Network/virtualNetworks/ml/subnets/nodes",
		},
		"pools": map[string]any{"cpu": map[string]any{"size": "Standard_D8s_v5", "max": 4}},
	})}
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

// The executor for Kubernetes uses the container of blobs, the registry and the pools that the files make.
func TestWhatTheExecutorKnowsOfACluster(t *testing.T) {
	sys := withClusters()["cluster"]
	c, err := ClusterOf(sys.Target, sys.Name, sys.Env)
	if err != nil {
		t.Fatal(err)
	}
	const name = "tenonflightsproddc748e9a"
	want := &cloud.Cluster{
		Name: "aks/" + subscription + "/acme-ml/tenon-flights-prod", Store: "azblob://artifacts/tenon/flights/prod?storage_account=" + name,
		Registry: name + ".azurecr.io/tenon-flights-prod", Labels: map[string]string{"azure.workload.identity/use": "true"},
		Undisturbed: map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
		Tolerations: []ir.Toleration{{Key: "kubernetes.azure.com/scalesetpriority", Value: "spot", Effect: "NoSchedule"}}, Owned: []string{daemons},
		Pools: []cloud.Pool{{Name: "gpu", GPUs: 2, Model: "NVIDIA A100", Memory: 80 << 30}, {Name: "t4", GPUs: 4, Model: "NVIDIA T4", Memory: 16 << 30}},
	}
	if diff := cmp.Diff(want, c, cmpopts.IgnoreFields(cloud.Cluster{}, "Objects")); diff != "" {
		t.Error(diff)
	}
	if len(c.Objects) != 1 || c.Objects[0].Path != daemons+"/tenon-nvidia-device-plugin" {
		t.Errorf("objects are %+v", c.Objects)
	}
	files := cloudtest.Texts(write(t, sys))
	for file, text := range map[string]string{
		"cluster.tf": `"tenon-flights-prod"`, "storage.tf": `"` + name + `"`, "images.tf": `"` + name + `"`,
		"nodes.tf": `"tenon.dev/pool" = "units"`, "rights.tf": `"system:serviceaccount:ml:tenon-models-late-train"`,
	} {
		if !strings.Contains(files[file], text) {
			t.Errorf("%s does not have %s:\n%s", file, text, files[file])
		}
	}
}

// Without GPUs, the cluster needs no device plugin: one of a former pool is removed, because it is owned.
func TestAClusterWithoutGPUsHasNoDevicePlugin(t *testing.T) {
	c, err := ClusterOf(clusterTarget(nil), "flights", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Objects) > 0 || len(c.Pools) > 0 || c.Tolerations != nil || len(c.Owned) != 1 {
		t.Errorf("got %+v", c)
	}
}

func TestPoolsThatAreRefused(t *testing.T) {
	c, err := ClusterOf(clusterTarget(map[string]any{"pools": map[string]any{
		"fine":    map[string]any{"size": "Standard_ND96isr_H100_v5", "max": 1},
		"part":    map[string]any{"size": "Standard_NV6ads_A10_v5", "max": 1},
		"unknown": map[string]any{"size": "Standard_NC12", "max": 1},
		"empty":   map[string]any{"size": "Standard_D4s_v5", "min": 2, "max": 1},
	}}), "flights", "")
	if err != nil {
		t.Fatal(err)
	}
	cloudtest.Refused(t, c.Faults, []string{"pools.empty.min", "pools.part.size", "pools.unknown.size"})
}

func TestAClusterIsFound(t *testing.T) {
	akstest.Serve(t, map[string]akstest.Cluster{
		"there":  {Endpoint: "https://there.example:443", CA: []byte("PEM"), Units: map[string]string{"there-steps-count": "client"}},
		"coming": {State: "Creating"}, "off": {Endpoint: "https://off.example", Stopped: true}, "odd": {Endpoint: "http://odd.example"},
	})
	of := func(name string) string { return "aks/" + akstest.Subscription + "/" + akstest.Group + "/" + name }
	access, err := ReachCluster(t.Context(), of("there"))
	if err != nil {
		t.Fatal(err)
	}
	if access.Host != "https://there.example:443" || string(access.CA) != "PEM" {
		t.Errorf("got %+v", access)
	}
	token, err := access.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := akstest.Check(token); err != nil {
		t.Error(err)
	}
	annotations, err := access.Account(t.Context(), "steps/count")
	if err != nil || annotations["azure.workload.identity/client-id"] != "client" {
		t.Errorf("got %v, %v", annotations, err)
	}
	if _, err := access.Account(t.Context(), "steps/new"); err == nil || !strings.Contains(err.Error(), "there is no Microsoft.ManagedIdentity/userAssignedIdentities/there-steps-new: apply the infrastructure") {
		t.Errorf("got %v", err)
	}
	for cluster, want := range map[string]string{
		of("coming"): "its state is Creating", of("off"): "az aks start", of("odd"): "want one at https://",
		of("gone"): "there is no cluster gone in the resource group " + akstest.Group + ": apply the infrastructure", "eks/1/r/c": "is not a cluster of AKS",
	} {
		if _, err := ReachCluster(t.Context(), cluster); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", cluster, err, want)
		}
	}
}

// A token is for the clusters of AKS, and is used again until it is about to expire.
func TestTokensAreReplaced(t *testing.T) {
	asked := &countingCredentials{life: time.Minute}
	tokens := &clusterTokens{cluster: "c", credentials: asked}
	for range 3 {
		if _, err := tokens.token(t.Context()); err != nil {
			t.Fatal(err)
		}
		asked.life = time.Hour
	}
	if asked.calls != 2 || asked.scope != "6dae42f8-4368-4678-94ff-3960e28e3630/.default" {
		t.Errorf("credentials were asked %d times, for %s; want twice: the first token was about to expire", asked.calls, asked.scope)
	}
}

// countingCredentials count how often they are asked.
type countingCredentials struct {
	calls int
	scope string
	life  time.Duration
}

func (c *countingCredentials) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.calls++
	c.scope = strings.Join(o.Scopes, " ")
	return azcore.AccessToken{Token: "token", ExpiresOn: time.Now().Add(c.life)}, nil
}

// The page for users says which version of the provider was compared.
func TestThePageOfClustersNamesTheProvider(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "clusters.md"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "azurerm " + cloudtest.Schema(t).Version; !strings.Contains(string(text), want) {
		t.Errorf("docs/clusters.md does not say that %s was compared", want)
	}
}
