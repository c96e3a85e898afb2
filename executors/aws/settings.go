package aws

import (
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// Name is the name of the executor in targets.
const Name = "aws"

// Settings are the settings of a target, as defined by tenon.#AWS or tenon.#EKS.
type Settings struct {
	Region       string              `json:"region"`
	Account      string              `json:"account"` // 12 digits, or "" for that of the credentials
	Prefix       string              `json:"prefix"`  // of names; "" follows from the system
	Folder       string              `json:"folder"`  // of the bucket
	Existing     Existing            `json:"existing"`
	CIDR         string              `json:"cidr"` // of a network that is made, a /16
	Jobs         Jobs                `json:"jobs"`
	Controller   *Controller         `json:"controller"` // nil: a schedule runs none
	Endpoints    map[string]Endpoint `json:"endpoints"`  // by deployment
	Balancer     Balancer            `json:"balancer"`   // of deployments on Fargate
	Architecture string              `json:"architecture"`
	Retention    int64               `json:"retention"` // days
	Emails       []string            `json:"emails"`
	Tags         map[string]string   `json:"tags"`
	Hosts        string              `json:"hosts"` // folder with HOST/hosts.toml for registries

	terraform.Provisioned
	Cluster // of tenon.#EKS
}

// Existing are resources that are used instead of new ones.
type Existing struct {
	Bucket     string            `json:"bucket"`
	Repository string            `json:"repository"`
	Network    *Network          `json:"network"`
	Topic      string            `json:"topic"`   // ARN
	Secrets    map[string]string `json:"secrets"` // ARNs, by variable
}

// A Network is a VPC with its subnets, by id.
type Network struct {
	VPC         string   `json:"vpc"`
	Subnets     []string `json:"subnets"`
	OpenSubnets []string `json:"open_subnets"`
}

// Jobs say where jobs run, and their limits.
type Jobs struct {
	On       string `json:"on"`       // "batch" or "sagemaker" for jobs without GPU
	CPU      int64  `json:"cpu"`      // cores of all jobs on AWS Batch
	Spot     bool   `json:"spot"`     // they may run on spare capacity
	Instance string `json:"instance"` // type of training jobs, "" for one that follows from needs
	Wait     string `json:"wait"`     // how long a training job may wait for spare capacity: "1h"
	Warm     string `json:"warm"`     // how long the instance of a training job stays: "30m", or "" for not at all
}

// wait returns how long a training job may wait for spare capacity.
func (j Jobs) wait() time.Duration {
	d, err := time.ParseDuration(j.Wait)
	if err != nil { // it was not checked by tenon.#AWS
		return usualWait
	}
	return d
}

// warm returns how long the instance of a training job stays after it.
func (j Jobs) warm() time.Duration {
	d, _ := time.ParseDuration(j.Warm) // tenon.#AWS has checked it
	return d
}

const usualWait = time.Hour

// An Endpoint is what answers for a deployment.
type Endpoint struct {
	On       string `json:"on"`
	Instance string `json:"instance"`
	Host     string `json:"host"` // name by which callers reach it, on Fargate
}

// SettingsOf decodes the settings of a target.
func SettingsOf(t ir.Target) (s Settings, err error) {
	return s, executors.DecodeSettings(t, &s)
}

// A place is what runs a unit.
type place string

const (
	onTenon     place = ""          // tenon itself writes records
	onBatch     place = "batch"     // jobs without GPU, on Fargate
	onTraining  place = "training"  // jobs with GPUs, and others by choice, as training jobs of SageMaker
	onLambda    place = "lambda"    // services
	onSageMaker place = "sagemaker" // services
	onFargate   place = "fargate"   // services, as containers of Amazon ECS
	onSchedule  place = "schedule"  // passes of the controller, see [Controller]
	onCluster   place = "cluster"   // jobs and services in a cluster of EKS, by the executor kubernetes
)

// serves reports whether services run there.
func (p place) serves() bool { return p == onLambda || p == onSageMaker || p == onFargate }

// place returns what runs a unit.
func (s Settings) place(u *ir.Unit) place {
	switch {
	case u.Kind == ir.Record:
		return onTenon
	case u.ID == controllerUnit:
		return onSchedule
	case s.Cluster.Service == EKS:
		return onCluster
	case u.Kind == ir.Job && (u.Needs.GPU > 0 || s.Jobs.On == string(onSageMaker)):
		return onTraining
	case u.Kind == ir.Job:
		return onBatch
	}
	switch on := place(s.endpoint(u).On); on {
	case onSageMaker, onFargate:
		return on
	}
	return onLambda
}

// endpoint returns what the target says about a service.
func (s Settings) endpoint(u *ir.Unit) Endpoint {
	_, name, _ := strings.Cut(u.Entity, "/")
	return s.Endpoints[name]
}

// open reports whether a job has to reach more than AWS: because it may use the network, or
// because it asks an endpoint.
func open(u *ir.Unit) bool { return u.Network == ir.NetworkOpen || len(asks(u)) > 0 }

// Provisioning says who applies the infrastructure of a target, and where it is.
func Provisioning(t ir.Target) (terraform.Provisioning, error) {
	s, err := SettingsOf(t)
	place := "region " + s.Region
	if s.Account != "" {
		place = "account " + s.Account + ", " + place
	}
	return s.Provisioned.Provisioning(place), err
}
