package cloud

import (
	"context"
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
)

// A Cluster is what the executor for Kubernetes has to know of a cluster that Tenon makes in a
// cloud.
type Cluster struct {
	// Name identifies it among the clusters of all clouds: "eks/ACCOUNT/REGION/NAME".
	Name string
	// Store and Registry are as in tenon.#Kubernetes.
	Store, Registry string
	// Identity are the networks, in CIDR notation, from which pods get the credentials of their unit.
	Identity []string
	// Pools have all nodes with GPUs.
	Pools []Pool
	// Objects are what the cluster needs besides the objects of units, in this order.
	Objects []Object
	// Owned are the paths of collections from which objects of Tenon are removed that are not among
	// Objects.
	Owned []string
	// Undisturbed are annotations of pods that must not be moved to another node.
	Undisturbed map[string]string
	// Labels are those of pods that get the rights of their unit.
	Labels map[string]string
	// Tolerations are those of all pods.
	Tolerations []ir.Toleration
	// Faults are those of the target.
	Faults []ir.Fault
	// Secretless says why an Ingress cannot take its certificate from a Secret. It is "" if it can.
	Secretless string
}

// An Object is an object of a cluster, with the path of its URL.
type Object struct {
	Path    string
	Content map[string]any
}

// A ClusterAccess is how a cluster is reached.
type ClusterAccess struct {
	Host  string // URL of its API
	CA    []byte // certificates in PEM
	Token func(context.Context) (string, error)
	// Account returns the annotations of the service account of a unit. It is nil if rights need none.
	Account func(ctx context.Context, unit string) (map[string]string, error)
}

// A NoClusterError says that a cluster does not exist, so that nothing runs in it: the infrastructure of the next apply makes it.
type NoClusterError struct {
	Name, Where string // Where is "eu-central-1"
	Fix         string // what to do if a unit is about to start
}

func (e *NoClusterError) Error() string {
	return fmt.Sprintf("there is no cluster %s in %s: %s", e.Name, e.Where, e.Fix)
}

// AccessInCluster returns what the pods of a unit in a cluster that Tenon makes may do, below the root of the system, in
// an environment. Artifacts are stored by their digests, so that units share them. Notes about runs, and what a unit
// keeps, are those of the unit.
func AccessInCluster(env string, u *ir.Unit) (a Access) {
	const artifacts = "cas/"
	notes := "notes/runs/" + NotesOf(u.ID)
	a.Reads, a.Writes = []string{artifacts, notes}, []string{artifacts, notes}
	if u.Kind == ir.Service {
		a.Writes = []string{notes}
	}
	const kept = "kept/" + AnyLineage + "/"
	for _, s := range u.Ships {
		a.Removes = append(a.Removes, kept+pod.KeptOf(env, u.ID, s.Folder)+"/")
	}
	if u.Checkpoints > 0 {
		a.Removes = append(a.Removes, kept+pod.CheckpointsOf(env, Label(u.ID))+"/")
	}
	a.Reads, a.Writes = append(a.Reads, a.Removes...), append(a.Writes, a.Removes...)
	return a
}

// AnyLineage stands in a prefix for the lineage of the state, below which units keep files, and which is not known when
// infrastructure is written.
const AnyLineage = "*"

// NotesOf returns what the names of the notes about runs of a unit in a cluster begin with, below the folder of runs.
// It ends with a slash, so that it is never the beginning of those of another unit.
func NotesOf(unit string) string { return Label(unit) + "/" }

// LabelPool is the label of nodes with the name of their pool.
const LabelPool = "tenon.dev/pool"

// TaintGPU is the taint of nodes with GPUs, by NVIDIA's convention.
const TaintGPU = "nvidia.com/gpu"

// ClusterRepository is where images of a cluster are, below its registry.
const ClusterRepository = "/tenon"

// ServiceAccount returns the name of the account of a unit in a cluster that Tenon makes.
func ServiceAccount(unit string) string { return Hyphened("tenon-"+Label(unit), 63) }

// A Pool is nodes with the same GPUs.
type Pool struct {
	Name   string
	GPUs   int64 // of a node
	Model  string
	Memory int64 // bytes, of each GPU
}

// Fitting returns the names of the pools whose nodes have the GPUs that a unit needs.
func (c *Cluster) Fitting(n ir.Resources) (names []string) {
	for _, p := range c.Pools {
		if n.GPU <= p.GPUs && n.GPUMemory <= p.Memory && n.GPUSlice == "" && ir.IsModel(p.Model, n.GPUModel) {
			names = append(names, p.Name)
		}
	}
	return names
}

// Check reports needs of a unit that no node of the cluster has, and what only clusters have that
// Tenon does not make.
func (c *Cluster) Check(u ir.Unit) (faults []ir.Fault) {
	faults = append(faults, c.Faults...)
	fault := func(field, message, hint string) {
		faults = append(faults, ir.Fault{Field: field, Message: message, Hint: hint})
	}
	if u.Needs.GPU > 0 && len(c.Fitting(u.Needs)) == 0 {
		var all []string
		for _, p := range c.Pools {
			all = append(all, fmt.Sprintf("%s (%d x %s, %s each)", p.Name, p.GPUs, p.Model, ir.FormatSize(p.Memory)))
		}
		message := "no pool of the target has nodes with GPUs"
		if len(all) > 0 {
			message = "no pool of the target has nodes with such GPUs; it has " + strings.Join(all, ", ")
		}
		fault("needs.gpu", message, "add one to pools of the target")
	}
	if k := u.Kubernetes; k != nil {
		if k.ServiceAccount != "" {
			fault("kubernetes.service_account", "each unit has an account of its own, "+ServiceAccount(u.ID)+", to which its rights in the cloud are given", "remove service_account, and bind roles of the cluster to that account")
		}
		if x := k.Expose; x != nil && x.TLS != "" && c.Secretless != "" {
			fault("kubernetes.expose.tls", c.Secretless, "remove tls, and name the certificate in ingress of the target")
		}
	}
	return faults
}
