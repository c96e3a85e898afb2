package aws

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// subnets returns the subnets of a lane.
func (w *writer) subnets(l lane) terraform.Expr {
	if n := w.Existing.Network; n != nil {
		if l.open {
			return terraform.Texts(n.OpenSubnets...)
		}
		return terraform.Texts(n.Subnets...)
	}
	return terraform.Code("aws_subnet." + l.name + "[*].id")
}

// network writes the network of jobs: for those that are closed, subnets from which only the
// services of AWS that they need can be reached, and for others, subnets with the Internet.
func (w *writer) network() {
	f := w.file("network.tf")
	made := w.Existing.Network == nil
	if made {
		w.vpc(f)
	}
	for _, l := range w.lanes() {
		if slices.Contains(lanesOf(w.tasks()), l) { // otherwise only the load balancer is there
			w.securityGroup(f, l)
		}
		if made {
			w.lane(f, l)
		}
	}
	if made {
		w.gateways(f)
	}
}

// securityGroup writes what units of a lane reach.
func (w *writer) securityGroup(f *terraform.File, l lane) {
	b := f.Resource("aws_security_group", l.name)
	b.Set("name", terraform.Text(w.prefix+"-"+l.name))
	b.Set("description", terraform.Text("Jobs of "+w.sys.Name+", "+l.name))
	b.Set("vpc_id", w.vpcID())
	e := b.Block("egress")
	e.Set("protocol", terraform.Text("-1"))
	e.Set("from_port", terraform.Int(0))
	e.Set("to_port", terraform.Int(0))
	switch {
	case l.open || w.Existing.Network != nil: // the subnets decide
		e.Set("cidr_blocks", terraform.Texts("0.0.0.0/0"))
	default:
		e.Set("cidr_blocks", terraform.List(reference("aws_vpc", "main", "cidr_block")))
		e.Set("prefix_list_ids", terraform.List(reference("aws_vpc_endpoint", "s3", "prefix_list_id")))
	}
}

// tasks returns the units that run as tasks of Fargate, which have a network.
func (w *writer) tasks() []*ir.Unit { return slices.Concat(w.jobs(), w.at(onFargate)) }

// lanes returns the parts of the network that are needed.
func (w *writer) lanes() []lane {
	lanes := lanesOf(w.tasks())
	if l := w.balancerLane(); w.any(onFargate) && !slices.Contains(lanes, l) {
		lanes = append(lanes, l)
	}
	return lanes
}

// vpcID returns the id of the network.
func (w *writer) vpcID() terraform.Expr {
	if n := w.Existing.Network; n != nil {
		return terraform.Text(n.VPC)
	}
	return reference("aws_vpc", "main", "id")
}

// vpc writes the network itself, and finds its zones.
func (w *writer) vpc(f *terraform.File) {
	b := f.Resource("aws_vpc", "main")
	b.Set("cidr_block", terraform.Text(w.CIDR))
	b.Set("enable_dns_hostnames", terraform.Bool(true))
	b.Set("enable_dns_support", terraform.Bool(true))
	named(b, w.prefix)
	b = f.Block("data", "aws_availability_zones", "available")
	b.Set("state", terraform.Text("available"))
	regular := b.Block("filter")
	regular.Comment("Zones that an account has to opt in to have no Fargate.")
	regular.Set("name", terraform.Text("opt-in-status"))
	regular.Set("values", terraform.Texts("opt-in-not-required"))
}

func named(b *terraform.Body, name string, more ...terraform.Field) {
	b.Set("tags", terraform.Object(append([]terraform.Field{{Key: "Name", Value: terraform.Text(name)}}, more...)...))
}

// subnetsOfLane is how many subnets a lane has, each in another zone.
const subnetsOfLane = 2

// lane writes the subnets of a lane and their table of routes.
func (w *writer) lane(f *terraform.File, l lane) {
	first := 0
	if l.open {
		first = 2 // always, so that another lane moves none
	}
	b := f.Resource("aws_subnet", l.name)
	b.Set("count", terraform.Int(subnetsOfLane))
	b.Set("vpc_id", reference("aws_vpc", "main", "id"))
	b.Set("cidr_block", terraform.Code(fmt.Sprintf("cidrsubnet(aws_vpc.main.cidr_block, 4, %d + count.index)", first)))
	b.Set("availability_zone", terraform.Code("data.aws_availability_zones.available.names[count.index]"))
	var more []terraform.Field
	if l.balanced != "" {
		more = append(more, terraform.Field{Key: l.balanced, Value: terraform.Text("1")})
	}
	named(b, w.prefix+"-"+l.name, more...)
	b = f.Resource("aws_route_table", l.name)
	b.Set("vpc_id", reference("aws_vpc", "main", "id"))
	named(b, w.prefix+"-"+l.name)
	b = f.Resource("aws_route_table_association", l.name)
	b.Set("count", terraform.Int(subnetsOfLane))
	b.Set("subnet_id", terraform.Code("aws_subnet."+l.name+"[count.index].id"))
	b.Set("route_table_id", reference("aws_route_table", l.name, "id"))
	if !l.open {
		return
	}
	b = f.Resource("aws_internet_gateway", "main")
	b.Set("vpc_id", reference("aws_vpc", "main", "id"))
	named(b, w.prefix)
	b = f.Resource("aws_route", "internet")
	b.Set("route_table_id", reference("aws_route_table", l.name, "id"))
	b.Set("destination_cidr_block", terraform.Text("0.0.0.0/0"))
	b.Set("gateway_id", reference("aws_internet_gateway", "main", "id"))
}

// gateways writes the ways from the network to services of AWS: that to S3 costs nothing, the
// others only exist for closed jobs, because AWS bills them by the hour.
func (w *writer) gateways(f *terraform.File) {
	lanes := w.lanes()
	var tables []terraform.Expr
	for _, l := range lanes {
		tables = append(tables, reference("aws_route_table", l.name, "id"))
	}
	w.toS3(f, tables...)
	if lanes[0].open {
		return
	}
	b := f.Resource("aws_security_group", "services")
	b.Set("name", terraform.Text(w.prefix+"-services"))
	b.Set("description", terraform.Text("Services of AWS that jobs reach without the Internet"))
	b.Set("vpc_id", reference("aws_vpc", "main", "id"))
	in := b.Block("ingress")
	in.Set("protocol", terraform.Text("tcp"))
	in.Set("from_port", terraform.Int(443))
	in.Set("to_port", terraform.Int(443))
	in.Set("cidr_blocks", terraform.List(reference("aws_vpc", "main", "cidr_block")))
	for _, service := range w.services() {
		b := f.Resource("aws_vpc_endpoint", strings.ReplaceAll(service, ".", "_"))
		b.Set("vpc_id", reference("aws_vpc", "main", "id"))
		b.Set("service_name", terraform.Join("com.amazonaws.", terraform.Code("var.region"), "."+service))
		b.Set("vpc_endpoint_type", terraform.Text("Interface"))
		b.Set("private_dns_enabled", terraform.Bool(true))
		b.Set("subnet_ids", terraform.Code("aws_subnet.closed[*].id"))
		b.Set("security_group_ids", terraform.List(reference("aws_security_group", "services", "id")))
		named(b, w.prefix+"-"+service)
	}
}

// toS3 writes the way to S3 from subnets with some tables of routes.
func (w *writer) toS3(f *terraform.File, tables ...terraform.Expr) {
	b := f.Resource("aws_vpc_endpoint", "s3")
	b.Set("vpc_id", reference("aws_vpc", "main", "id"))
	b.Set("service_name", terraform.Join("com.amazonaws.", terraform.Code("var.region"), ".s3"))
	b.Set("vpc_endpoint_type", terraform.Text("Gateway"))
	b.Set("route_table_ids", terraform.List(tables...))
	named(b, w.prefix+"-s3")
}

// services returns the services that closed jobs reach through interfaces.
func (w *writer) services() []string {
	services := []string{"ecr.api", "ecr.dkr", "logs"}
	var kept, parameters bool
	for _, u := range w.tasks() {
		for _, variable := range w.access(u).Secrets {
			if open(u) {
				continue
			}
			ssm := strings.Contains(w.Existing.Secrets[variable], ":ssm:")
			kept, parameters = kept || !ssm, parameters || ssm
		}
	}
	if kept {
		services = append(services, "secretsmanager")
	}
	if parameters {
		services = append(services, "ssm")
	}
	return services
}
