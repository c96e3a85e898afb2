package project

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// orderFiles is a configuration of these resources.
func orderFiles(resources ...string) map[string]string {
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
` + strings.Join(resources, "")}
}

func account(name string) string {
	return fmt.Sprintf("resource \"google_service_account\" %q {\n  account_id = %[1]q\n}\n", name)
}

func artifacts(name string) string {
	return fmt.Sprintf("resource \"google_storage_bucket\" \"artifacts\" {\n  name = %q\n  location = \"europe-west3\"\n}\n", name)
}

func bucket(name string) string {
	return fmt.Sprintf("resource \"google_storage_bucket\" \"data\" {\n  name = \"data\"\n  location = \"europe-west3\"\n  labels = {\n    of = %s\n  }\n}\n", name)
}

// done returns what was done since the last call, as "create unit", without the project and the domain.
func (r *cloudRig) done(t *testing.T, before *int) string {
	t.Helper()
	all, err := r.cloud.Calls()
	if err != nil {
		t.Fatal(err)
	}
	var short []string
	for _, c := range all[*before:] {
		f := strings.Fields(c)
		name, _, _ := strings.Cut(f[2][strings.LastIndexByte(f[2], '/')+1:], "@")
		short = append(short, f[0]+" "+name)
	}
	*before = len(all)
	slices.Sort(short)
	return strings.Join(short, ", ")
}

// What is no longer needed is removed last, also if the apply is killed in between. Only what needs a resource that is
// replaced goes before. The plan shows everything at once.
func TestWhatIsNotNeededIsRemovedLast(t *testing.T) {
	t.Parallel()
	network := func(name string) string {
		return fmt.Sprintf("resource \"google_compute_network\" \"main\" {\n  name = %q\n  auto_create_subnetworks = false\n}\n", name)
	}
	const subnet = "resource \"google_compute_subnetwork\" \"main\" {\n  name = \"inner\"\n  region = \"europe-west3\"\n  network = google_compute_network.main.id\n  ip_cidr_range = \"10.0.0.0/20\"\n}\n"
	const moved = "moved {\n  from = google_service_account.same\n  to = google_service_account.renamed\n}\n"
	many := func(count int) string {
		return fmt.Sprintf("resource \"google_service_account\" \"many\" {\n  account_id = \"many-${count.index}\"\n  count = %d\n}\n", count)
	}
	before := orderFiles(artifacts("a"), account("old"), bucket("google_service_account.old.account_id"), many(2), network("a"), subnet, account("same"))
	after := orderFiles(artifacts("a"), account("new"), bucket("google_service_account.many[0].account_id"), many(1), network("b"),
		strings.Replace(account("same"), `"same"`, `"renamed"`, 1), moved)

	ctx, r := t.Context(), newCloudRig(t)
	w := r.open(ctx, t, r.cloud.Environ()...)
	s := r.lock(ctx, t, w)
	r.apply(ctx, t, s, r.plan(ctx, t, w, before), 1, silent)
	calls := 0
	r.done(t, &calls)

	p := r.plan(ctx, t, w, after)
	var last []string
	for _, x := range p.Infrastructure.Resources {
		if x.Last {
			last = append(last, x.Address)
		}
	}
	if got, want := strings.Join(last, " "), "google_service_account.many[1] google_service_account.old"; got != want {
		t.Errorf("%q is removed last, want %q", got, want)
	}
	first, _, err := s.provision(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	if err := first(ctx, 2, silent); err != nil {
		t.Fatal(err)
	}
	if got, want := r.done(t, &calls), "create b, create new, delete a, delete inner, update data"; got != want {
		t.Errorf("before units run, %q, want %q", got, want)
	}

	// The apply was killed here.
	p = r.plan(ctx, t, w, after)
	if got, want := actions(p), "delete google_service_account.many[1], delete google_service_account.old"; got != want {
		t.Errorf("in between, the plan is %q, want %q", got, want)
	}
	first, retire, err := s.provision(ctx, p)
	if err != nil || first != nil {
		t.Fatalf("there is something to do before units run: %v, %v", first != nil, err)
	}
	if err := retire(ctx, 3, silent); err != nil {
		t.Fatal(err)
	}
	if got, want := r.done(t, &calls), "delete many-1, delete old"; got != want {
		t.Errorf("after units, %q, want %q", got, want)
	}
	if p := r.plan(ctx, t, w, after); p.Infrastructure.Changes() {
		t.Errorf("afterwards, the plan is %q", actions(p))
	}
	r.same(ctx, t, w, 6)

	// A plan that would take the artifacts away is refused.
	for _, tt := range []struct{ resource, want string }{
		{artifacts("b"), "google_storage_bucket.artifacts has the artifacts of this environment, and the plan would replace it: name, which forces a replacement (a -> b)"},
		{account("x"), "the plan would delete it: no longer needed"},
	} {
		p, err := w.provisioner(ctx, r.target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.plan(ctx, orderFiles(tt.resource)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

// A controller that is killed in between continues its plan.
func TestAControllerRemovesWhatIsNotNeededLast(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), newCloudRig(t)
	w := r.open(ctx, t, r.cloud.Environ()...)
	s := r.lock(ctx, t, w)
	r.apply(ctx, t, s, r.plan(ctx, t, w, orderFiles(account("old"))), 1, silent)
	p := r.plan(ctx, t, w, orderFiles(account("new")))
	p.Infrastructure.Sealed = nil
	calls := 0
	r.done(t, &calls)
	for _, made := range []string{"create new", ""} {
		first, last, err := s.provision(ctx, p)
		if err == nil {
			err = first(ctx, 2, silent)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := r.done(t, &calls); got != made {
			t.Errorf("before units run, %q, want %q", got, made)
		}
		if made == "" {
			err = last(ctx, 2, silent)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := r.done(t, &calls); got != "delete old" {
		t.Errorf("after units, %q", got)
	}
}
