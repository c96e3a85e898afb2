package gcp

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// closed returns the jobs that may reach Google's APIs only.
func (w *writer) closed() (units []*ir.Unit) {
	for _, u := range w.at(onJob) {
		if !open(u) {
			units = append(units, u)
		}
	}
	return units
}

// network writes the network of jobs that do not use the Internet: a subnet from which only Google's
// APIs can be reached, because nothing translates its addresses.
func (w *writer) network() {
	if len(w.closed()) == 0 || w.Existing.Network != nil {
		return
	}
	f := w.file("network.tf")
	b := f.Resource("google_compute_network", "closed")
	b.Set("name", terraform.Text(w.prefix))
	b.Set("auto_create_subnetworks", terraform.Bool(false))
	enabled(b)
	b = f.Resource("google_compute_subnetwork", "closed")
	b.Set("name", terraform.Text(w.prefix))
	b.Set("region", terraform.Code("var.region"))
	b.Set("network", cloud.Reference("google_compute_network", "closed", "id"))
	b.Set("ip_cidr_range", terraform.Text(w.CIDR))
	b.Set("private_ip_google_access", terraform.Bool(true))
}

// subnet returns the network and the subnet of closed jobs.
func (w *writer) subnet() Network {
	if n := w.Existing.Network; n != nil {
		return *n
	}
	return Network{Network: w.prefix, Subnetwork: w.prefix}
}

// services writes a service of Cloud Run for each deployment, which only callers with the right to
// invoke it may ask.
func (w *writer) services() {
	f := w.file("services.tf")
	for _, u := range w.at(onService) {
		l := cloud.Label(u.ID)
		b := f.Resource("google_cloud_run_v2_service", l)
		cloud.Once(b, "images", u)
		b.Set("name", terraform.Text(w.service(u.ID)))
		b.Set("location", terraform.Code("var.region"))
		b.Set("description", terraform.Text(u.ID+" of "+w.sys.Name))
		b.Set("ingress", terraform.Text("INGRESS_TRAFFIC_ALL"))
		b.Comment("It keeps nothing that would be lost.")
		b.Set("deletion_protection", terraform.Bool(false))
		labeled(b, u)
		t := b.Block("template")
		t.Set("service_account", cloud.Reference("google_service_account", l, "email"))
		least := int64(cmp.Or(u.Endpoint.Replicas, 1))
		most := least
		if s := u.Endpoint.Scale; s != nil {
			least, most = int64(u.Endpoint.Replicas), int64(s.Max)
			if s.InFlight > 0 {
				t.Set("max_instance_request_concurrency", terraform.Int(int64(s.InFlight)))
			}
		}
		x := t.Block("scaling")
		x.Set("min_instance_count", terraform.Int(least))
		x.Set("max_instance_count", terraform.Int(most))
		c := t.Block("containers")
		c.Set("image", cloud.Key("images", u))
		c.Block("ports").Set("container_port", terraform.Int(8080))
		cores, memory, _ := size(u.Needs)
		c.Block("resources").Set("limits", terraform.Object(
			terraform.Field{Key: "cpu", Value: terraform.Text(strconv.FormatInt(cores, 10))},
			terraform.Field{Key: "memory", Value: terraform.Text(fmt.Sprintf("%dMi", memory))}))
		if ready := u.Endpoint.Ready; ready != "" {
			c.Block("startup_probe").Block("http_get").Set("path", terraform.Text(ready))
		}
		enabled(b)
	}
}
