package gcp

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/tenon-ml/tenon/executors/cloud"
)

// ReachCluster says how a cluster of GKE is reached with the credentials that Google's own tools find. Its name is
// "gke/PROJECT/REGION/NAME".
func ReachCluster(ctx context.Context, cluster string) (access cloud.ClusterAccess, err error) {
	return newClient().reach(ctx, cluster)
}

func (c *client) reach(ctx context.Context, cluster string) (access cloud.ClusterAccess, err error) {
	parts := strings.Split(cluster, "/")
	if len(parts) != 4 || parts[0] != GKE {
		return access, fmt.Errorf("%q is not a cluster of GKE", cluster)
	}
	project, region, name := parts[1], parts[2], parts[3]
	var found struct {
		Status     string
		Endpoint   string
		MasterAuth struct{ ClusterCaCertificate string }
	}
	err = c.call(ctx, http.MethodGet, c.container+"/v1/projects/"+project+"/locations/"+region+"/clusters/"+name, nil, &found)
	if isStatus(err, http.StatusNotFound) {
		return access, &cloud.NoClusterError{Name: name, Where: region, Fix: infrastructure}
	}
	if err != nil {
		return access, explainCall("look for the cluster "+name, err)
	}
	if found.Endpoint == "" {
		return access, fmt.Errorf("the cluster %s has no API yet: its status is %s; try again when it is RUNNING", name, found.Status)
	}
	ca, err := base64.StdEncoding.DecodeString(found.MasterAuth.ClusterCaCertificate)
	if err != nil {
		return access, fmt.Errorf("the certificate of the cluster %s: %w", name, err)
	}
	return cloud.ClusterAccess{Host: "https://" + found.Endpoint, CA: ca, Token: func(ctx context.Context) (string, error) {
		token, err := c.token(ctx) // which it replaces before it expires
		if err != nil {
			return "", explainCall("make a token for the cluster "+name, err)
		}
		return token.AccessToken, nil
	}}, nil
}
