package gcp

import (
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// closed returns the jobs and services of Cloud Run that may reach Google's APIs only.
func (w *writer) closed() (units []*ir.Unit) {
	for _, u := range append(w.at(onJob), w.at(onService)...) {
		if !open(u) {
			units = append(units, u)
		}
	}
	return units
}

// network writes the network of units that do not use the Internet: a subnet from which only Google's
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

// subnet returns the network and the subnet of closed units.
func (w *writer) subnet() Network {
	if n := w.Existing.Network; n != nil {
		return *n
	}
	return Network{Network: w.prefix, Subnetwork: w.prefix}
}
