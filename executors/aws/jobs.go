package aws

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// sizes are the tasks of Fargate: cores in thousandths, and the least, the most and the step
// of memory in MiB.
var sizes = []struct{ milli, least, most, step int64 }{
	{250, 512, 2048, 512}, {500, 1024, 4096, 1024}, {1000, 2048, 8192, 1024}, {2000, 4096, 16_384, 1024},
	{4000, 8192, 30_720, 1024}, {8000, 16_384, 61_440, 4096}, {16_000, 32_768, 122_880, 8192},
}

const (
	// A unit that says nothing gets this.
	usualCPU    = 1000
	usualMemory = 2048 // MiB

	leastDisk   = 20 << 30 // that every task has
	mostDisk    = 200 << 30
	leastTime   = time.Minute // that AWS Batch allows
	mostLambda  = 10_240 << 20
	mostScratch = 10_240 << 20
	mostVolume  = 512 << 30 // of an instance of an endpoint
	serviceMin  = 128       // MiB of a function
)

// size returns the smallest task that has what a unit needs: thousandths of cores, and memory in
// MiB. The smallest with 0.25 cores has a list of sizes; steps are those of 512 MiB that all have.
func size(n ir.Resources) (milli, mebibytes int64, ok bool) {
	cpu, memory := int64(usualCPU), int64(usualMemory)
	if n.MilliCPU > 0 {
		cpu = n.MilliCPU
	}
	if n.Memory > 0 {
		memory = (n.Memory-1)>>20 + 1
	}
	for _, s := range sizes {
		if cpu > s.milli || memory > s.most {
			continue
		}
		rounded := s.least + (max(memory-s.least, 0)+s.step-1)/s.step*s.step
		if s.milli == 250 && rounded == 1536 {
			rounded = 2048 // which is what AWS offers
		}
		return s.milli, rounded, true
	}
	return 0, 0, false
}

// isNetwork reports whether an address in CIDR notation is that of a network.
func isNetwork(cidr string) bool {
	p, err := netip.ParsePrefix(cidr)
	return err == nil && p.Bits() == 16 && p.Addr().Is4() && p.Masked() == p
}

// A lane is a part of the network, and a queue of AWS Batch there, for units with the same access to it.
type lane struct {
	name string // "closed" or "open"
	open bool
	// balanced is the tag of subnets in which a cluster makes load balancers, or "".
	balanced string
}

var closedLane, openLane = lane{name: "closed"}, lane{name: "open", open: true}

func laneOf(u *ir.Unit) lane {
	if open(u) {
		return openLane
	}
	return closedLane
}

// queue returns the name of a queue and of its compute environment.
func (w *writer) queue(l lane) string { return fit(w.prefix+"-"+l.name, mostQueue) }

// lanesOf returns the lanes of some units.
func lanesOf(units []*ir.Unit) (lanes []lane) {
	for _, l := range []lane{closedLane, openLane} {
		if slices.ContainsFunc(units, func(u *ir.Unit) bool { return laneOf(u) == l }) {
			lanes = append(lanes, l)
		}
	}
	return lanes
}

// batch writes queues, and a job definition for each unit.
func (w *writer) batch() {
	f := w.file("jobs.tf")
	for _, l := range lanesOf(w.jobs()) {
		name := w.queue(l)
		b := f.Resource("aws_batch_compute_environment", l.name)
		b.Set("name", terraform.Text(name))
		b.Set("type", terraform.Text("MANAGED"))
		r := b.Block("compute_resources")
		kind := "FARGATE"
		if w.Jobs.Spot {
			kind = "FARGATE_SPOT"
		}
		r.Set("type", terraform.Text(kind))
		r.Set("max_vcpus", terraform.Int(w.Jobs.CPU))
		r.Set("subnets", w.subnets(l))
		r.Set("security_group_ids", terraform.List(reference("aws_security_group", l.name, "id")))
		b = f.Resource("aws_batch_job_queue", l.name)
		b.Set("name", terraform.Text(name))
		b.Set("state", terraform.Text("ENABLED"))
		b.Set("priority", terraform.Int(1))
		o := b.Block("compute_environment_order")
		o.Set("order", terraform.Int(1))
		o.Set("compute_environment", reference("aws_batch_compute_environment", l.name, "arn"))
		for _, reason := range []string{"MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE", "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"} {
			x := b.Block("job_state_time_limit_action")
			x.Comment("A job that can never start would stay RUNNABLE forever.")
			x.Set("action", terraform.Text("CANCEL"))
			x.Set("max_time_seconds", terraform.Int(600))
			x.Set("reason", terraform.Text(reason))
			x.Set("state", terraform.Text("RUNNABLE"))
		}
	}
	for _, u := range w.at(onBatch) {
		w.definition(f, u)
	}
}

// definition writes the job definition of a unit. Tenon repeats what fails, so AWS makes one
// attempt.
func (w *writer) definition(f *terraform.File, u *ir.Unit) {
	b := f.Resource("aws_batch_job_definition", label(u.ID))
	once(b, "images", u)
	b.Set("name", terraform.Text(fit(w.name(u), mostJob)))
	b.Set("type", terraform.Text("container"))
	b.Set("platform_capabilities", terraform.Texts("FARGATE"))
	b.Set("propagate_tags", terraform.Bool(true))
	milli, memory, _ := size(u.Needs)
	resource := func(kind, value string) terraform.Expr {
		return terraform.Object(terraform.Field{Key: "type", Value: terraform.Text(kind)}, terraform.Field{Key: "value", Value: terraform.Text(value)})
	}
	ip, architecture := "DISABLED", "X86_64"
	if open(u) && w.Existing.Network == nil {
		ip = "ENABLED" // there is no NAT gateway
	}
	if w.Architecture == "arm64" {
		architecture = "ARM64"
	}
	fields := []terraform.Field{
		{Key: "image", Value: key("images", u)},
		{Key: "jobRoleArn", Value: reference("aws_iam_role", w.placed(u), "arn")},
		{Key: "executionRoleArn", Value: reference("aws_iam_role", execution(u.ID), "arn")},
		{Key: "resourceRequirements", Value: terraform.List(resource("VCPU", strconv.FormatFloat(float64(milli)/1000, 'f', -1, 64)), resource("MEMORY", strconv.FormatInt(memory, 10)))},
		{Key: "networkConfiguration", Value: terraform.Object(terraform.Field{Key: "assignPublicIp", Value: terraform.Text(ip)})},
		{Key: "runtimePlatform", Value: terraform.Object(
			terraform.Field{Key: "cpuArchitecture", Value: terraform.Text(architecture)}, terraform.Field{Key: "operatingSystemFamily", Value: terraform.Text("LINUX")})},
		{Key: "logConfiguration", Value: terraform.Object(terraform.Field{Key: "logDriver", Value: terraform.Text("awslogs")}, terraform.Field{Key: "options", Value: terraform.Object(
			terraform.Field{Key: "awslogs-group", Value: reference("aws_cloudwatch_log_group", w.placed(u), "name")},
			terraform.Field{Key: "awslogs-region", Value: terraform.Code("var.region")},
			terraform.Field{Key: "awslogs-stream-prefix", Value: terraform.Text("job")})})},
	}
	if u.Needs.Disk > leastDisk {
		fields = append(fields, terraform.Field{Key: "ephemeralStorage", Value: terraform.Object(terraform.Field{Key: "sizeInGiB", Value: terraform.Int((u.Needs.Disk-1)>>30 + 1)})})
	}
	var secrets []terraform.Expr
	for _, x := range u.Secrets {
		secrets = append(secrets, terraform.Object(terraform.Field{Key: "name", Value: terraform.Text(x.Name)}, terraform.Field{Key: "valueFrom", Value: w.secret(x.Env)}))
	}
	if len(secrets) > 0 {
		fields = append(fields, terraform.Field{Key: "secrets", Value: terraform.List(secrets...)})
	}
	b.Set("container_properties", terraform.Call("jsonencode", terraform.Object(fields...)))
	b.Block("retry_strategy").Set("attempts", terraform.Int(1))
	if u.Timeout > 0 {
		limit := max(u.Timeout, leastTime)
		b.Block("timeout").Set("attempt_duration_seconds", terraform.Int(int64((limit+time.Second-1)/time.Second)))
	}
	tagged(b, u)
}
