package aws

import (
	"fmt"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/local"
)

// Check returns one fault for each field of a unit or its target that cannot be had in AWS, when
// only the infrastructure is written.
func Check(t ir.Target, u ir.Unit) []ir.Fault {
	s, err := SettingsOf(t)
	if err != nil {
		return []ir.Fault{{Field: "executor", Message: err.Error(), Target: true}}
	}
	return s.check(u).Faults
}

// Check returns one fault for each field that keeps a unit from running in AWS.
func (e *Executor) Check(u ir.Unit) []ir.Fault {
	c := e.opts.Settings.check(u)
	const another = "choose a target with the executor process, containerd or kubernetes"
	switch {
	case u.Kind == ir.Service && e.opts.place(&u) == onLambda:
		c.function(u)
	case u.Kind == ir.Service && e.opts.place(&u) == onSageMaker:
		c.hosted(u)
	}
	for _, in := range u.Inputs {
		if in.Kind == ir.EndpointOf && u.Kind == ir.Job {
			c.Fault("in."+in.Port, another, "it calls the service %s, to which jobs in AWS cannot send requests", strings.Replace(in.Unit, "/", ".", 1))
		}
	}
	return c.Faults
}

func (s Settings) check(u ir.Unit) *checks {
	c := &checks{Checks: clouds.Checks{Faults: local.CheckProgram(u)}, settings: s}
	c.target()
	c.scheduled(u)
	switch s.place(&u) {
	case onTenon:
		c.Objectives(u, "CloudWatch")
		return c
	case onBatch:
		if _, _, ok := size(u.Needs); !ok {
			c.Fault("needs", "request less, or split the work", "a job on Fargate has at most 16 cores and 120 GiB")
		}
		if u.Needs.Disk > mostDisk {
			c.Fault("needs.disk", "request at most 200GiB", "a job on Fargate has at most 200 GiB of disk")
		}
	case onTraining:
		c.training(u)
	case onLambda, onSageMaker:
		c.service(u)
	case onFargate:
		c.service(u)
		c.fargate(u)
	}
	c.unit(u)
	return c
}

type checks struct {
	clouds.Checks
	settings Settings
}

// target reports settings that contradict each other.
func (c *checks) target() {
	if c.settings.Existing.Network == nil {
		c.Faults = append(c.Faults, checkCIDR(c.settings.CIDR)...)
	}
	for _, tag := range sortedKeys(c.settings.Tags) {
		if strings.HasPrefix(tag, "tenon:") || strings.HasPrefix(tag, "aws:") {
			c.Faults = append(c.Faults, ir.Fault{Field: "tags", Target: true, Message: fmt.Sprintf("the tag %s is reserved", tag), Hint: "choose another name"})
			return
		}
	}
}

// unit reports what neither jobs nor services can have.
func (c *checks) unit(u ir.Unit) {
	c.Unit(u, "AWS")
	for _, x := range u.Secrets {
		field := u.SecretField(x)
		switch {
		case u.Kind == ir.Service && c.settings.place(&u) != onFargate:
			c.Fault(field, "let the program read it from Secrets Manager, or write in the target: endpoints: "+entityName(&u)+": on: \"fargate\"", "only jobs and services on Fargate get secrets in AWS")
		case c.settings.place(&u) == onTraining && strings.Contains(c.settings.Existing.Secrets[x.Env], ":ssm:"):
			c.Fault(field, "put it into Secrets Manager", "a training job of SageMaker reads no parameters of SSM")
		default:
			c.Secret(u, x, "AWS")
		}
	}
	if c.settings.Existing.Network != nil && len(c.settings.Existing.Network.OpenSubnets) == 0 && (c.settings.place(&u) == onBatch || c.settings.place(&u) == onFargate) && open(&u) {
		c.Fault("network", "add open_subnets to existing: network of the target", "it uses the network, but the target has no subnets for that")
	}
}

// training reports what training jobs do not have.
func (c *checks) training(u ir.Unit) {
	c.instanceFaults(u)
	c.warm(u)
	if c.settings.Architecture == "arm64" {
		c.Fault("needs.gpu", "choose architecture: \"x86_64\" in the target", "the instances of training jobs are x86_64")
	}
	if u.Network == ir.NetworkNone {
		c.Fault("network", "remove network: false, or run it on AWS Batch, without a GPU", "a training job of SageMaker reaches the Internet")
	}
	if u.Timeout > mostRuntime {
		c.Fault("timeout", "choose at most 28d", "a training job of SageMaker runs for at most 28 days")
	}
}

// warm reports what warm pools cannot have, and what they cost.
func (c *checks) warm(u ir.Unit) {
	j := c.settings.Jobs
	switch {
	case j.Warm == "":
	case j.Spot:
		c.Faults = append(c.Faults, ir.Fault{Field: "jobs.warm", Target: true, Message: "SageMaker keeps no instances of spare capacity", Hint: "remove warm or spot"})
	case j.warm() > time.Hour:
		c.Faults = append(c.Faults, ir.Fault{Field: "jobs.warm", Target: true, Message: "SageMaker keeps an instance for an hour at most", Hint: "write \"1h\""})
	default:
		c.Faults = append(c.Faults, ir.Fault{Field: "needs", Note: true,
			Message: fmt.Sprintf("its instance (%s) stays for %s after each run, which costs as much as a run of that length if no other run uses it", c.settings.trainingInstance(u.Needs), j.Warm)})
	}
}

// service reports what services in AWS do not have.
func (c *checks) service(u ir.Unit) {
	e, at := u.Endpoint, c.settings.endpoint(&u)
	if e == nil {
		c.Fault("command", "choose another target", "AWS runs jobs and services that answer requests, but no workers")
		return
	}
	switch where := c.settings.place(&u); {
	case where == onSageMaker && at.Instance == "":
		c.Fault("needs", fmt.Sprintf("add an instance type to the target: endpoints: %s: {on: \"sagemaker\", instance: \"ml.m5.large\"}", entityName(&u)), "an endpoint of SageMaker needs an instance type")
	case where == onSageMaker && u.Needs.Disk > mostVolume:
		c.Fault("needs.disk", "request at most 512GiB", "an instance of an endpoint has at most 512 GiB of disk")
	case where == onSageMaker && e.Scale != nil:
		c.Fault("replicas", "use a fixed number of replicas, or on: \"lambda\"", "endpoints have a fixed number of instances: Tenon does not scale them")
	case where == onLambda && u.Needs.GPU > 0:
		c.Fault("needs.gpu", fmt.Sprintf("add to the target: endpoints: %s: {on: \"sagemaker\", instance: \"ml.g5.xlarge\"}", entityName(&u)), "Lambda has no GPUs")
	case where == onLambda && u.Needs.Memory > mostLambda:
		c.Fault("needs.memory", fmt.Sprintf("add to the target: endpoints: %s: {on: \"sagemaker\", instance: \"ml.m5.2xlarge\"}", entityName(&u)), "Lambda has at most 10 GiB")
	case where == onLambda && u.Needs.Disk > mostScratch:
		c.Fault("needs.disk", "request at most 10GiB", "Lambda has at most 10 GiB of disk")
	}
	if e.TLS {
		c.Fault("tls", "remove tls", "AWS ends TLS in front of the service")
	}
	if e.Management != nil {
		c.Fault("management", "remove management", "the service has one port in AWS")
	}
	if u.Keeps != "" {
		c.Fault(u.Keeps, "remove "+u.Keeps, "the service has no folder that outlives it in AWS")
	}
}

// checkCIDR reports the address of a network that cannot be made.
func checkCIDR(a string) []ir.Fault {
	if a == "" || isNetwork(a) {
		return nil
	}
	return []ir.Fault{{Field: "cidr", Target: true, Message: fmt.Sprintf("%q is not the address of a network with 16 bits", a), Hint: `write "10.40.0.0/16"`}}
}
