package scaler

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// account is where a pod finds who it is for the cluster.
const account = "/var/run/secrets/kubernetes.io/serviceaccount"

// A cluster is the API of the cluster, as far as a scaler may use it. The client of Kubernetes
// would be several times as large as all of tenon-pod.
type cluster struct {
	url, namespace string
	token          string // its file: it is renewed
	client         *http.Client
}

func inCluster() (*cluster, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("not in a pod of a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
	}
	namespace, err := os.ReadFile(filepath.Join(account, "namespace"))
	if err != nil {
		return nil, fmt.Errorf("the service account of this pod: %w", err)
	}
	authority, err := os.ReadFile(filepath.Join(account, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("the service account of this pod: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s/ca.crt has no certificates", account)
	}
	return &cluster{
		url: "https://" + net.JoinHostPort(host, port), namespace: strings.TrimSpace(string(namespace)), token: filepath.Join(account, "token"),
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, IdleConnTimeout: time.Minute}},
	}, nil
}

// call sends a request. in and out are JSON objects, or nil.
func (c *cluster) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return err
	}
	token, err := os.ReadFile(c.token)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	const most = 32 << 20
	b, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var status struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(b, &status) // without a message, the status has to do
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, status.Message)
	}
	return json.Unmarshal(b, out)
}

// A scale is the subresource of a Deployment.
type scale struct {
	Spec struct {
		Replicas int `json:"replicas"`
	} `json:"spec"`
}

func (c *cluster) scalePath(deployment string) string {
	return "/apis/apps/v1/namespaces/" + url.PathEscape(c.namespace) + "/deployments/" + url.PathEscape(deployment) + "/scale"
}

// replicas returns how many a Deployment is to have.
func (c *cluster) replicas(ctx context.Context, deployment string) (int, error) {
	var s scale
	err := c.call(ctx, http.MethodGet, c.scalePath(deployment), nil, &s)
	return s.Spec.Replicas, err
}

// scale sets how many replicas a Deployment is to have.
func (c *cluster) scale(ctx context.Context, deployment string, n int) error {
	var s scale
	s.Spec.Replicas = n
	return c.call(ctx, http.MethodPatch, c.scalePath(deployment), s, &s)
}

// A onePod is what a scaler knows of a pod.
type onePod struct {
	Name, IP string
	Since    time.Time // when it became ready
	ready    bool
	ends     bool
}

// answers reports whether the cluster sends requests to a pod.
func (p onePod) answers() bool { return p.ready && !p.ends && p.IP != "" }

// pods lists the pods that have a label.
func (c *cluster) pods(ctx context.Context, selector string) ([]onePod, error) {
	var list struct {
		Items []struct {
			Metadata struct {
				Name              string     `json:"name"`
				DeletionTimestamp *time.Time `json:"deletionTimestamp"`
			} `json:"metadata"`
			Status struct {
				PodIP      string `json:"podIP"`
				Conditions []struct {
					Type               string    `json:"type"`
					Status             string    `json:"status"`
					LastTransitionTime time.Time `json:"lastTransitionTime"`
				} `json:"conditions"`
			} `json:"status"`
		} `json:"items"`
	}
	path := "/api/v1/namespaces/" + url.PathEscape(c.namespace) + "/pods?labelSelector=" + url.QueryEscape(selector)
	if err := c.call(ctx, http.MethodGet, path, nil, &list); err != nil {
		return nil, err
	}
	var all []onePod
	for _, i := range list.Items {
		p := onePod{Name: i.Metadata.Name, IP: i.Status.PodIP, ends: i.Metadata.DeletionTimestamp != nil}
		for _, cond := range i.Status.Conditions {
			if cond.Type == "Ready" {
				p.ready, p.Since = cond.Status == "True", cond.LastTransitionTime
			}
		}
		all = append(all, p)
	}
	return all, nil
}
