package azure

import (
	"maps"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// The roles of Azure that a cluster is used with.
const (
	roleAdmin   = "Azure Kubernetes Service RBAC Cluster Admin"
	roleNetwork = "Network Contributor"
)

// cluster writes what a cluster needs besides the container of blobs and the registry.
func (w *writer) cluster() error {
	w.clusterIdentity()
	w.aks()
	w.nodePools()
	w.admins()
	if err := w.rights(); err != nil {
		return err
	}
	f := w.file("outputs.tf")
	f.Output("cluster", "Name of the cluster.", cloud.Reference("azurerm_kubernetes_cluster", "main", "name"))
	f.Output("endpoint", "Name of the host of its API.", cloud.Reference("azurerm_kubernetes_cluster", "main", "fqdn"))
	f.Output("issuer", "URL of the issuer of the tokens of service accounts.", cloud.Reference("azurerm_kubernetes_cluster", "main", "oidc_issuer_url"))
	f.Output("artifacts", "Folder of the system in the container of blobs.", terraform.Text(w.folderURL()))
	f.Output("repository", "Where images are pushed.", terraform.Join(w.registryOf("login_server"), "/"+w.prefix))
	w.budget()
	return nil
}

// clusterIdentity writes the identity of the cluster itself, which manages its load balancers. Pods do not have it: those
// of a unit have the rights of the unit.
func (w *writer) clusterIdentity() {
	f := w.file("cluster.tf")
	b := f.Resource("azurerm_user_assigned_identity", "cluster")
	b.Set("name", terraform.Text(cloud.Fit(w.prefix+"-cluster", mostIdentity)))
	placed(b, nil)
	if w.Existing.Subnet == "" {
		return
	}
	b = f.Resource("azurerm_role_assignment", "subnet")
	b.Comment("The cluster puts nodes and load balancers there.")
	b.Set("scope", terraform.Text(w.Existing.Subnet))
	b.Set("role_definition_name", terraform.Text(roleNetwork))
	b.Set("principal_id", cloud.Reference("azurerm_user_assigned_identity", "cluster", "principal_id"))
	b.Set("principal_type", terraform.Text("ServicePrincipal"))
}

// systemPool is the name of the pool for what AKS runs itself, which cannot have no nodes.
const systemPool = "system"

func (w *writer) aks() {
	f := w.file("cluster.tf")
	b := f.Resource("azurerm_kubernetes_cluster", "main")
	b.Set("name", terraform.Text(w.prefix))
	placed(b, nil)
	b.Set("dns_prefix", terraform.Text(w.prefix))
	b.Set("kubernetes_version", terraform.Text(w.Version))
	b.Set("automatic_upgrade_channel", terraform.Text("patch"))
	b.Set("node_os_upgrade_channel", terraform.Text("NodeImage"))
	b.Comment("With an agreement on the availability of its API.")
	b.Set("sku_tier", terraform.Text("Standard"))
	b.Comment("Units get their rights from the tokens of their service accounts.")
	b.Set("oidc_issuer_enabled", terraform.Bool(true))
	b.Set("workload_identity_enabled", terraform.Bool(true))
	b.Comment("Without accounts of its own, only Microsoft Entra says who may use it.")
	b.Set("local_account_disabled", terraform.Bool(true))
	b.Set("run_command_enabled", terraform.Bool(false))
	b.Block("azure_active_directory_role_based_access_control").Set("azure_rbac_enabled", terraform.Bool(true))
	id := b.Block("identity")
	id.Set("type", terraform.Text("UserAssigned"))
	id.Set("identity_ids", terraform.List(cloud.Reference("azurerm_user_assigned_identity", "cluster", "id")))
	if !slices.Contains(w.Access, "0.0.0.0/0") { // which Azure does not take
		b.Block("api_server_access_profile").Set("authorized_ip_ranges", terraform.Texts(w.Access...))
	}
	net := b.Block("network_profile")
	net.Set("network_plugin", terraform.Text("azure"))
	net.Set("network_plugin_mode", terraform.Text("overlay"))
	net.Comment("It enforces network policies.")
	net.Set("network_data_plane", terraform.Text("cilium"))
	net.Set("network_policy", terraform.Text("cilium"))
	pool := b.Block("default_node_pool")
	pool.Set("name", terraform.Text(systemPool))
	pool.Set("vm_size", terraform.Text("Standard_D2s_v5"))
	pool.Set("auto_scaling_enabled", terraform.Bool(true))
	pool.Set("min_count", terraform.Int(1))
	pool.Set("max_count", terraform.Int(3))
	pool.Comment("Pods of units are in other pools.")
	pool.Set("only_critical_addons_enabled", terraform.Bool(true))
	pool.Set("temporary_name_for_rotation", terraform.Text("rotating"))
	w.nodeSubnet(pool)
	pool.Set("tags", terraform.Code("local.tags"))
	pool.Block("upgrade_settings").Set("max_surge", terraform.Text("10%"))
	if w.Existing.Subnet != "" {
		b.Set("depends_on", terraform.List(terraform.Code("azurerm_role_assignment.subnet")))
	}
	b = f.Resource("azurerm_role_assignment", "pull")
	b.Comment("Nodes pull images.")
	b.Set("scope", w.registryOf("id"))
	b.Set("role_definition_name", terraform.Text("AcrPull"))
	b.Set("principal_id", terraform.Code("azurerm_kubernetes_cluster.main.kubelet_identity[0].object_id"))
	b.Set("principal_type", terraform.Text("ServicePrincipal"))
}

// nodeSubnet puts a pool into the subnet that exists. Without one, AKS makes a network.
func (w *writer) nodeSubnet(pool *terraform.Body) {
	if w.Existing.Subnet != "" {
		pool.Set("vnet_subnet_id", terraform.Text(w.Existing.Subnet))
	}
}

// nodePools writes the pools of the target, which have no nodes while no pod needs one.
func (w *writer) nodePools() {
	f := w.file("nodes.tf")
	pools := w.pools()
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		w.nodePool(f, name, pools[name])
	}
}

// taintSpot is the taint that AKS gives to nodes on spare capacity. The provider wants it to be written.
var taintSpot = Taint{"kubernetes.azure.com/scalesetpriority", "spot", "NoSchedule"}

func (w *writer) nodePool(f *terraform.File, name string, p Pool) {
	b := f.Resource("azurerm_kubernetes_cluster_node_pool", name)
	b.Set("name", terraform.Text(name))
	b.Set("kubernetes_cluster_id", cloud.Reference("azurerm_kubernetes_cluster", "main", "id"))
	b.Set("mode", terraform.Text("User"))
	b.Set("vm_size", terraform.Text(p.Size))
	b.Set("auto_scaling_enabled", terraform.Bool(true))
	b.Set("min_count", terraform.Int(p.Min))
	b.Set("max_count", terraform.Int(p.Max))
	labels := map[string]string{cloud.LabelPool: name}
	maps.Copy(labels, p.Labels)
	taints := slices.Clone(p.Taints)
	if _, gpus := p.gpus(name); gpus {
		taints = append(taints, Taint{cloud.TaintGPU, "present", "NoSchedule"})
		b.Set("gpu_driver", terraform.Text("Install"))
	}
	if p.Spot {
		b.Set("priority", terraform.Text("Spot"))
		b.Set("eviction_policy", terraform.Text("Delete"))
		b.Comment("At most what other nodes cost.")
		b.Set("spot_max_price", terraform.Int(-1))
		taints = append(taints, taintSpot)
		labels[taintSpot.Key] = taintSpot.Value
	} else {
		b.Set("temporary_name_for_rotation", terraform.Text("t"+cloud.Short(name)))
		b.Block("upgrade_settings").Set("max_surge", terraform.Text("10%"))
	}
	b.Set("node_labels", cloud.Texts(labels))
	if len(taints) > 0 {
		texts := make([]string, len(taints))
		for i, t := range taints {
			texts[i] = t.Key + "=" + t.Value + ":" + t.Effect
		}
		b.Set("node_taints", terraform.Texts(texts...))
	}
	if len(p.Zones) > 0 {
		b.Set("zones", terraform.Texts(p.Zones...))
	}
	w.nodeSubnet(b)
	b.Set("tags", terraform.Code("local.tags"))
}

// admins writes who may do everything in the cluster: who makes it, and the admins of the target.
func (w *writer) admins() {
	f := w.file("access.tf")
	f.Block("data", "azurerm_client_config", "current")
	admin := func(name string, who terraform.Expr) *terraform.Body {
		b := f.Resource("azurerm_role_assignment", name)
		b.Set("scope", cloud.Reference("azurerm_kubernetes_cluster", "main", "id"))
		b.Set("role_definition_name", terraform.Text(roleAdmin))
		b.Set("principal_id", who)
		return b
	}
	b := admin("creator", terraform.Code("data.azurerm_client_config.current.object_id"))
	b.Comment("It stays whoever made the cluster.")
	b.Block("lifecycle").Set("ignore_changes", terraform.List(terraform.Code("principal_id")))
	for _, who := range w.Admins {
		admin("admin-"+who, terraform.Text(who))
	}
}

// federated writes which pods get the identity of a unit: those of its service account.
func (w *writer) federated(f *terraform.File, u *ir.Unit) {
	l := cloud.Label(u.ID)
	b := f.Resource("azurerm_federated_identity_credential", l)
	b.Set("name", terraform.Text("tenon"))
	b.Set("resource_group_name", terraform.Code("local.group"))
	b.Set("parent_id", cloud.Reference("azurerm_user_assigned_identity", l, "id"))
	b.Set("audience", terraform.Texts("api://AzureADTokenExchange"))
	b.Set("issuer", cloud.Reference("azurerm_kubernetes_cluster", "main", "oidc_issuer_url"))
	b.Set("subject", terraform.Text("system:serviceaccount:"+w.Namespace+":"+cloud.ServiceAccount(u.ID)))
}

// daemons are the objects of the cluster among which the device plugin is.
const daemons = "/apis/apps/v1/namespaces/kube-system/daemonsets"

// devicePlugin returns what announces the GPUs of nodes to Kubernetes, which AKS does not install. Source: "Use GPUs on Azure
// Kubernetes Service".
func devicePlugin(image string, pools []cloud.Pool) cloud.Object {
	const name = "tenon-nvidia-device-plugin"
	labels := map[string]any{"name": name}
	names := make([]any, len(pools))
	for i, p := range pools {
		names[i] = p.Name
	}
	nodes := []any{map[string]any{"matchExpressions": []any{map[string]any{"key": cloud.LabelPool, "operator": "In", "values": names}}}}
	const folder = "/var/lib/kubelet/device-plugins"
	return cloud.Object{Path: daemons + "/" + name, Content: map[string]any{
		"apiVersion": "apps/v1", "kind": "DaemonSet",
		"metadata": map[string]any{"name": name, "namespace": "kube-system"},
		"spec": map[string]any{
			"selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{
				"metadata": map[string]any{"labels": labels},
				"spec": map[string]any{
					"priorityClassName":            "system-node-critical",
					"automountServiceAccountToken": false,
					"tolerations":                  []any{map[string]any{"operator": "Exists"}},
					"affinity": map[string]any{"nodeAffinity": map[string]any{
						"requiredDuringSchedulingIgnoredDuringExecution": map[string]any{"nodeSelectorTerms": nodes},
					}},
					"containers": []any{map[string]any{
						"name": "plugin", "image": image,
						"env":             []any{map[string]any{"name": "FAIL_ON_INIT_ERROR", "value": "false"}},
						"securityContext": map[string]any{"allowPrivilegeEscalation": false, "capabilities": map[string]any{"drop": []any{"ALL"}}},
						"volumeMounts":    []any{map[string]any{"name": "plugins", "mountPath": folder}},
					}},
					"volumes": []any{map[string]any{"name": "plugins", "hostPath": map[string]any{"path": folder}}},
				},
			},
		},
	}}
}
