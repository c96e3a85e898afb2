package all

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/executors/azure"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/containerd"
	"github.com/tenon-ml/tenon/executors/gcp"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/executors/process"
	"github.com/tenon-ml/tenon/executors/ssh"
	"github.com/tenon-ml/tenon/executors/terraform"
	"github.com/tenon-ml/tenon/planner"
)

// list has every executor, in the order in which they are asked for what was started.
var list = []struct {
	name string
	make func(ir.Target, Setup) (executors.Executor, error)
}{
	{process.Name, newProcess},
	{containerd.Name, newContainerd},
	{kubernetes.Name, newKubernetes},
	{ssh.Name, newSSH},
	{aws.Name, newAWS},
	{gcp.Name, newGCP},
	{azure.Name, newAzure},
}

// A platform has infrastructure, which can be written for others to apply, also for units that its
// executor does not run.
type platform struct {
	name  string
	check func(ir.Target, ir.Unit) []ir.Fault
	write func(*ir.System) ([]terraform.Document, error)
	// provisioning says who applies it.
	provisioning func(ir.Target) (terraform.Provisioning, error)
}

var platforms = []platform{
	{aws.Name, aws.Check, aws.Infrastructure, aws.Provisioning},
	{gcp.Name, gcp.Check, gcp.Infrastructure, gcp.Provisioning},
	{azure.Name, azure.Check, azure.Infrastructure, azure.Provisioning},
	{aws.EKS, Check, aws.Infrastructure, aws.Provisioning},
	{gcp.GKE, Check, gcp.Infrastructure, gcp.Provisioning},
	{azure.AKS, Check, azure.Infrastructure, azure.Provisioning},
}

// platformOf returns the platform of a target, or nil. That of a cluster which Tenon makes is the service
// that runs it.
func platformOf(t ir.Target) *platform {
	name := t.Executor
	if s, err := kubernetes.SettingsOf(t, ""); name == kubernetes.Name && err == nil {
		name = s.Service
	}
	for i := range platforms {
		if platforms[i].name == name {
			return &platforms[i]
		}
	}
	return nil
}

// Default is the executor of systems that name no target. It needs nothing but the machine.
const Default = process.Name

// Config is what executors take from the machine, for all systems alike.
type Config struct {
	Programs executors.Programs // of Tenon, that units run
	Tenon    string             // path of tenon, which runs detached applies
	Runner   string             // path of tenon-run, from which programs are started
	Pod      string             // path of tenon-pod, the first process of pods
	Host     string             // path of tenon-host, which runs on hosts of ssh
	Environ  []string           // tenon's environment, as of os.Environ
	// ContainerdAddress and ContainerdNamespace are for targets that do not say them.
	ContainerdAddress, ContainerdNamespace string
	// CDI are the folders with specifications of devices; nil are the usual ones.
	CDI []string
}

// A Setup is what executors work with besides their target.
type Setup struct {
	Config
	// Python makes Python environments.
	Python ssh.Environments
	// Images returns the store of images that reaches registries as hosts says.
	Images func(hosts string) *image.Store

	System string // name of the system, if it is known
	Env    string // its environment, "" for the one without a name
	State  string // lineage of the state, if there is one
	Runs   string // folder of runs, if there is one
	Shared bool   // other machines use the same state
	// Packed is what a detached apply was sent with.
	Packed executors.Packed
	// Warn reports an error despite which an executor continues. Nil reports none.
	Warn func(error)
}

// A Trial says what the tests of an executor run it against, and which of its paths they never ran.
type Trial struct {
	Executor string `json:"executor"`
	Target   string `json:"target"` // definition in the library
	Tested   string `json:"tested_against"`
	Never    string `json:"never_run,omitempty"`
}

// Trials has one for each executor, in the order of [Names].
var Trials = []Trial{
	{process.Name, "tenon.#Process", "processes of the machine", ""},
	{containerd.Name, "tenon.#Containerd", "containerd and runc", ""},
	{kubernetes.Name, "tenon.#Kubernetes, tenon.#EKS, tenon.#GKE, tenon.#AKS", "a cluster of one node: API server, kubelet, containerd, also behind a check of tokens of EKS and AKS; OpenTofu with providers made from the schemas; the schema of pools of nodes", "EKS, GKE and AKS themselves, with what makes and scales them; several nodes; GPUs of a cluster"},
	{ssh.Name, "tenon.#SSH", "sshd and containerd in network namespaces", "other machines; GPUs of hosts, for which a fake nvidia-smi answers"},
	{aws.Name, "tenon.#AWS", "an emulator (moto) in which jobs, functions, endpoints and services on Fargate run; OpenTofu with version 4.9 of the provider", "AWS itself; load balancers; version 6 of the provider, whose schema is checked"},
	{gcp.Name, "tenon.#GCP", "a fake of the APIs in which jobs, services and endpoints run; OpenTofu with a provider made from the schema", "Google Cloud itself; GPUs of Vertex AI and Cloud Run; the provider, from whose schema that of the tests is made"},
	{azure.Name, "tenon.#Azure", "a fake of the APIs in which jobs, services and endpoints run; azurite for blobs; OpenTofu with a provider made from the schema", "Azure itself; GPUs of Container Apps and Azure Machine Learning, and the history of runs there; the provider, from whose schema that of the tests is made"},
}

// Names are the executors that there are.
func Names() []string {
	names := make([]string, len(list))
	for i, x := range list {
		names[i] = x.name
	}
	return names
}

// New makes the executor of a target. It connects to nothing yet.
func New(t ir.Target, s Setup) (executors.Executor, error) {
	for _, x := range list {
		if x.name == t.Executor {
			return x.make(t, s)
		}
	}
	return nil, fmt.Errorf("this tenon has no executor %q", t.Executor)
}

// Check returns one fault for each field of a unit or its target that the executor cannot
// honour.
func Check(t ir.Target, u ir.Unit) []ir.Fault {
	x, err := New(t, Setup{})
	if err != nil {
		return []ir.Fault{{Field: "executor", Message: err.Error(), Target: true}}
	}
	if c, ok := x.(executors.Checker); ok {
		return c.Check(u)
	}
	return nil
}

// CheckInfrastructure is [Check] for a system of which only the infrastructure is written.
func CheckInfrastructure(t ir.Target, u ir.Unit) []ir.Fault {
	if p := platformOf(t); p != nil {
		return p.check(t, u)
	}
	return Check(t, u)
}

// Infrastructure returns the files with the infrastructure of a system's target, or false if its
// target has none.
func Infrastructure(sys *ir.System) (docs []terraform.Document, ok bool, err error) {
	p := platformOf(sys.Target)
	if p == nil {
		return nil, false, nil
	}
	if docs, err = p.write(sys); err == nil {
		docs, err = terraform.WithOwn(docs, terraform.OwnOf(sys.Target.Settings))
	}
	return docs, true, err
}

// InCloud reports whether a cloud bills what runs on a target.
func InCloud(t ir.Target) bool { return platformOf(t) != nil }

// CloudFormation returns [Infrastructure] as a template, or false if the target is not in AWS.
func CloudFormation(sys *ir.System) (docs []terraform.Document, ok bool, err error) {
	if sys.Target.Executor != aws.Name {
		return nil, false, nil
	}
	if own := terraform.OwnOf(sys.Target.Settings); len(own) > 0 {
		return nil, true, fmt.Errorf("target %s has files of its own for OpenTofu, which a template of CloudFormation cannot contain: remove `files` of the target, or use --format=terraform", sys.Target.Name)
	}
	docs, err = aws.CloudFormation(sys)
	return docs, true, err
}

// Standing returns what the infrastructure of a system costs while nothing runs, or nil if that is not known of
// its target.
func Standing(sys *ir.System) (*planner.Standing, error) {
	p := platformOf(sys.Target)
	if p == nil {
		return nil, nil
	}
	switch p.name {
	case aws.Name, aws.EKS:
		return aws.Standing(sys)
	case gcp.GKE:
		return gcp.StandingCluster(sys)
	case azure.AKS:
		return azure.StandingCluster(sys)
	}
	return nil, nil
}

// Provisioning says who applies the infrastructure of a target, or false if it has none.
func Provisioning(t ir.Target) (p terraform.Provisioning, ok bool, err error) {
	x := platformOf(t)
	if x == nil {
		return p, false, nil
	}
	p, err = x.provisioning(t)
	return p, true, err
}

// Find returns the first executor that has a capability, with the settings of no target.
func Find[Capability any]() (Capability, bool) {
	for _, x := range list {
		made, err := x.make(ir.Target{Executor: x.name}, Setup{})
		if c, ok := made.(Capability); err == nil && ok {
			return c, true
		}
	}
	var none Capability
	return none, false
}

func newProcess(_ ir.Target, s Setup) (executors.Executor, error) {
	return process.New(process.Options{Programs: s.Programs, Runner: s.Runner, Python: s.Python, Env: s.Environ}), nil
}

func newContainerd(t ir.Target, s Setup) (executors.Executor, error) {
	settings, err := containerd.SettingsOf(t)
	if err != nil {
		return nil, err
	}
	o := containerd.Options{
		Place: settings.Place, Hosts: settings.Hosts, Programs: s.Programs, Runner: s.Runner, Env: s.Environ, CDI: s.CDI,
	}
	o.Address = cmp.Or(o.Address, s.ContainerdAddress)
	o.Namespace = cmp.Or(o.Namespace, s.ContainerdNamespace)
	if s.Images != nil {
		o.Build = s.Images(settings.Hosts).Build
	}
	return containerd.New(o), nil
}

func newKubernetes(t ir.Target, s Setup) (executors.Executor, error) {
	settings, err := kubernetes.SettingsOf(t, s.System)
	if err != nil {
		return nil, err
	}
	settings.State, settings.Env = s.State, s.Env
	if settings.Service != "" {
		if settings.Cluster, err = clusterOf(settings.Service, t, s); err != nil {
			return nil, err
		}
		settings.Store, settings.Registry = settings.Cluster.Store, settings.Cluster.Registry
	}
	o := kubernetes.Options{
		Reach:    reachCluster,
		Settings: settings, Programs: s.Programs, Tenon: s.Tenon, Pod: s.Pod, Runs: s.Runs, Home: s.Packed.Home, Images: s.Packed.Images,
	}
	if s.Images != nil {
		store := s.Images(settings.Hosts)
		o.Build, o.Publish = store.Build, store.Publish
	}
	return kubernetes.New(o), nil
}

// clusterOf returns what the executor for Kubernetes has to know of a cluster that Tenon makes.
func clusterOf(service string, t ir.Target, s Setup) (*cloud.Cluster, error) {
	switch service {
	case aws.EKS:
		return aws.ClusterOf(t, s.System, s.Env)
	case gcp.GKE:
		return gcp.ClusterOf(t, s.System, s.Env)
	case azure.AKS:
		return azure.ClusterOf(t, s.System, s.Env)
	}
	return nil, fmt.Errorf("this tenon makes no clusters of %q", service)
}

// reachCluster says how a cluster that Tenon has made is reached.
func reachCluster(ctx context.Context, name string) (cloud.ClusterAccess, error) {
	switch service, _, _ := strings.Cut(name, "/"); service {
	case gcp.GKE:
		return gcp.ReachCluster(ctx, name)
	case azure.AKS:
		return azure.ReachCluster(ctx, name)
	}
	return aws.ReachCluster(ctx, name)
}

func newSSH(t ir.Target, s Setup) (executors.Executor, error) {
	settings, err := ssh.SettingsOf(t)
	if err != nil {
		return nil, err
	}
	settings.State = s.State
	o := ssh.Options{Settings: settings, Programs: s.Programs, Python: s.Python, Runner: s.Runner, Host: s.Host, Runs: s.Runs, Shared: s.Shared, Env: s.Environ, Warn: s.Warn}
	if s.Images != nil {
		o.Build = s.Images("").Build
	}
	return ssh.New(o), nil
}

func newAWS(t ir.Target, s Setup) (executors.Executor, error) {
	settings, err := aws.SettingsOf(t)
	if err != nil {
		return nil, err
	}
	x := aws.New(aws.Options{Settings: settings, Options: inCloud(s, settings.Hosts), Tenon: s.Tenon, Images: s.Packed.Images})
	if settings.Controller != nil {
		return aws.Detaching{Executor: x}, nil
	}
	return x, nil
}

func newGCP(t ir.Target, s Setup) (executors.Executor, error) {
	settings, err := gcp.SettingsOf(t)
	if err != nil {
		return nil, err
	}
	return gcp.New(gcp.Options{Settings: settings, Options: inCloud(s, settings.Hosts)}), nil
}

func newAzure(t ir.Target, s Setup) (executors.Executor, error) {
	settings, err := azure.SettingsOf(t)
	if err != nil {
		return nil, err
	}
	return azure.New(azure.Options{Settings: settings, Options: inCloud(s, settings.Hosts)}), nil
}

// Credentials returns those of a host for images: those of docker, or for a container registry of Azure without any there, those
// that Azure's own tools find. Without either, the error is one that says so, and the registry is asked without any.
func Credentials(host string) (user, secret string, err error) {
	user, secret, err = image.DockerCredentials(host)
	if err == nil && secret == "" && azure.IsRegistry(host) {
		token, err := azure.RegistryToken(context.Background(), host)
		if err != nil {
			return "", "", &image.NoCredentialsError{Err: err}
		}
		return "", token, nil
	}
	return user, secret, err
}

// inCloud returns what executors of all clouds take from a setup.
func inCloud(s Setup, hosts string) cloud.Options {
	o := cloud.Options{System: s.System, Env: s.Env, State: s.State, Programs: s.Programs, Pod: s.Pod, Runs: s.Runs, Warn: s.Warn}
	if s.Images != nil {
		store := s.Images(hosts)
		o.Build, o.Publish = store.Build, store.Publish
	}
	return o
}
