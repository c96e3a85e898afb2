package kubernetes

import (
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
)

// nobody is the user that pods run as. By convention of rootless images, no image and
// no node has a user with this number.
const nobody = 65532

// The phases of stopping a pod.
const (
	// grace is how long a program has after SIGTERM.
	grace = 10 * time.Second
	// drain is how long a service continues after it was asked to end, until all nodes
	// have heard of it and no requests arrive any more.
	drain = 5 * time.Second
	// podGrace is the grace period of a pod in all. A job may have to store its
	// outputs.
	podGrace = 60 * time.Second
)

const container = "unit" // its name

// probePeriod is how often the readiness of a service is probed.
const probePeriod = 2 * time.Second

// masterPort is where the first of several nodes listens, as is usual with torchrun.
const masterPort = 29500

// pod returns the template of a task's pods.
func (s Settings) pod(t executors.Task, image, digest string, fetched int64) corev1.PodTemplateSpec {
	u, place := t.Unit, s.placement(t.Unit)
	c := corev1.Container{
		Name: container, Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         []string{pod.Program, "run", "--store", s.Store, "--task", digest},
		Env:             variables(t),
		Resources:       resources(u.Needs, fetched+keptRoom(u)),
		SecurityContext: confined(),
	}
	spec := s.podSpec(u)
	spec.AutomountServiceAccountToken, spec.ServiceAccountName = ptr(place.Token), place.ServiceAccount
	if s.Cluster != nil {
		spec.ServiceAccountName = cloud.ServiceAccount(u.ID)
	}
	if u.Kind != ir.Service {
		spec.RestartPolicy = corev1.RestartPolicyNever
	}
	if s.StoreSecret != "" {
		c.EnvFrom = []corev1.EnvFromSource{{Prefix: pod.StoreEnv, SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: s.StoreSecret}}}}
	}
	s.volumes(t, &spec, &c)
	s.gpus(u.Needs, &spec)
	if u.Needs.Nodes > 1 {
		spec.Subdomain = t.Name
	}
	if u.Kind == ir.Service {
		stayUp(t, &spec, &c)
	}
	spec.Containers = []corev1.Container{c}
	annotations := s.annotations(u)
	if s.Cluster != nil && u.Kind != ir.Service {
		annotations = merged(s.Cluster.Undisturbed, annotations)
	}
	labels := merged(s.labels(u), ofTask(t), answering(t))
	if s.Cluster != nil {
		labels = merged(labels, s.Cluster.Labels)
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
		Spec:       spec,
	}
}

// podSpec returns what all pods of a unit share. They are started again when they end.
func (s Settings) podSpec(u ir.Unit) corev1.PodSpec {
	place := s.placement(u)
	spec := corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyAlways,
		TerminationGracePeriodSeconds: ptr(seconds(podGrace)),
		EnableServiceLinks:            ptr(false), // they would become variables of the program
		PriorityClassName:             place.PriorityClass,
		NodeSelector:                  place.NodeSelector,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: ptr(true), RunAsUser: ptr(int64(nobody)), RunAsGroup: ptr(int64(nobody)),
			FSGroup: ptr(int64(nobody)), FSGroupChangePolicy: ptr(corev1.FSGroupChangeOnRootMismatch),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	tolerations := place.Tolerations
	if s.Cluster != nil {
		tolerations = slices.Concat(tolerations, s.Cluster.Tolerations)
	}
	for _, x := range tolerations {
		spec.Tolerations = append(spec.Tolerations, toleration(x))
	}
	for _, name := range s.PullSecrets {
		spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return spec
}

// confined is what a container may do: nothing but run.
func confined() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr(false), ReadOnlyRootFilesystem: ptr(true),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

// stayUp adds what a service has and a job has not. tenon-pod, the first process, makes
// sure that a pod stops without losing requests.
func stayUp(t executors.Task, spec *corev1.PodSpec, c *corev1.Container) {
	if e := t.Unit.Endpoint; e != nil {
		serve(e, spec, c)
		c.StartupProbe = &corev1.Probe{ProbeHandler: c.ReadinessProbe.ProbeHandler, PeriodSeconds: c.ReadinessProbe.PeriodSeconds, TimeoutSeconds: c.ReadinessProbe.TimeoutSeconds}
	} else {
		// It asks tenon-pod, which first fetches the inputs, and not the program.
		started := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{pod.Program, pod.StartedCommand}}}
		c.StartupProbe = &corev1.Probe{ProbeHandler: started, PeriodSeconds: 1, TimeoutSeconds: 10}
	}
	c.StartupProbe.FailureThreshold = int32(seconds(patience(t.Unit)))/c.StartupProbe.PeriodSeconds + 1
	if most(t.Unit.Endpoint) > 1 {
		spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: &metav1.LabelSelector{MatchLabels: ofTask(t)},
		}}
	}
}

// serve adds the port of an endpoint and the probe of its readiness.
func serve(e *ir.Endpoint, spec *corev1.PodSpec, c *corev1.Container) {
	// The probe of a cluster does not verify certificates.
	get := &corev1.HTTPGetAction{Path: e.Ready, Port: intstr.FromString("http")}
	if e.TLS {
		get.Scheme = corev1.URISchemeHTTPS
	}
	c.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: int32(e.Port), Protocol: corev1.ProtocolTCP}}
	if m := e.Management; m != nil {
		get.Port, get.Scheme = intstr.FromString("management"), ""
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: "management", ContainerPort: int32(m.Port), Protocol: corev1.ProtocolTCP})
	}
	ready := corev1.ProbeHandler{HTTPGet: get}
	period := int32(seconds(probePeriod))
	c.ReadinessProbe = &corev1.Probe{ProbeHandler: ready, PeriodSeconds: period, TimeoutSeconds: period}
	if slices.ContainsFunc(e.All(), func(e *ir.Endpoint) bool { return e.Port < 1024 }) {
		spec.SecurityContext.Sysctls = []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}}
	}
}

// variables returns the variables of a pod that its image does not set: the addresses
// of the other nodes, the UID of a pod with a route, and the secrets.
func variables(t executors.Task) []corev1.EnvVar {
	var env []corev1.EnvVar
	if n := t.Unit.Needs.Nodes; n > 1 {
		rank := &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
		env = append(env,
			corev1.EnvVar{Name: "MASTER_ADDR", Value: t.Name + "-0." + t.Name},
			corev1.EnvVar{Name: "MASTER_PORT", Value: decimal(masterPort)},
			corev1.EnvVar{Name: "WORLD_SIZE", Value: decimal(n)},
			corev1.EnvVar{Name: "RANK", ValueFrom: rank},
			corev1.EnvVar{Name: "NODE_RANK", ValueFrom: rank})
	}
	if t.Route != nil {
		env = append(env, corev1.EnvVar{Name: pod.UIDEnv, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.uid"}}})
	}
	for _, x := range t.Unit.Secrets {
		v := corev1.EnvVar{Name: pod.SecretEnv + x.Name}
		if x.As == ir.AsFile {
			v.Value = path.Join(pod.Secrets, x.Name)
		} else {
			name, key := secretKey(t, x)
			v.ValueFrom = &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key}}
		}
		env = append(env, v)
	}
	return env
}

// secretKey returns the Secret and the key that hold a secret.
func secretKey(t executors.Task, x ir.Secret) (name, key string) {
	if x.Kubernetes != nil {
		return x.Kubernetes.Name, x.Kubernetes.Key
	}
	return t.Name, x.Name
}

// volumes adds the volumes of a pod: its working folder, shared memory, secrets as
// files, and the store if that is a volume.
func (s Settings) volumes(t executors.Task, spec *corev1.PodSpec, c *corev1.Container) {
	mount := func(name, at string, readOnly bool, source corev1.VolumeSource) {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: at, ReadOnly: readOnly})
	}
	mount("work", pod.Work, false, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	// What is written to /tmp counts against the disk limit too.
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "work", MountPath: "/tmp", SubPath: "scratch"})
	if room := keptRoom(t.Unit); room > 0 {
		mount("kept", pod.Kept, false, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: resource.NewQuantity(room, resource.BinarySI)}})
	}
	// Shared memory counts as memory of the container. It gets at most half of it.
	shared := &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
	if m := t.Unit.Needs.Memory; m > 0 {
		shared.SizeLimit = resource.NewQuantity(m/2, resource.BinarySI)
	}
	mount("memory", "/dev/shm", false, corev1.VolumeSource{EmptyDir: shared})
	var files []corev1.VolumeProjection
	for _, x := range t.Unit.Secrets {
		if x.As == ir.AsFile {
			name, key := secretKey(t, x)
			files = append(files, corev1.VolumeProjection{Secret: &corev1.SecretProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: []corev1.KeyToPath{{Key: key, Path: x.Name}},
			}})
		}
	}
	if len(files) > 0 {
		mount("secrets", pod.Secrets, true, corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: files, DefaultMode: ptr(int32(0o440))}})
	}
	if v := s.StoreVolume; v != nil {
		mount("store", v.Path, false, corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: v.Claim}})
	}
}

// logRoom is the disk space of a unit's log: the stored log, the same again to rearrange
// it, and what its node keeps.
const logRoom = 2*pod.MaxLog + 64<<20

// resources returns the requests and limits of a unit. They are equal, so that it always
// gets all of them. Only the limit of the disk is higher, because the node also counts
// what the unit reads and prints. So the node bounds only what is written outside out and
// scratch, which tenon-pod measures.
func resources(needs ir.Resources, fetched int64) corev1.ResourceRequirements {
	list := corev1.ResourceList{}
	if needs.MilliCPU > 0 {
		list[corev1.ResourceCPU] = *resource.NewMilliQuantity(needs.MilliCPU, resource.DecimalSI)
	}
	if needs.Memory > 0 {
		list[corev1.ResourceMemory] = *resource.NewQuantity(needs.Memory, resource.BinarySI)
	}
	if needs.Disk > 0 {
		list[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(needs.Disk, resource.BinarySI)
	}
	if needs.GPU > 0 {
		list[gpuResource(needs)] = *resource.NewQuantity(needs.GPU, resource.DecimalSI)
	}
	if len(list) == 0 {
		return corev1.ResourceRequirements{}
	}
	limits := maps.Clone(list)
	if needs.Disk > 0 {
		limits[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(needs.Disk+fetched+logRoom, resource.BinarySI)
	}
	return corev1.ResourceRequirements{Requests: list, Limits: limits}
}

// gpuResource returns the name that NVIDIA's device plugin gives to devices and their
// slices.
func gpuResource(needs ir.Resources) corev1.ResourceName {
	if needs.GPUSlice != "" {
		return corev1.ResourceName("nvidia.com/mig-" + needs.GPUSlice)
	}
	return "nvidia.com/gpu"
}

// Labels that NVIDIA's feature discovery gives to nodes.
const (
	labelGPUModel  = "nvidia.com/gpu.product" // as nvidia-smi prints it, with "-" for spaces
	labelGPUMemory = "nvidia.com/gpu.memory"  // MiB
)

// gpus selects nodes whose devices are of a model or have enough memory. A slice names
// its memory itself. In a cluster that Tenon makes, it selects the pools with such devices.
func (s Settings) gpus(needs ir.Resources, spec *corev1.PodSpec) {
	var wanted []corev1.NodeSelectorRequirement
	if s.Cluster != nil {
		if needs.GPU > 0 {
			spec.Tolerations = append(spec.Tolerations, corev1.Toleration{Key: cloud.TaintGPU, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
			wanted = append(wanted, corev1.NodeSelectorRequirement{Key: cloud.LabelPool, Operator: corev1.NodeSelectorOpIn, Values: s.Cluster.Fitting(needs)})
		}
		needs.GPUModel, needs.GPUMemory = "", 0
	}
	if needs.GPUModel != "" {
		wanted = append(wanted, corev1.NodeSelectorRequirement{Key: labelGPUModel, Operator: corev1.NodeSelectorOpIn, Values: []string{gpuModel(needs)}})
	}
	if needs.GPUMemory > 0 && needs.GPUSlice == "" {
		least := (needs.GPUMemory + 1<<20 - 1) >> 20
		wanted = append(wanted, corev1.NodeSelectorRequirement{Key: labelGPUMemory, Operator: corev1.NodeSelectorOpGt, Values: []string{decimal(least - 1)}})
	}
	if len(wanted) > 0 {
		spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: wanted}},
		}}}
	}
}

// chosen returns the node requirements that [gpus] has added to a pod.
func chosen(spec corev1.PodSpec) (all []corev1.NodeSelectorRequirement) {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil || spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	for _, term := range spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		all = append(all, term.MatchExpressions...)
	}
	return all
}

func gpuModel(needs ir.Resources) string { return strings.ReplaceAll(needs.GPUModel, " ", "-") }

func toleration(x ir.Toleration) corev1.Toleration {
	t := corev1.Toleration{Key: x.Key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffect(x.Effect)}
	if x.Value != "" {
		t.Operator, t.Value = corev1.TolerationOpEqual, x.Value
	}
	return t
}
