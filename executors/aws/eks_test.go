package aws

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/internal/money"
)

// clusterSettings are those of a target with the defaults of tenon.#EKS.
func clusterSettings(more map[string]any) map[string]any {
	all := map[string]any{
		"cluster": "eks", "region": "eu-central-1", "account": "123456789012", "folder": "tenon", "version": "1.34", "namespace": "ml", "cidr": "10.40.0.0/16", "retention": 30,
	}
	for k, v := range more {
		all[k] = v
	}
	return all
}

// clusterSystem has everything that can be in the files of a cluster.
func clusterSystem() *ir.System {
	month := 2000 * money.One
	return &ir.System{
		Name: "flights", Env: "prod", Budget: ir.Budget{Currency: "USD", Month: &month},
		Target: ir.Target{Name: "eks", Executor: "kubernetes", Settings: clusterSettings(map[string]any{
			"access": []string{"192.0.2.0/24"}, "admins": []string{"arn:aws:iam::123456789012:role/ml"}, "emails": []string{"ml@acme.example"},
			"ingress": map[string]any{"certificates": []string{"arn:aws:acm:eu-central-1:123456789012:certificate/0a"}},
			"pools": map[string]any{
				"big": map[string]any{"instance": "m7i.4xlarge", "max": 8, "idle": "5m", "labels": map[string]any{"acme.example/big": "yes"}, "taints": []any{map[string]any{"key": "big", "value": "yes", "effect": "NoSchedule"}}},
				"gpu": map[string]any{"instance": "g5.12xlarge", "max": 4, "spot": true, "idle": "10m"},
			},
		})},
		Units: []ir.Unit{
			job("features/late", nil),
			job("models/late/train", func(u *ir.Unit) { u.Needs = ir.Resources{GPU: 2, GPUModel: "A10G"} }),
			service("api", func(u *ir.Unit) { u.Ships = []ir.Shipment{{Folder: "requests"}} }),
		},
	}
}

func existingCluster() *ir.System {
	return &ir.System{Name: "notify", Units: []ir.Unit{job("steps/Report.2", nil)}, Target: ir.Target{Name: "eks", Executor: "kubernetes", Settings: clusterSettings(map[string]any{
		"prefix": "acme-ml", "existing": map[string]any{"bucket": "acme-ml", "network": map[string]any{"vpc": "vpc-0a", "subnets": []string{"subnet-0a", "subnet-0b"}}},
	})}}
}

// withClusters returns all systems of golden files.
func withClusters() map[string]*ir.System {
	all := systems()
	all["cluster"], all["cluster-existing"] = clusterSystem(), existingCluster()
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

// The executor for Kubernetes uses the bucket, the repository and the accounts that the files make.
func TestWhatTheExecutorKnowsOfACluster(t *testing.T) {
	sys := clusterSystem()
	c, err := ClusterOf(sys.Target, sys.Name, sys.Env)
	if err != nil {
		t.Fatal(err)
	}
	want := &clouds.Cluster{
		Name:     "eks/123456789012/eu-central-1/tenon-flights-prod",
		Store:    "s3://tenon-flights-prod-123456789012-eu-central-1/tenon/flights/prod?region=eu-central-1",
		Registry: "123456789012.dkr.ecr.eu-central-1.amazonaws.com/tenon-flights-prod",
		Identity: []string{"169.254.170.23/32"}, Undisturbed: map[string]string{"karpenter.sh/do-not-disrupt": "true"},
		Pools: []clouds.Pool{{Name: "gpu", GPUs: 4, Model: "NVIDIA A10G", Memory: 24 << 30}},
		Owned: []string{nodePools}, Objects: c.Objects, Secretless: c.Secretless,
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	files := cloudtest.Texts(write(t, sys))
	for file, text := range map[string]string{
		"cluster.tf": `name     = "tenon-flights-prod"`,
		"storage.tf": `bucket = "tenon-flights-prod-${local.account}-${var.region}"`,
		"images.tf":  `name                 = "tenon-flights-prod/tenon"`,
		"roles.tf":   `service_account = "tenon-models-late-train"`,
	} {
		if !strings.Contains(files[file], text) {
			t.Errorf("%s does not have %s:\n%s", file, text, files[file])
		}
	}
}

func TestUnitsThatNoNodeOfAClusterFits(t *testing.T) {
	sys := clusterSystem()
	c, err := ClusterOf(sys.Target, sys.Name, sys.Env)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		needs ir.Resources
		want  string
	}{
		"none":         {ir.Resources{MilliCPU: 64000}, ""},
		"one":          {ir.Resources{GPU: 1}, ""},
		"all":          {ir.Resources{GPU: 4, GPUModel: "nvidia a10g", GPUMemory: 24 << 30}, ""},
		"too many":     {ir.Resources{GPU: 5}, "no pool of the target has nodes with such GPUs; it has gpu (4 x NVIDIA A10G, 24GiB each)"},
		"another one":  {ir.Resources{GPU: 1, GPUModel: "NVIDIA H100"}, "such GPUs"},
		"too small":    {ir.Resources{GPU: 1, GPUMemory: 25 << 30}, "such GPUs"},
		"a part of it": {ir.Resources{GPU: 1, GPUSlice: "1g.10gb"}, "such GPUs"},
	} {
		t.Run(name, func(t *testing.T) {
			faults := c.Check(job("models/late/train", func(u *ir.Unit) { u.Needs = x.needs }))
			if (x.want == "") != (len(faults) == 0) || len(faults) > 0 && !strings.Contains(faults[0].Message, x.want) {
				t.Errorf("got %+v, want %q", faults, x.want)
			}
		})
	}
	faults := c.Check(service("api", func(u *ir.Unit) {
		u.Kubernetes = &ir.Placement{ServiceAccount: "mine", Expose: &ir.Exposure{Host: "late.acme.example", TLS: "late-tls"}}
	}))
	cloudtest.Refused(t, faults, []string{"kubernetes.expose.tls", "kubernetes.service_account"})
}

func TestPoolsThatAreRefused(t *testing.T) {
	pools := map[string]any{}
	for name, instance := range map[string]string{"arm": "c7g.xlarge", "chips": "trn1.32xlarge", "flex": "m7i-flex.large", "gpu": "g6e.48xlarge", "metal": "m5.metal", "old": "p3.2xlarge", "video": "gr6.4xlarge"} {
		pools[name] = map[string]any{"instance": instance, "max": 1, "idle": "5m"}
	}
	c, err := ClusterOf(ir.Target{Settings: clusterSettings(map[string]any{"pools": pools, "cidr": "10.40.0.1/16"})}, "flights", "")
	if err != nil {
		t.Fatal(err)
	}
	cloudtest.Refused(t, c.Faults, []string{"cidr", "pools.chips.instance", "pools.metal.instance", "pools.old.instance", "pools.video.instance"})
}

// Units of a cluster share artifacts, and nothing else. Only pods of a unit get its role.
func TestRolesInAClusterAllowWhatUnitsDo(t *testing.T) {
	sys := clusterSystem()
	text := write(t, sys)["roles.tf"]
	policies := policiesOf(t, text)
	for id, may := range map[string]struct{ read, write, remove []string }{
		"features/late": {
			[]string{"cas/sha256/aa/bb", "notes/runs/features-late/prod-features-late-0123456789ab-1/u/result.json"}, []string{"cas/sha256/aa/bb", "notes/runs/features-late/prod-features-late-0123456789ab-1/u/result.json"}, nil,
		},
		"deployments/api": {
			[]string{"cas/sha256/aa/bb", "notes/runs/deployments-api/prod-deployments-api-0123456789ab-1/u/route.json", "kept/lineage/prod/deployments/api/requests/a"},
			[]string{"notes/runs/deployments-api/prod-deployments-api-0123456789ab-1/u/route.json", "kept/lineage/prod/deployments/api/requests/a"}, []string{"kept/lineage/prod/deployments/api/requests/a"},
		},
	} {
		p := policies[label(id)]
		for _, key := range []string{
			"cas/sha256/aa/bb", "notes/runs/features-late/prod-features-late-0123456789ab-1/u/result.json", "notes/runs/deployments-api/prod-deployments-api-0123456789ab-1/u/route.json",
			"kept/lineage/prod/deployments/api/requests/a", "kept/lineage/prod/deployments/api/audit/a", "kept/lineage/-/deployments/api/requests/a", "other", "../other/cas/a",
		} {
			for action, keys := range map[string][]string{"s3:GetObject": may.read, "s3:PutObject": may.write, "s3:DeleteObject": may.remove} {
				if got, want := p.allows(action, "arn:aws:s3:::b/root/"+key, nil), slices.Contains(keys, key); got != want {
					t.Errorf("%s: %s of %s is allowed: %v, want %v", id, action, key, got, want)
				}
			}
		}
		if p.allows("s3:ListBucket", "arn:aws:s3:::b", map[string]string{"s3:prefix": "root/notes/"}) {
			t.Errorf("%s may list the notes of other units", id)
		}
		if !p.allows("s3:ListBucket", "arn:aws:s3:::b", nil) {
			t.Errorf("S3 does not say to %s that an object does not exist", id)
		}
		trust := documentsOf(t, text, "aws_iam_role", "assume_role_policy")[label(id)].Statement[0].Condition
		want := map[string]map[string][]string{"StringEquals": {
			"aws:RequestTag/eks-cluster-name": {"tenon-flights-prod"}, "aws:RequestTag/kubernetes-namespace": {"ml"}, "aws:RequestTag/kubernetes-service-account": {clouds.ServiceAccount(id)},
		}}
		if diff := cmp.Diff(want, trust); diff != "" {
			t.Errorf("who gets the role of %s: %s", id, diff)
		}
	}
}

// The page for users says which version of the provider was compared.
func TestThePageOfClustersNamesTheProvider(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "clusters.md"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "aws " + cloudtest.Schema(t).Version; !strings.Contains(string(text), want) {
		t.Errorf("docs/clusters.md does not say that %s was compared", want)
	}
}
