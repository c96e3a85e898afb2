package aws

import (
	"fmt"
	"net/netip"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// fargate reports what containers on Fargate do not have.
func (c *checks) fargate(u ir.Unit) {
	c.balancer()
	e := u.Endpoint
	if e == nil {
		return // which is refused as a worker
	}
	name := entityName(&u)
	switch _, _, ok := size(u.Needs); {
	case u.Needs.GPU > 0:
		c.Fault("needs.gpu", fmt.Sprintf("write in the target: endpoints: %s: {on: \"sagemaker\", instance: \"ml.g5.xlarge\"}", name), "Fargate has no GPUs")
	case !ok:
		c.Fault("needs", fmt.Sprintf("request less, or write in the target: endpoints: %s: {on: \"sagemaker\", instance: ...}", name), "a task of Fargate has at most 16 cores and 120 GiB")
	case u.Needs.Disk > mostDisk:
		c.Fault("needs.disk", "request at most 200GiB", "a task of Fargate has at most 200 GiB of disk")
	}
	if e.Ready == "" {
		c.Fault("command", "choose another target", "the load balancer needs a path that answers 200 once the service is ready, and the service has none")
	}
	switch s := e.Scale; {
	case s == nil:
	case e.Replicas < 1:
		c.Fault("replicas", "write min: 1", "nothing starts a service on Fargate that has no task")
	case s.InFlight > 0:
		c.Fault("replicas", "remove in_flight: replicas then follow cpu", "AWS does not count requests in flight at a task")
	}
	if c.settings.Balancer.secure() && c.settings.endpoint(&u).Host == "" {
		c.Fault("endpoint", fmt.Sprintf("add to the target: endpoints: %s: host: \"%s.acme.example\", a name that the certificate has", name, name), "callers reach it over HTTPS, so it needs a host")
	}
	for _, in := range u.Inputs {
		if in.Kind == ir.EndpointOf {
			c.Fault("in."+in.Port, "choose a target with the executor process, containerd or kubernetes", "a service on Fargate reaches no other service")
		}
	}
	if most := replicasOf(u).most; e.Counts != "" && most > 1 {
		c.Faults = append(c.Faults, ir.Fault{Field: e.Counts, Note: true,
			Message: fmt.Sprintf("each replica counts for itself, and there may be %d", most), Hint: "limit callers in front of the service, or let it have one replica"})
	}
}

// balancer reports settings of the load balancer that contradict each other, or that let too many callers in.
func (c *checks) balancer() {
	b, existing := c.settings.Balancer, c.settings.Existing.Network
	fault := func(field, hint, format string, args ...any) {
		c.Faults = append(c.Faults, ir.Fault{Field: field, Target: true, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	if b.Public && !b.secure() {
		fault("balancer", "add certificate: an ARN of AWS Certificate Manager", "a public load balancer speaks HTTPS only")
	}
	switch {
	case len(b.Callers) > 0:
	case b.Public:
		fault("balancer", `add callers: ["203.0.113.0/24"], or ["0.0.0.0/0"] for the whole Internet`, "a public load balancer needs callers: it does not check AWS credentials")
	case existing != nil:
		fault("balancer", `add callers: ["10.0.0.0/16"]`, "in an existing network, the load balancer needs callers: the networks that may send requests")
	}
	for _, x := range b.Callers {
		if p, err := netip.ParsePrefix(x); err != nil || !p.Addr().Is4() || p.Masked() != p {
			fault("balancer", `write "10.0.0.0/16"`, "callers: %q is not the address of a network", x)
		}
	}
	if len(b.Subnets) > 0 && (existing == nil || !b.Public) {
		fault("balancer", "remove subnets", "only a public load balancer in an existing network has subnets of its own")
	}
	if existing == nil {
		return
	}
	of, field := existing.Subnets, "existing"
	if b.Public {
		of, field = b.Subnets, "balancer"
	}
	if len(of) < 2 {
		fault(field, "name two subnets or more, in different zones", "a load balancer is in two zones at least, and has %d subnets", len(of))
	}
	for _, of := range [][]string{existing.Subnets, existing.OpenSubnets} {
		if len(of) > mostSubnets {
			fault("existing", fmt.Sprintf("name at most %d", mostSubnets), "services on Fargate are in at most %d subnets, and it has %d", mostSubnets, len(of))
		}
	}
}
