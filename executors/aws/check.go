package aws

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// Check returns one fault for each field of a unit or its target that cannot be had in AWS, when
// only the infrastructure is written.
func Check(t ir.Target, u ir.Unit) []ir.Fault {
	s, err := SettingsOf(t)
	if err != nil {
		return []ir.Fault{{Field: "executor", Message: err.Error(), Target: true}}
	}
	return s.check(u).faults
}

// Check returns one fault for each field that keeps a unit from running in AWS.
func (e *Executor) Check(u ir.Unit) []ir.Fault {
	c := e.opts.Settings.check(u)
	const another = "choose a target with the executor process, containerd or kubernetes"
	switch {
	case u.Kind == ir.Service && e.opts.place(&u) == onLambda:
		c.function(u)
	case u.Kind == ir.Service && u.Endpoint != nil && u.Endpoint.Scale != nil:
		c.fault("replicas", another, "no service runs in AWS, whatever its load")
	case e.backend(e.opts.place(&u)) != nil, u.Kind == ir.Record:
	case u.Kind == ir.Service && len(c.faults) == 0:
		c.fault("component", another, "it is a service, and only jobs run in AWS; tenon compile --format=terraform writes infrastructure for it")
	case u.Needs.GPU > 0:
		c.fault("needs.gpu", another, "AWS Batch runs it on Fargate, which has no GPUs, and training jobs of SageMaker are not supported")
	}
	for _, in := range u.Inputs {
		if in.Kind == ir.EndpointOf && u.Kind == ir.Job {
			c.fault("in."+in.Port, another, "it calls the service %s, which does not run in AWS", strings.Replace(in.Unit, "/", ".", 1))
		}
	}
	return c.faults
}

func (s Settings) check(u ir.Unit) *checks {
	c := &checks{faults: local.CheckProgram(u), settings: s}
	c.target()
	switch s.place(&u) {
	case onTenon:
		c.objectives(u)
		return c
	case onBatch:
		if _, _, ok := size(u.Needs); !ok {
			c.fault("needs", "request less, or split the work", "a job on Fargate has at most 16 cores and 120 GiB")
		}
		if u.Needs.Disk > mostDisk {
			c.fault("needs.disk", "request at most 200GiB", "a job on Fargate has at most 200 GiB of disk")
		}
	case onLambda, onSageMaker:
		c.service(u)
	}
	c.unit(u)
	return c
}

type checks struct {
	faults   []ir.Fault
	settings Settings
}

// fault adds a fault, unless its field has one.
func (c *checks) fault(field, hint, format string, args ...any) {
	if slices.ContainsFunc(c.faults, func(f ir.Fault) bool { return f.Field == field && !f.Target }) {
		return
	}
	c.faults = append(c.faults, ir.Fault{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// target reports settings that contradict each other.
func (c *checks) target() {
	if a := c.settings.CIDR; a != "" && c.settings.Existing.Network == nil && !isNetwork(a) {
		c.faults = append(c.faults, ir.Fault{Field: "cidr", Target: true, Message: fmt.Sprintf("%q is not the address of a network with 16 bits", a), Hint: `write "10.40.0.0/16"`})
	}
	for _, tag := range sortedKeys(c.settings.Tags) {
		if strings.HasPrefix(tag, "tenon:") || strings.HasPrefix(tag, "aws:") {
			c.faults = append(c.faults, ir.Fault{Field: "tags", Target: true, Message: fmt.Sprintf("the tag %s is reserved", tag), Hint: "choose another name"})
			return
		}
	}
}

// unit reports what neither jobs nor services can have.
func (c *checks) unit(u ir.Unit) {
	if u.Needs.PIDs > 0 {
		c.fault("needs.pids", "remove needs.pids", "AWS does not limit the number of processes")
	}
	if u.Needs.Nodes > 1 {
		c.fault("needs.nodes", "choose a cluster, or one node", "a job has one machine")
	}
	if u.Needs.GPUSlice != "" {
		c.fault("needs.gpu.slice", "remove slice", "instances have whole GPUs")
	}
	if u.Kubernetes != nil {
		c.fault("kubernetes", "remove kubernetes", "it has no pods")
	}
	for _, f := range u.MachineFiles {
		c.fault(f, "take it from a secret, or choose a target with the executor process", "a container does not have the files of the machine")
	}
	for _, x := range u.Secrets {
		field := u.SecretField(x)
		switch {
		case u.Kind == ir.Service || c.settings.place(&u) == onTraining:
			c.fault(field, "let the program read it from Secrets Manager, or choose another target", "only jobs on Fargate get secrets")
		case x.Kubernetes != nil:
			c.fault(field+".secret.kubernetes", "take it from a variable: secret: env: \"NAME\"", "a job in AWS has no Secrets of a cluster")
		case x.Env == "":
			c.fault(field, "take it from a variable: secret: env: \"NAME\"; the target says with existing: secrets: NAME where it is", "a job in AWS does not have the files of this machine")
		case x.As == ir.AsFile:
			c.fault(field+".secret.as", "remove as", "a job in AWS gets secrets only in variables")
		}
	}
	if c.settings.Existing.Network != nil && len(c.settings.Existing.Network.OpenSubnets) == 0 && c.settings.place(&u) == onBatch && open(&u) {
		c.fault("network", "add open_subnets to existing: network of the target", "it uses the network, but the target has no subnets for that")
	}
	for _, in := range u.Inputs {
		if !portName.MatchString(in.From) {
			c.fault("in", "choose another name", "the port %q cannot be part of a policy", in.From)
		}
	}
	for _, out := range u.Outputs {
		if !portName.MatchString(out.Port) {
			c.fault("outputs", "choose another name", "the port %q cannot be part of a policy", out.Port)
		}
	}
}

// portName is what has no meaning in the ARN of a policy. A star or a dollar would.
var portName = lazyregexp.New(`^[a-zA-Z0-9_.-]+$`)

// service reports what Lambda and SageMaker do not have.
func (c *checks) service(u ir.Unit) {
	e, at := u.Endpoint, c.settings.endpoint(&u)
	if e == nil {
		c.fault("command", "choose another target", "AWS Batch and SageMaker run jobs and endpoints, but no workers")
		return
	}
	switch where := c.settings.place(&u); {
	case where == onSageMaker && at.Instance == "":
		c.fault("needs", fmt.Sprintf("add an instance type to the target: endpoints: %s: {on: \"sagemaker\", instance: \"ml.m5.large\"}", entityName(&u)), "an endpoint of SageMaker needs an instance type")
	case where == onSageMaker && e.Scale != nil:
		c.fault("replicas", "use a fixed number of replicas, or on: \"lambda\"", "scaling of endpoints is not supported")
	case where == onLambda && u.Needs.GPU > 0:
		c.fault("needs.gpu", fmt.Sprintf("add to the target: endpoints: %s: {on: \"sagemaker\", instance: \"ml.g5.xlarge\"}", entityName(&u)), "Lambda has no GPUs")
	case where == onLambda && u.Needs.Memory > mostLambda:
		c.fault("needs.memory", fmt.Sprintf("add to the target: endpoints: %s: {on: \"sagemaker\", instance: \"ml.m5.2xlarge\"}", entityName(&u)), "Lambda has at most 10 GiB")
	case where == onLambda && u.Needs.Disk > mostScratch:
		c.fault("needs.disk", "request at most 10GiB", "Lambda has at most 10 GiB of disk")
	}
	if e.TLS {
		c.fault("tls", "remove tls", "AWS ends TLS in front of the service")
	}
	if e.Management != nil {
		c.fault("management", "remove management", "the service has one port in AWS")
	}
	if u.Release != nil {
		c.fault("release", "remove release", "releases on AWS are not supported")
	}
	if u.Keeps != "" {
		c.fault(u.Keeps, "remove "+u.Keeps, "the service has no folder that outlives it in AWS")
	}
}

// objectives reports objectives that no alarm of CloudWatch watches.
func (c *checks) objectives(u ir.Unit) {
	o, ok := objectivesOf(&u)
	if !ok {
		return
	}
	for _, x := range []struct {
		field string
		said  bool
	}{{"freshness", o.Freshness != ""}, {"quality", len(o.Quality) > 0}, {"parity", o.Parity != ""}} {
		if x.said {
			c.faults = append(c.faults, ir.Fault{Field: x.field, Note: true, Message: "CloudWatch has no metric of it, so there is no alarm", Hint: "watch it with the Prometheus rules"})
		}
	}
}
