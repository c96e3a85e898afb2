package azure

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"sigs.k8s.io/yaml"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// clusterVersion is that of the API of Microsoft.ContainerService.
const clusterVersion = "2025-10-01"

// forClusters is the audience of tokens for the APIs of all clusters of AKS that use Microsoft Entra. Source: "Use
// kubelogin to authenticate in Azure Kubernetes Service".
const forClusters = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"

// annotationClient is the annotation of a service account with the client id of its identity. Source: "Microsoft Entra
// Workload ID", service account annotations.
const annotationClient = "azure.workload.identity/client-id"

// ReachCluster says how a cluster of AKS is reached with the credentials that Azure's own tools find. Its name is
// "aks/SUBSCRIPTION/GROUP/NAME".
func ReachCluster(ctx context.Context, cluster string) (cloud.ClusterAccess, error) {
	return newClient().reach(ctx, cluster)
}

func (c *client) reach(ctx context.Context, cluster string) (access cloud.ClusterAccess, err error) {
	parts := strings.Split(cluster, "/")
	if len(parts) != 4 || parts[0] != AKS {
		return access, fmt.Errorf("%q is not a cluster of AKS", cluster)
	}
	name := parts[3]
	// The identities of units have the prefix of the cluster, which is its name.
	w := newWriter(&ir.System{}, Settings{Subscription: parts[1], Group: parts[2], Prefix: name})
	at := w.id("Microsoft.ContainerService/managedClusters", name)
	var is struct {
		Properties struct {
			State string `json:"provisioningState"`
			FQDN  string `json:"fqdn"`
			Power struct {
				Code string `json:"code"`
			} `json:"powerState"`
		} `json:"properties"`
	}
	there, err := c.get(ctx, "the cluster "+name, forManager, c.resource(at, clusterVersion), &is)
	switch {
	case err != nil:
		return access, err
	case !there:
		return access, &cloud.NoClusterError{Name: name, Where: "the resource group " + w.Group, Fix: infrastructure}
	case is.Properties.Power.Code == "Stopped":
		return access, fmt.Errorf("the cluster %s is stopped: start it with `az aks start --resource-group %s --name %[1]s`", name, w.Group)
	case is.Properties.FQDN == "":
		return access, fmt.Errorf("the cluster %s has no API yet: its state is %s; try again when it is Succeeded", name, is.Properties.State)
	}
	var found struct {
		Kubeconfigs []struct {
			Value []byte `json:"value"`
		} `json:"kubeconfigs"`
	}
	ask := c.resource(at, clusterVersion, "listClusterUserCredential") + "&format=exec"
	if err := c.call(ctx, http.MethodPost, forManager, ask, nil, &found); err != nil {
		return access, explainCall("ask for the address of the cluster "+name, err)
	}
	for _, k := range found.Kubeconfigs {
		if access.Host, access.CA, err = serverOf(k.Value); err != nil {
			return access, fmt.Errorf("the kubeconfig of the cluster %s: %w", name, err)
		}
	}
	if access.Host == "" {
		return access, fmt.Errorf("there is no kubeconfig of the cluster %s: the role Azure Kubernetes Service Cluster User is needed", name)
	}
	tokens := &clusterTokens{cluster: name, credentials: c.credentials}
	access.Token = tokens.token
	access.Account = func(ctx context.Context, unit string) (map[string]string, error) {
		identity, err := c.property(ctx, w.id("Microsoft.ManagedIdentity/userAssignedIdentities", w.identity(unit)), identityVersion)
		return map[string]string{annotationClient: identity.Properties.Client}, err
	}
	return access, nil
}

// serverOf returns the URL of the API in a kubeconfig, and its certificates in PEM.
func serverOf(kubeconfig []byte) (host string, ca []byte, err error) {
	var is struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
				CA     []byte `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
	}
	if err := yaml.Unmarshal(kubeconfig, &is); err != nil {
		return "", nil, err
	}
	if len(is.Clusters) != 1 || !strings.HasPrefix(is.Clusters[0].Cluster.Server, "https://") {
		return "", nil, fmt.Errorf("it has %d clusters, want one at https://", len(is.Clusters))
	}
	return is.Clusters[0].Cluster.Server, is.Clusters[0].Cluster.CA, nil
}

// clusterTokens keeps the last token for a cluster while it is accepted, because credentials of the Azure CLI keep none.
type clusterTokens struct {
	cluster     string
	credentials azcore.TokenCredential

	mu   sync.Mutex
	last azcore.AccessToken
}

// tokenMargin is how long before its end a token is replaced.
const tokenMargin = 5 * time.Minute

func (t *clusterTokens) token(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Until(t.last.ExpiresOn) > tokenMargin {
		return t.last.Token, nil
	}
	token, err := t.credentials.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{forClusters}})
	if err != nil {
		return "", explainCall("make a token for the cluster "+t.cluster, err)
	}
	t.last = token
	return token.Token, nil
}
