package azure

import (
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// Name is the name of the executor in targets.
const Name = "azure"

// Settings are the settings of a target, as defined by tenon.#Azure.
type Settings struct {
	Subscription string              `json:"subscription"` // id
	Group        string              `json:"resource_group"`
	Location     string              `json:"location"`
	Prefix       string              `json:"prefix"` // of names; "" follows from the system
	Folder       string              `json:"folder"` // of the container of blobs
	Existing     Existing            `json:"existing"`
	CIDR         string              `json:"cidr"`     // of a network that is made
	Tier         string              `json:"registry"` // of a registry that is made
	Retention    int64               `json:"retention"`
	Emails       []string            `json:"emails"`
	Tags         map[string]string   `json:"tags"`
	Ingress      string              `json:"ingress"` // External, or only from the environment
	Jobs         Jobs                `json:"jobs"`
	Endpoints    map[string]Endpoint `json:"endpoints"` // by deployment
	Hosts        string              `json:"hosts"`     // folder with HOST/hosts.toml for registries
	Cluster
	terraform.Provisioned
}

// Jobs are settings of jobs that need more than a container of Container Apps has.
type Jobs struct {
	On   string `json:"on"`   // "apps", "ml", or "" for what follows from needs
	Spot bool   `json:"spot"` // those on Azure Machine Learning run on machines that Azure may take back
}

// What says where jobs and deployments run.
const (
	byApps = "apps"
	byML   = "ml"
)

// An Endpoint is what answers for a deployment.
type Endpoint struct {
	On      string `json:"on"`      // "apps", "ml", or "" for what follows from needs
	Machine string `json:"machine"` // size of machines of Azure Machine Learning; "" for one that follows from needs
}

// endpoint returns what the target says about a service.
func (s Settings) endpoint(u *ir.Unit) Endpoint { return s.Endpoints[cloud.EntityName(u)] }

// Existing are resources that are used instead of new ones.
type Existing struct {
	Group       bool              `json:"resource_group"`
	Storage     *Storage          `json:"storage"`
	Registry    string            `json:"registry"`     // by name
	Subnet      string            `json:"subnet"`       // resource id; of nodes, in a cluster
	ActionGroup string            `json:"action_group"` // resource id
	Secrets     map[string]string `json:"secrets"`      // resource ids, by variable
}

// Storage is a container of blobs in an account, by name.
type Storage struct {
	Account   string `json:"account"`
	Container string `json:"container"`
}

// SettingsOf decodes the settings of a target.
func SettingsOf(t ir.Target) (s Settings, err error) {
	return s, executors.DecodeSettings(t, &s)
}

// External is the ingress of services that the Internet reaches.
const External = "external"

// Provisioning says who applies the infrastructure of a target, and where it is.
func Provisioning(t ir.Target) (terraform.Provisioning, error) {
	s, err := SettingsOf(t)
	return s.Provisioned.Provisioning("subscription " + s.Subscription + ", resource group " + s.Group + ", location " + s.Location), err
}

// A place is what runs a unit.
type place string

const (
	onTenon    place = ""         // tenon itself writes records
	onJob      place = "job"      // jobs, on Container Apps jobs
	onML       place = "ml"       // jobs that need more, as command jobs of Azure Machine Learning
	onService  place = "service"  // deployments, on Container Apps
	onEndpoint place = "endpoint" // deployments that need more, at online endpoints of Azure Machine Learning
)

// place returns what runs a unit.
func (s Settings) place(u *ir.Unit) place {
	_, fits := containerFor(u.Needs)
	switch on := s.endpoint(u).On; {
	case u.Kind == ir.Record:
		return onTenon
	case u.Kind == ir.Service && s.Cluster.Service == "" && u.Endpoint != nil && (on == byML || on == "" && !fits):
		return onEndpoint
	case u.Kind == ir.Service:
		return onService
	case s.Cluster.Service == AKS || s.Jobs.On == byApps:
		return onJob
	}
	if gpu := u.Needs.GPU > 0; gpu && !fits || s.Jobs.On == byML && (gpu || !fits) {
		return onML
	}
	return onJob
}

// hosts reports whether the settings put a deployment on an endpoint of Azure Machine Learning, given its unit. Its needs
// may do so too.
func (s Settings) hosts(unit string) bool {
	entity, _ := ir.SplitID(unit)
	return s.endpoint(&ir.Unit{Entity: entity}).On == byML
}

// open reports whether a unit has to reach more than services of Azure: because it may use the network, or
// because it asks an endpoint or answers for one. It runs in an environment of its own.
func open(u *ir.Unit) bool {
	return u.Network == ir.NetworkOpen || u.Kind == ir.Service || len(cloud.Asks(u)) > 0
}
