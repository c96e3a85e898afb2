package gcp

import (
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// Name is the name of the executor in targets.
const Name = "gcp"

// Settings are the settings of a target, as defined by tenon.#GCP or tenon.#GKE.
type Settings struct {
	Project   string              `json:"project"` // id
	Region    string              `json:"region"`
	Prefix    string              `json:"prefix"` // of names; "" follows from the system
	Folder    string              `json:"folder"` // of the bucket
	Existing  Existing            `json:"existing"`
	CIDR      string              `json:"cidr"`            // of a subnet that is made
	Billing   string              `json:"billing_account"` // for the budget
	Retention int64               `json:"retention"`       // days
	Emails    []string            `json:"emails"`
	Labels    map[string]string   `json:"labels"`
	Jobs      Jobs                `json:"jobs"`
	Endpoints map[string]Endpoint `json:"endpoints"` // by deployment
	Hosts     string              `json:"hosts"`     // folder with HOST/hosts.toml for registries

	terraform.Provisioned
	Cluster // of tenon.#GKE
}

// Jobs are settings of jobs with GPUs.
type Jobs struct {
	On   string `json:"on"`   // "vertex", or "run" for Cloud Run; "" is "vertex"
	Spot bool   `json:"spot"` // they run on machines that Google may take back
}

// What says where jobs with GPUs and deployments run.
const (
	byRun    = "run"
	byVertex = "vertex"
)

// An Endpoint is what answers for a deployment.
type Endpoint struct {
	On      string `json:"on"`      // "run" or "vertex"; "" is "run"
	Machine string `json:"machine"` // type of machines of Vertex AI; "" for one that follows from needs
}

// endpoint returns what the target says about a service.
func (s Settings) endpoint(u *ir.Unit) Endpoint { return s.Endpoints[cloud.EntityName(u)] }

// Existing are resources that are used instead of new ones.
type Existing struct {
	Bucket     string            `json:"bucket"`
	Repository string            `json:"repository"` // of Artifact Registry, in the project and region
	Network    *Network          `json:"network"`
	Channels   []string          `json:"channels"` // of notifications: "projects/P/notificationChannels/N"
	Secrets    map[string]string `json:"secrets"`  // "projects/P/secrets/N", by variable
}

// A Network is a VPC with a subnet in the region, by name.
type Network struct {
	Network    string `json:"network"`
	Subnetwork string `json:"subnetwork"`
}

// SettingsOf decodes the settings of a target.
func SettingsOf(t ir.Target) (s Settings, err error) {
	return s, executors.DecodeSettings(t, &s)
}

// Provisioning says who applies the infrastructure of a target, and where it is.
func Provisioning(t ir.Target) (terraform.Provisioning, error) {
	s, err := SettingsOf(t)
	return s.Provisioned.Provisioning("project " + s.Project + ", region " + s.Region), err
}

// A place is what runs a unit.
type place string

const (
	onTenon   place = ""        // tenon itself writes records
	onJob     place = "job"     // jobs without GPU, and others by choice, on Cloud Run jobs
	onVertex  place = "vertex"  // jobs with GPUs, as custom jobs of Vertex AI
	onService place = "service" // deployments, on Cloud Run services
	onHosted  place = "hosted"  // deployments by choice, on endpoints of Vertex AI
	onCluster place = "cluster" // jobs and deployments in a cluster of GKE, by the executor kubernetes
)

// place returns what runs a unit.
func (s Settings) place(u *ir.Unit) place {
	switch {
	case u.Kind == ir.Record:
		return onTenon
	case s.Cluster.Service == GKE:
		return onCluster
	case u.Kind == ir.Service && s.endpoint(u).On == byVertex:
		return onHosted
	case u.Kind == ir.Service:
		return onService
	case u.Needs.GPU > 0 && s.Jobs.On != byRun:
		return onVertex
	}
	return onJob
}

// open reports whether a unit has to reach more than Google's APIs: because it may use the
// network, or because it asks an endpoint.
func open(u *ir.Unit) bool { return u.Network == ir.NetworkOpen || len(cloud.Asks(u)) > 0 }
