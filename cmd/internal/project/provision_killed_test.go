package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/test/tofutest"
)

// A cloudRig is a state whose infrastructure is in a cloud that is a folder.
type cloudRig struct {
	*rig
	cloud *tofutest.Cloud
}

func newCloudRig(t *testing.T) *cloudRig {
	cloud, err := tofutest.StartCloud(t.Output(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &cloudRig{&rig{t.TempDir(), cloudTarget(cloud.Tofu)}, cloud}
}

func cloudTarget(tofu string) ir.Target {
	return ir.Target{Name: "gcp", Executor: "gcp", Settings: map[string]any{"project": "acme-ml-1", "region": "europe-west3", "tool": tofu}}
}

// cloudFiles is a configuration of three resources, each of which needs the one before.
func cloudFiles(more string) map[string]string {
	return map[string]string{"main.tf": `terraform {
  required_providers {
    google = {
      source = "hashicorp/google"
    }
  }
}
provider "google" {
  project = "acme-ml-1"
  region  = "europe-west3"
}
resource "google_service_account" "unit" {
  account_id = "unit"
}
resource "google_storage_bucket" "artifacts" {
  name       = "acme-ml-artifacts"
  location   = "europe-west3"
  depends_on = [google_service_account.unit]
}
resource "google_storage_bucket_iam_member" "read" {
  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.unit.member
}
` + more}
}

// changeVariable makes this test binary change the infrastructure of a cloudRig: "apply" or "destroy", its folder, and
// OpenTofu.
const changeVariable = "TENON_TEST_CHANGE"

func TestChangeOfACloudInAnotherProcess(t *testing.T) {
	how := strings.Fields(os.Getenv(changeVariable))
	if len(how) != 3 {
		return // not a test by itself
	}
	r := &rig{how[1], cloudTarget(how[2])}
	w := r.open(context.Background(), t)
	if err := r.change(context.Background(), t, r.lock(context.Background(), t, w), how[0], cloudFiles("")); err != nil {
		t.Fatal(err)
	}
}

// change continues what a killed program has left, and applies files or destroys everything.
func (r *rig) change(ctx context.Context, t *testing.T, s *Session, what string, files map[string]string) error {
	if err := s.RecoverInfrastructure(ctx); err != nil {
		return err
	}
	if what == "apply" {
		f, _, err := s.provision(ctx, r.plan(ctx, t, s.Workspace, files))
		if err != nil || f == nil {
			return err
		}
		return f(ctx, 1, silent)
	}
	removal, err := s.PlanRemoval(ctx, true)
	if err != nil || removal == nil {
		return err
	}
	return s.deprovision(removal)(ctx, 2, silent)
}

// killed changes the infrastructure in another process, in which there is a fault.
func (r *cloudRig) killed(t *testing.T, what, fault string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestChangeOfACloudInAnotherProcess$")
	cmd.Env = slices.Concat(os.Environ(), r.cloud.Environ(), []string{changeVariable + "=" + strings.Join([]string{what, r.dir, r.cloud.Tofu}, " "), tofutest.Fault + "=" + fault})
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("%s was not killed: %v\n%s", what, err, out)
	}
}

// named returns what the recorded state names, as [tofutest.Cloud.Resources] does.
func named(ctx context.Context, t *testing.T, w *Workspace, target ir.Target) (all []string) {
	t.Helper()
	p, err := w.provisioner(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.open()
	if err != nil || s.State == nil {
		t.Fatalf("the state is %q, %v", s.State, err)
	}
	var state struct {
		Resources []struct {
			Type      string
			Instances []struct {
				Attributes struct{ ID struct{ Value string } }
			}
		}
	}
	if err := json.Unmarshal(s.State, &state); err != nil {
		t.Fatal(err)
	}
	for _, r := range state.Resources {
		for _, i := range r.Instances {
			all = append(all, r.Type+" "+i.Attributes.ID.Value)
		}
	}
	slices.Sort(all)
	return all
}

// same checks that the cloud has what the state names, and nothing else.
func (r *cloudRig) same(ctx context.Context, t *testing.T, w *Workspace, count int) {
	t.Helper()
	there, err := r.cloud.Resources()
	if err != nil {
		t.Fatal(err)
	}
	if known := named(ctx, t, w, r.target); !slices.Equal(there, known) || len(there) != count {
		t.Errorf("the cloud has %q, and the state names %q", there, known)
	}
}

// An apply that is killed before or after any of its calls, and a destroy that is, are continued by the next one: nothing
// is made or removed twice, and nothing is forgotten.
func TestKilledAtEachCallToTheCloud(t *testing.T) {
	const creates, calls = 3, 7 // one update, and as many deletes
	for n := 1; n <= creates+1; n++ {
		// After a call is before the next one, so that both cover all moments of both.
		first, second := "kill", "killed"
		if n%2 == 0 {
			first, second = second, first
		}
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			ctx, r := t.Context(), newCloudRig(t)
			if n <= creates {
				r.killed(t, "apply", fmt.Sprint(n, " ", first))
			}
			w := r.open(ctx, t, r.cloud.Environ()...)
			s := r.lock(ctx, t, w)
			if err := r.change(ctx, t, s, "apply", cloudFiles("")); err != nil {
				t.Fatal(err)
			}
			r.same(ctx, t, w, creates)
			if p := r.plan(ctx, t, w, cloudFiles("")); p.Infrastructure.Changes() {
				t.Errorf("afterwards, the plan is %q", actions(p))
			}
			if err := s.Release(ctx); err != nil {
				t.Fatal(err)
			}
			r.killed(t, "destroy", fmt.Sprint(creates+n, " ", second))
			s = r.lock(ctx, t, w)
			if err := r.change(ctx, t, s, "destroy", nil); err != nil {
				t.Fatal(err)
			}
			r.same(ctx, t, w, 0)
			made, err := r.cloud.Calls()
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(made)
			if once := slices.Compact(slices.Clone(made)); len(once) != calls || len(made) != calls {
				t.Errorf("the calls were %q", made)
			}
		})
	}
}

// If OpenTofu itself is killed, what it has made last is not recorded. The next apply makes nothing twice: it says what
// is there already, and an import records it.
func TestKilledOpenTofu(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), newCloudRig(t)
	r.killed(t, "apply", "2 grouped")
	w := r.open(ctx, t, r.cloud.Environ()...)
	s := r.lock(ctx, t, w)
	err := r.change(ctx, t, s, "apply", cloudFiles(""))
	if err == nil || !strings.Contains(err.Error(), "google_service_account") || !strings.Contains(err.Error(), "already exists") || !strings.Contains(err.Error(), "by an apply that was killed before it could record it") {
		t.Fatalf("got %v", err)
	}
	imports := ""
	for address, id := range map[string]string{"google_service_account.unit": "projects/acme-ml-1/serviceAccounts/unit@acme-ml-1.iam.gserviceaccount.com", "google_storage_bucket.artifacts": "acme-ml-artifacts"} {
		imports += fmt.Sprintf("import {\n  to = %s\n  id = %q\n}\n", address, id)
	}
	if err := r.change(ctx, t, s, "apply", cloudFiles(imports)); err != nil {
		t.Fatal(err)
	}
	r.same(ctx, t, w, 3)
	if there, err := filepath.Glob(filepath.Join(r.cloud.Dir, "google_storage_bucket", "*")); err != nil || len(there) != 1 {
		t.Errorf("there are the buckets %q, %v", there, err)
	}
}

// The clusters of EKS, GKE and AKS are made, planned without a change and removed, with all that belongs to them.
func TestClustersAreProvisioned(t *testing.T) {
	for name, settings := range map[string]map[string]any{
		"eks": {"cluster": "eks", "account": "123456789012", "region": "eu-central-1", "cidr": "10.40.0.0/16", "version": "1.34", "namespace": "ml", "retention": 30, "folder": "tenon"},
		"gke": {"cluster": "gke", "project": "acme-ml-1", "region": "europe-west3", "cidr": "10.40.0.0/20", "channel": "REGULAR", "namespace": "ml", "folder": "tenon"},
		"aks": {"cluster": "aks", "subscription": "00000000-1111-2222-3333-444444444444", "resource_group": "acme-ml", "location": "westeurope", "version": "1.34", "namespace": "ml", "folder": "tenon", "access": []string{"192.0.2.0/24"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, r := t.Context(), newCloudRig(t)
			settings["tool"] = r.cloud.Tofu
			r.target = ir.Target{Name: name, Executor: "kubernetes", Settings: settings}
			files, err := configuration(&ir.System{Name: "flights", Target: r.target, Units: []ir.Unit{{ID: "steps/report", Entity: "steps/report", Kind: ir.Job}}})
			if err != nil {
				t.Fatal(err)
			}
			w := r.open(ctx, t, r.cloud.Environ()...)
			s := r.lock(ctx, t, w)
			if err := r.change(ctx, t, s, "apply", files); err != nil {
				t.Fatal(err)
			}
			made, err := r.cloud.Resources()
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range map[string][]string{
				"eks": {"aws_eks_cluster tenon-flights", "aws_eks_pod_identity_association tenon-flights/ml/tenon-steps-report"},
				"gke": {"google_container_cluster projects/acme-ml-1/locations/europe-west3/clusters/tenon-flights"},
				"aks": {
					"azurerm_kubernetes_cluster /subscriptions/00000000-1111-2222-3333-444444444444/resourceGroups/acme-ml/providers/Microsoft.ContainerService/managedClusters/tenon-flights",
					"azurerm_kubernetes_cluster_node_pool /subscriptions/00000000-1111-2222-3333-444444444444/resourceGroups/acme-ml/providers/Microsoft.ContainerService/managedClusters/tenon-flights/agentPools/units",
				},
			}[name] {
				if !slices.Contains(made, want) {
					t.Errorf("there is no %s among %q", want, made)
				}
			}
			if p := r.plan(ctx, t, w, files); p.Infrastructure.Changes() {
				t.Errorf("afterwards, the plan is %q", actions(p))
			}
			if err := r.change(ctx, t, s, "destroy", nil); err != nil {
				t.Fatal(err)
			}
			r.same(ctx, t, w, 0)
		})
	}
}
