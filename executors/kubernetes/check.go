package kubernetes

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// leastMemory is what a container and tenon-pod need for themselves.
const leastMemory = 32 << 20

// check returns one fault for each field of the target or the unit that a cluster
// cannot honour.
func check(s Settings, u ir.Unit) []ir.Fault {
	c := checks{faults: local.CheckProgram(u)}
	c.target(s)
	if s.Cluster != nil {
		c.faults = append(c.faults, s.Cluster.Check(u)...)
	}
	if u.Kubernetes != nil {
		c.placement("kubernetes.", *u.Kubernetes)
		c.exposure(u)
	}
	reads := slices.IndexFunc(u.Inputs, func(in ir.Input) bool { return in.Kind == ir.EndpointOf })
	switch {
	case u.Network != ir.NetworkNone:
	case reads >= 0:
		c.fault("network", "remove network", "it reads the endpoint of %s over the network", u.Inputs[reads].Unit)
	case !s.closes():
		c.fault("network", "list the addresses in store_network of the target, or remove network",
			"its pod must reach the store, but the target has no store_network")
	}
	c.needs(u.Needs)
	for _, f := range u.MachineFiles {
		c.fault(f, "take it from a secret with as: \"file\", or choose a target with the executor process", "a pod does not have the files of the machine")
	}
	if field := u.Code.DuckDB; field != "" {
		c.fault(field, "choose a target on one machine, or remove "+field, "a check beside a service may need more memory than the pod has, and a cluster then ends all processes of the pod")
	}
	switch {
	case u.Keeps == "" || len(u.Ships) > 0 || u.Keeps == u.Code.DuckDB:
	case strings.HasSuffix(u.Keeps, ".acme"):
		c.fault(u.Keeps, "let cert-manager, or whoever makes the Ingress, get the certificate: kubernetes: expose: tls, or a Secret for cert and key",
			"a pod has no folder for certificates that outlive it, and each pod would ask for one of its own")
	default:
		c.fault(u.Keeps, "choose a target on one machine, or remove "+u.Keeps, "a pod has no folder for files that outlive it")
	}
	if e := u.Endpoint; e != nil {
		c.scale(u, e)
		if most := most(e); e.Counts != "" && most > 1 {
			c.faults = append(c.faults, ir.Fault{Field: e.Counts, Note: true,
				Message: fmt.Sprintf("each pod counts by itself, so that a caller whose connections reach all %d pods may ask %[1]d times as much", most),
				Hint:    "write the limits of one pod, or limit callers at the Ingress"})
		}
		if !slices.Contains(anyHost, e.Host) {
			c.fault("host", "remove host", "a pod listens on its own address")
		}
		if m := e.Management; m != nil && !slices.Contains(anyHost, m.Host) {
			c.fault("management.host", "remove host", "a pod listens on its own address")
		}
	}
	for _, x := range u.Secrets {
		if !secretName.MatchString(x.Name) || x.Name == "." || x.Name == ".." || len(x.Name) > validation.DNS1123SubdomainMaxLength {
			c.fault(u.SecretField(x), "choose another name", "%q is not a valid key of a Secret", x.Name)
		}
	}
	return c.faults
}

// longestIdle is what the cluster's own autoscaler allows.
const longestIdle = time.Hour

// scale reports what keeps replicas from following their load.
func (c *checks) scale(u ir.Unit, e *ir.Endpoint) {
	switch {
	case e.Scale == nil:
	case toZero(e) && e.TLS:
		c.fault("replicas", "set min to 1, or remove tls and let the Ingress have the certificate",
			"without a replica, nobody can read requests over TLS, and so nobody can hold them")
	case !followed(e) && u.Needs.MilliCPU == 0:
		c.fault("replicas", "set needs.cpu, set in_flight, or use a fixed number of replicas", "the load is relative to needs.cpu, which is not set")
	case !followed(e) && e.Scale.Idle > longestIdle:
		c.fault("replicas", "choose at most 1h, or set in_flight", "the cluster's autoscaler waits for an hour at most")
	}
}

// anyHost are the hosts of services that name no particular machine.
var anyHost = []string{"", "127.0.0.1", "localhost", "::1", "0.0.0.0", "::"}

var secretName = lazyregexp.New(`^[-._a-zA-Z0-9]+$`)

type checks struct {
	faults []ir.Fault
	of     bool // the fault is in the target
}

func (c *checks) fault(field, hint, format string, args ...any) {
	c.faults = append(c.faults, ir.Fault{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint, Target: c.of})
}

func (c *checks) target(s Settings) {
	c.of = true
	defer func() { c.of = false }()
	c.placement("", s.Placement)
	for _, cidr := range s.StoreNetwork {
		if _, err := netip.ParsePrefix(cidr); err != nil {
			c.fault("store_network", `write addresses as "10.0.0.0/8"`, "%q is not a network in CIDR notation", cidr)
		}
	}
	if folder, ok := strings.CutPrefix(s.Store, "file://"); ok {
		switch v := s.StoreVolume; {
		case v == nil:
			c.fault("store", `add store_volume: {claim: "NAME", path: "/mnt"}, or use an object store`, "pods share no files without a volume")
		case own(v.Path):
			c.fault("store_volume", `choose another path, such as "/mnt"`, "%s is private to each pod", v.Path)
		case !strings.HasPrefix(path.Clean(folder)+"/", path.Clean(v.Path)+"/"):
			c.fault("store", fmt.Sprintf("write file://%s", v.Path), "%s is not in store_volume, which is at %s", folder, v.Path)
		}
	}
}

// own reports whether a path is below a folder that every pod has of its own.
func own(at string) bool {
	return slices.ContainsFunc([]string{"/tmp", "/tenon", "/dev", "/proc", "/sys"}, func(dir string) bool {
		return strings.HasPrefix(path.Clean(at)+"/", dir+"/")
	})
}

// exposure reports what an Ingress or HTTPRoute of the unit cannot do.
func (c *checks) exposure(u ir.Unit) {
	x := u.Kubernetes.Expose
	if x == nil {
		return
	}
	if u.Endpoint == nil {
		c.fault("kubernetes.expose", "remove expose", "it has no endpoint that clients could reach")
		return
	}
	for _, k := range slices.Sorted(maps.Keys(x.Annotations)) {
		if errs := validation.IsQualifiedName(strings.ToLower(k)); len(errs) > 0 {
			c.fault("kubernetes.expose.annotations", rule(errs), "%q is not a valid name of an annotation", k)
			break
		}
	}
	switch {
	case x.Gateway != "" && x.TLS != "":
		c.fault("kubernetes.expose.tls", "name the Secret in a listener of the Gateway, and remove tls", "a Gateway has the certificates of its hosts")
	case x.Gateway != "" && x.Class != "":
		c.fault("kubernetes.expose.class", "remove class, or gateway for an Ingress", "an HTTPRoute has no IngressClass")
	case x.Gateway == "" && cmp.Or(x.Path, "/") != "/" && len(x.Annotations) == 0:
		c.fault("kubernetes.expose.path", "use a Gateway, which removes the path, or add the annotations that make your controller remove it",
			"an Ingress passes requests on with %s in front of their path, where the service answers none", x.Path)
	}
}

// placement reports what the cluster would refuse.
func (c *checks) placement(at string, p ir.Placement) {
	labels := func(field string, m map[string]string) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if errs := append(validation.IsQualifiedName(k), validation.IsValidLabelValue(m[k])...); len(errs) > 0 {
				c.fault(at+field, rule(errs), "%s: %q is not a valid label", k, m[k])
				return
			}
		}
	}
	labels("node_selector", p.NodeSelector)
	labels("labels", p.Labels)
	for _, k := range slices.Sorted(maps.Keys(p.Annotations)) {
		if errs := validation.IsQualifiedName(strings.ToLower(k)); len(errs) > 0 {
			c.fault(at+"annotations", rule(errs), "%q is not a valid name of an annotation", k)
			break
		}
	}
	if metavalidation.ValidateAnnotationsSize(p.Annotations) != nil {
		c.fault(at+"annotations", "shorten the annotations", "annotations are limited to %d bytes", metavalidation.TotalAnnotationSizeLimitB)
	}
	for _, own := range []struct {
		field string
		names map[string]string
	}{{"labels", p.Labels}, {"annotations", p.Annotations}} {
		for _, k := range slices.Sorted(maps.Keys(own.names)) {
			if strings.HasPrefix(k, "tenon.dev/") || k == labelManagedBy {
				c.fault(at+own.field, "choose another name", "%s is reserved for tenon", k)
				break
			}
		}
	}
	for _, x := range p.Tolerations {
		if x.Key == "" && x.Value != "" {
			c.fault(at+"tolerations", "name the key", "the value %q has no key", x.Value)
		}
	}
}

// rule returns the requirement in the cluster's own error message, without the pattern.
func rule(errs []string) string {
	text, _, _ := strings.Cut(errs[0], " (e.g.")
	return text
}

func (c *checks) needs(n ir.Resources) {
	if n.PIDs > 0 {
		c.fault("needs.pids", "remove needs.pids", "a node has one limit for the processes of every pod")
	}
	if n.Memory > 0 && n.Memory < leastMemory {
		c.fault("needs.memory", "request "+ir.FormatSize(leastMemory)+" or more", "a pod needs at least %s", ir.FormatSize(leastMemory))
	}
	if n.GPUModel != "" && len(validation.IsValidLabelValue(gpuModel(n))) > 0 {
		c.fault("needs.gpu.model", "use the name that `nvidia-smi -L` prints", "%q cannot be the value of a node label", n.GPUModel)
	}
	if n.GPUSlice != "" && len(validation.IsQualifiedName(string(gpuResource(n)))) > 0 {
		c.fault("needs.gpu.slice", `use NVIDIA's form: "1g.10gb"`, "%q is not a valid slice", n.GPUSlice)
	}
}
