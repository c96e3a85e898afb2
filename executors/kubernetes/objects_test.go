package kubernetes

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/executortest"
)

// The files in testdata hold the objects of a task, one file per case. TENON_UPDATE=1
// rewrites them.
func TestObjects(t *testing.T) {
	plain := Settings{Namespace: "ml", Store: "s3://acme/tenon", System: "churn"}
	closed := plain
	closed.StoreNetwork, closed.StoreSecret = []string{"10.0.0.0/8", "fd00::/8"}, "acme"
	shared := Settings{
		Namespace: "ml", Store: "file:///mnt/store/tenon", StoreVolume: &Volume{Claim: "store", Path: "/mnt/store"},
		PullSecrets: []string{"pull"}, System: "churn",
		Placement: ir.Placement{
			NodeSelector: map[string]string{"arch": "amd64", "pool": "cpu"}, Tolerations: []ir.Toleration{{}},
			PriorityClass: "batch", Queue: "research", ServiceAccount: "ml",
			Labels: map[string]string{"team": "growth", "cost": "1"}, Annotations: map[string]string{"acme.example/owner": "growth"},
		},
	}
	made := closed
	made.StoreSecret = ""
	made.Cluster = &cloud.Cluster{
		Identity: []string{"169.254.170.23/32"}, Undisturbed: map[string]string{"karpenter.sh/do-not-disrupt": "true"},
		Pools: []cloud.Pool{{Name: "l4", GPUs: 1, Model: "NVIDIA L4", Memory: 24 << 30}, {Name: "h100", GPUs: 8, Model: "NVIDIA H100", Memory: 80 << 30}, {Name: "h100-spot", GPUs: 8, Model: "NVIDIA H100", Memory: 80 << 30}},
	}
	for name, c := range map[string]struct {
		settings Settings
		unit     ir.Unit
		env      map[string]string
	}{
		"job_in_a_cluster_that_tenon_makes": {made, ir.Unit{ID: "models/late/train", Kind: ir.Job, Needs: ir.Resources{GPU: 2, GPUModel: "H100", GPUMemory: 40e9}}, nil},
		"job":                               {plain, ir.Unit{ID: "steps/report", Kind: ir.Job}, nil},
		"job_with_needs": {closed, ir.Unit{
			ID: "models/late/train", Kind: ir.Job, Timeout: 90*time.Minute + time.Millisecond,
			Needs: ir.Resources{MilliCPU: 1500, Memory: 4 << 30, Disk: 10e9, GPU: 2, GPUMemory: 40e9, GPUModel: "NVIDIA H200"},
		}, nil},
		"job_on_slices": {plain, ir.Unit{ID: "models/late/train", Kind: ir.Job, Needs: ir.Resources{GPU: 1, GPUSlice: "1g.10gb", GPUMemory: 10e9}}, nil},
		"job_on_nodes":  {closed, ir.Unit{ID: "steps/train", Kind: ir.Job, Needs: ir.Resources{MilliCPU: 1000, Nodes: 4}}, nil},
		"job_placed": {shared, ir.Unit{ID: "steps/report", Kind: ir.Job, Network: ir.NetworkNone, Kubernetes: &ir.Placement{
			NodeSelector: map[string]string{"pool": "gpu"}, Tolerations: []ir.Toleration{{Key: "nvidia.com/gpu", Value: "yes", Effect: "NoSchedule"}},
			PriorityClass: "urgent", Queue: "training", ServiceAccount: "trainer", Token: true,
			Labels: map[string]string{"cost": "2"}, Annotations: map[string]string{"acme.example/ticket": "ML-7"},
		}}, nil},
		"job_with_secrets": {closed, ir.Unit{ID: "steps/publish", Kind: ir.Job, Network: ir.NetworkOpen, Secrets: []ir.Secret{
			{Name: "TOKEN", Env: "HUB_TOKEN"},
			{Name: "KEY", File: "/run/secrets/key", As: ir.AsFile},
			{Name: "DSN", Kubernetes: &ir.SecretKey{Name: "database", Key: "dsn"}},
			{Name: "CERT", Kubernetes: &ir.SecretKey{Name: "tls", Key: "tls.crt"}, As: ir.AsFile},
		}}, map[string]string{"TOKEN": "correct", "KEY": "horse"}},
		"service": {closed, ir.Unit{
			ID: "deployments/api", Kind: ir.Service, Needs: ir.Resources{MilliCPU: 500, Memory: 512 << 20},
			Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/readyz", Replicas: 1},
		}, nil},
		"service_without_endpoint": {closed, ir.Unit{
			ID: "steps/consume", Kind: ir.Service, Network: ir.NetworkOpen, Timeout: time.Minute, Needs: ir.Resources{MilliCPU: 500},
		}, nil},
		"service_that_follows_requests": {plain, ir.Unit{
			ID: "deployments/api", Kind: ir.Service, Needs: ir.Resources{MilliCPU: 500},
			Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 8443, Ready: "/readyz", Replicas: 1, TLS: true, Management: &ir.Listen{Host: "127.0.0.1", Port: 9090}, Scale: &ir.Scale{Max: 9, CPU: 60, InFlight: 8, Idle: time.Minute}},
		}, nil},
		"service_of_no_pods": {plain, ir.Unit{
			ID: "deployments/api", Kind: ir.Service,
			Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 80, Ready: "/readyz", Scale: &ir.Scale{Max: 1, CPU: 60, InFlight: 8, Idle: time.Minute}},
		}, nil},
		"service_with_replicas": {plain, ir.Unit{
			ID: "deployments/api", Kind: ir.Service, Timeout: time.Minute,
			Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 80, Ready: "/readyz", Replicas: 3},
		}, nil},
		"service_with_tls": {plain, ir.Unit{
			ID: "deployments/api", Kind: ir.Service,
			Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 8443, Ready: "/readyz", Replicas: 1, TLS: true},
		}, nil},
		"service_with_management": {plain, ir.Unit{
			ID: "deployments/api", Kind: ir.Service,
			Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 8443, Ready: "/readyz", Replicas: 1, TLS: true, Management: &ir.Listen{Host: "127.0.0.1", Port: 9090}},
		}, nil},
		"service_that_scales": {shared, ir.Unit{
			ID: "deployments/Front_end", Kind: ir.Service, Needs: ir.Resources{MilliCPU: 500},
			Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/readyz", Replicas: 2, Scale: &ir.Scale{Max: 9, CPU: 60}},
		}, nil},
		"service_exposed": {plain, ir.Unit{
			ID: "deployments/api", Kind: ir.Service, Endpoint: &ir.Endpoint{Port: 8080, Ready: "/readyz", Replicas: 1},
			Kubernetes: &ir.Placement{Expose: &ir.Exposure{
				Host: "late.acme.example", Path: "/", TLS: "late-tls", Class: "nginx", Annotations: map[string]string{"acme.example/owner": "growth"},
			}},
		}, nil},
		"service_behind_a_gateway": {plain, ir.Unit{
			ID: "deployments/api", Kind: ir.Service, Endpoint: &ir.Endpoint{Port: 8080, Ready: "/readyz", Replicas: 1},
			Kubernetes: &ir.Placement{Expose: &ir.Exposure{Host: "acme.example", Path: "/late", Gateway: "infra/public"}},
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			task := executors.Task{Unit: c.unit, Name: executors.TaskName("", c.unit.ID, "0123456789abcdef", 1), Env: c.env}
			objects := c.settings.objects(task, "registry.acme.example/ml/tenon@sha256:1111", "sha256:2222", 1<<30)
			if c.unit.Endpoint != nil {
				objects = append(objects, c.settings.service(task))
				if o := c.settings.exposed(task); o != nil {
					objects = append(objects, o)
				}
			}
			executortest.Golden(t, filepath.Join("testdata", "objects", name+".yaml"), documents(t, objects))
		})
	}
}

// A detached apply has a token of the cluster, but otherwise only what every pod has. A controller has limits
// besides, the cluster keeps it running, and a Service leads to its metrics.
func TestObjectsOfDetachedPrograms(t *testing.T) {
	plain := Settings{
		Namespace: "ml", Store: "s3://acme/tenon", StoreSecret: "acme", System: "churn",
		Detached: &Detached{ServiceAccount: "tenon", StateSecret: "state"},
	}
	prod := plain
	prod.Env, prod.Placement = "prod", ir.Placement{Queue: "research"}
	const lineage = "0123456789abcdef"
	controls := executors.Launch{Args: []string{"run-in-pod", "--request", "sha256:2222"}}
	measured := controls
	measured.Metrics = 9464
	for name, c := range map[string]struct {
		settings Settings
		program  executors.DetachedProgram
		launch   executors.Launch
	}{
		"detached":                {plain, New(Options{Settings: plain}).Detached(lineage, 7), executors.Launch{Args: []string{"run-detached", "--request", "sha256:2222"}}},
		"controller":              {prod, New(Options{Settings: prod}).Controller(lineage), controls},
		"controller_with_metrics": {prod, New(Options{Settings: prod}).Controller(lineage), measured},
	} {
		t.Run(name, func(t *testing.T) {
			owner, around, workload := c.settings.detachedObjects(c.program.(detachedProgram), "registry.acme.example/ml/tenon@sha256:1111", c.launch)
			all := append(append([]object{owner}, around...), workload)
			executortest.Golden(t, filepath.Join("testdata", "objects", name+".yaml"), documents(t, all))
		})
	}
}

// documents returns objects as tenon compile --format=manifests prints them.
func documents(t *testing.T, objects []object) []byte {
	t.Helper()
	all, err := manifests(objects)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, m := range all {
		b.WriteString("---\n")
		b.Write(m.YAML)
	}
	return b.Bytes()
}
