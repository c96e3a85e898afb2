package aws

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// A Balancer is the load balancer in front of deployments on Fargate.
type Balancer struct {
	Certificate string   `json:"certificate"` // ARN in AWS Certificate Manager, or "" for HTTP
	Public      bool     `json:"public"`      // the Internet reaches it
	Callers     []string `json:"callers"`     // networks that may send requests
	Subnets     []string `json:"subnets"`     // of a public one in an existing network
}

// Tags of the cluster of Amazon ECS, in which the infrastructure says what [containers] need to know: the name and the
// short ARN of the load balancer, the subnets and security groups of a lane, and the target group of a unit.
const (
	tagAddress  = "tenon:address"
	tagBalancer = "tenon:balancer"
	tagSubnets  = "tenon:subnets-"
	tagGroups   = "tenon:groups-"
	tagTargets  = "tenon:targets-"
)

// Limits of tags, from "Tagging your AWS resources": how many a resource has, and the characters of a value, in
// which ids of subnets have 24 and a space.
const (
	mostTags    = 50
	mostSubnets = 10
)

// ecsCluster returns the name of the cluster of Amazon ECS, balancerName that of the load balancer, targets that of the target
// group of a deployment, and container that of its service.
func (w *writer) ecsCluster() string          { return fit(w.prefix, mostECS) }
func (w *writer) balancerName() string        { return hyphened(w.prefix, mostBalancer) }
func (w *writer) targets(u *ir.Unit) string   { return hyphened(w.name(u), mostBalancer) }
func (w *writer) container(u *ir.Unit) string { return fit(w.name(u), mostECS-1-sumLength) }

// secure reports whether the load balancer speaks HTTPS.
func (b Balancer) secure() bool { return b.Certificate != "" }

// balancerLane returns the part of the network in which the load balancer is. In an existing one, an internal load balancer is
// in subnets, which are checked, whatever the network of deployments.
func (w *writer) balancerLane() lane {
	switch {
	case w.Balancer.Public:
		return openLane
	case w.Existing.Network != nil:
		return closedLane
	}
	if lanes := lanesOf(w.tasks()); len(lanes) > 0 {
		return lanes[0]
	}
	return closedLane
}

// zonesOfBalancer returns in how many zones the load balancer is.
func (w *writer) zonesOfBalancer() int64 {
	if n := len(w.Balancer.Subnets); n > 0 {
		return int64(n)
	}
	return subnetsOfLane
}

// balancerFits returns an error if the load balancer cannot choose between two deployments, or if its name or the tags of the
// cluster would be refused by AWS.
func (w *writer) balancerFits() error {
	of := map[string]string{}
	for _, u := range w.at(onFargate) {
		host := w.Settings.endpoint(u).Host
		if other, has := of[host]; has && host != "" {
			return fmt.Errorf("%s and %s have the host %s in endpoints of target %s: give each a host of its own", other, u.ID, host, w.sys.Target.Name)
		} else if has {
			return fmt.Errorf("%s and %s have no host in endpoints of target %s, and the load balancer needs one to choose between them: add endpoints: %s: host", other, u.ID, w.sys.Target.Name, entityName(u))
		}
		of[host] = u.ID
	}
	if name := w.balancerName(); len(of) > 0 && strings.HasPrefix(name, "internal-") {
		return fmt.Errorf("the load balancer of target %s would be named %s, and AWS reserves names that begin with internal-: choose another prefix", w.sys.Target.Name, name)
	}
	if n := len(of) + len(w.Tags) + 8; len(of) > 0 && n > mostTags {
		return fmt.Errorf("target %s has %d deployments on Fargate and %d tags, for which its cluster would have %d tags, and AWS allows %d: use fewer tags, or split the system", w.sys.Target.Name, len(of), len(w.Tags), n, mostTags)
	}
	return nil
}

// containers writes what deployments on Fargate need: a cluster, and a load balancer that sends requests to the
// group of targets of each. Their services and tasks are made by tenon apply.
func (w *writer) containers() {
	f := w.file("services.tf")
	w.balancerGroups(f)
	w.balancer(f)
	for _, u := range w.at(onFargate) {
		w.targetGroup(f, u)
	}
	w.rules(f)
	b := f.Resource("aws_ecs_cluster", "main")
	b.Comment("Its tags say to tenon apply where services are.")
	b.Set("name", terraform.Text(w.ecsCluster()))
	tags := []terraform.Field{
		{Key: tagAddress, Value: reference("aws_lb", "main", "dns_name")},
		{Key: tagBalancer, Value: reference("aws_lb", "main", "arn_suffix")},
	}
	for _, l := range lanesOf(w.at(onFargate)) {
		tags = append(tags,
			terraform.Field{Key: tagSubnets + l.name, Value: w.joinedSubnets(l)},
			terraform.Field{Key: tagGroups + l.name, Value: terraform.Join(reference("aws_security_group", l.name, "id"), " ", reference("aws_security_group", "served", "id"))})
	}
	for _, u := range w.at(onFargate) {
		tags = append(tags, terraform.Field{Key: tagTargets + label(u.ID), Value: reference("aws_lb_target_group", label(u.ID), "arn")})
	}
	b.Set("tags", terraform.Object(tags...))
}

// joinedSubnets returns the subnets of a lane as one text.
func (w *writer) joinedSubnets(l lane) terraform.Expr {
	var parts []any
	add := func(x any) {
		if len(parts) > 0 {
			parts = append(parts, " ")
		}
		parts = append(parts, x)
	}
	if w.Existing.Network == nil {
		for i := range subnetsOfLane {
			add(terraform.Code(fmt.Sprintf("aws_subnet.%s[%d].id", l.name, i)))
		}
	}
	for _, s := range w.subnets(l).Items {
		add(s.Text)
	}
	return terraform.Join(parts...)
}

// port returns the port of the load balancer.
func (b Balancer) port() int64 {
	if b.secure() {
		return 443
	}
	return 80
}

// balancerGroups writes who may send requests to the load balancer, and that only the load balancer reaches the containers,
// at any port: the version before may have another one, and answers until the next is ready.
func (w *writer) balancerGroups(f *terraform.File) {
	callers, targets := terraform.Texts(w.Balancer.Callers...), terraform.Texts("0.0.0.0/0")
	if w.Existing.Network == nil {
		targets = terraform.List(reference("aws_vpc", "main", "cidr_block"))
		if len(w.Balancer.Callers) == 0 {
			callers = targets
		}
	}
	const least, most = 1, 65_535
	b := f.Resource("aws_security_group", "balancer")
	b.Set("name", terraform.Text(w.prefix+"-balancer"))
	b.Set("description", terraform.Text("Load balancer of "+w.sys.Name))
	b.Set("vpc_id", w.vpcID())
	rule := func(b *terraform.Body, kind string, from, to int64, name string, who terraform.Expr) {
		r := b.Block(kind)
		r.Set("protocol", terraform.Text("tcp"))
		r.Set("from_port", terraform.Int(from))
		r.Set("to_port", terraform.Int(to))
		r.Set(name, who)
	}
	rule(b, "ingress", w.Balancer.port(), w.Balancer.port(), "cidr_blocks", callers)
	rule(b, "egress", least, most, "cidr_blocks", targets)
	b = f.Resource("aws_security_group", "served")
	b.Set("name", terraform.Text(w.prefix+"-served"))
	b.Set("description", terraform.Text("Deployments of "+w.sys.Name+", which the load balancer reaches"))
	b.Set("vpc_id", w.vpcID())
	rule(b, "ingress", least, most, "security_groups", terraform.List(reference("aws_security_group", "balancer", "id")))
}

func (w *writer) balancer(f *terraform.File) {
	b := f.Resource("aws_lb", "main")
	b.Set("name", terraform.Text(w.balancerName()))
	b.Set("load_balancer_type", terraform.Text("application"))
	b.Set("internal", terraform.Bool(!w.Balancer.Public))
	subnets := w.subnets(w.balancerLane())
	if len(w.Balancer.Subnets) > 0 {
		subnets = terraform.Texts(w.Balancer.Subnets...)
	}
	b.Set("subnets", subnets)
	b.Set("security_groups", terraform.List(reference("aws_security_group", "balancer", "id")))
	b.Set("drop_invalid_header_fields", terraform.Bool(true))
	if w.Existing.Network == nil && w.Balancer.Public {
		b.Set("depends_on", terraform.List(terraform.Code("aws_route.internet"))) // AWS asks for a gateway
	}
	b = f.Resource("aws_lb_listener", "main")
	b.Set("load_balancer_arn", reference("aws_lb", "main", "arn"))
	b.Set("port", terraform.Int(w.Balancer.port()))
	if w.Balancer.secure() {
		b.Set("protocol", terraform.Text("HTTPS"))
		b.Set("ssl_policy", terraform.Text(tlsPolicy))
		b.Set("certificate_arn", terraform.Text(w.Balancer.Certificate))
	} else {
		b.Set("protocol", terraform.Text("HTTP"))
	}
	a := b.Block("default_action")
	if i := slices.IndexFunc(w.at(onFargate), func(u *ir.Unit) bool { return w.Settings.endpoint(u).Host == "" }); i >= 0 {
		a.Set("type", terraform.Text("forward"))
		a.Set("target_group_arn", reference("aws_lb_target_group", label(w.at(onFargate)[i].ID), "arn"))
		return
	}
	a.Set("type", terraform.Text("fixed-response"))
	r := a.Block("fixed_response")
	r.Set("content_type", terraform.Text("text/plain"))
	r.Set("message_body", terraform.Text("no deployment has this host"))
	r.Set("status_code", terraform.Text("404"))
}

// tlsPolicy is what AWS recommends: TLS 1.3, and 1.2 with forward secrecy. Source: "Security policies for your
// Application Load Balancer".
const tlsPolicy = "ELBSecurityPolicy-TLS13-1-2-2021-06"

// Times in seconds. A container that gives way answers what it has got for as long as drainTime says.
const (
	drainTime   = 30
	probePeriod = 5
)

// targetGroup writes the group of the containers of a deployment. Its port is never used, because Amazon ECS registers each
// container with its own: so another port does not replace the group.
func (w *writer) targetGroup(f *terraform.File, u *ir.Unit) {
	b := f.Resource("aws_lb_target_group", label(u.ID))
	b.Set("name", terraform.Text(w.targets(u)))
	b.Set("port", terraform.Int(80))
	b.Set("protocol", terraform.Text("HTTP"))
	b.Set("target_type", terraform.Text("ip"))
	b.Set("vpc_id", w.vpcID())
	b.Set("deregistration_delay", terraform.Int(drainTime))
	h := b.Block("health_check")
	h.Set("path", terraform.Text(u.Endpoint.Ready))
	h.Set("matcher", terraform.Text("200"))
	h.Set("interval", terraform.Int(probePeriod))
	h.Set("timeout", terraform.Int(probePeriod-1))
	h.Set("healthy_threshold", terraform.Int(2))
	h.Set("unhealthy_threshold", terraform.Int(4))
	tagged(b, u)
}

// rules writes for which host requests go to which group.
func (w *writer) rules(f *terraform.File) {
	priorities := w.priorities()
	for _, u := range w.at(onFargate) {
		host := w.Settings.endpoint(u).Host
		if host == "" {
			continue
		}
		b := f.Resource("aws_lb_listener_rule", label(u.ID))
		b.Set("listener_arn", reference("aws_lb_listener", "main", "arn"))
		b.Set("priority", terraform.Int(priorities[u.ID]))
		b.Block("condition").Block("host_header").Set("values", terraform.Texts(host))
		a := b.Block("action")
		a.Set("type", terraform.Text("forward"))
		a.Set("target_group_arn", reference("aws_lb_target_group", label(u.ID), "arn"))
		tagged(b, u)
	}
}

// priorities returns the order of rules. It follows from the unit, so that another deployment changes no other rule.
func (w *writer) priorities() map[string]int64 {
	const most = 50_000 // that AWS allows
	all, taken := map[string]int64{}, map[int64]bool{}
	for _, u := range w.at(onFargate) {
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(u.ID))
		p := int64(sum.Sum32()) % most
		for taken[p+1] {
			p = (p + 1) % most
		}
		taken[p+1] = true
		all[u.ID] = p + 1
	}
	return all
}
