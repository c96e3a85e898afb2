package gcp

import (
	"maps"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// cluster writes what a cluster needs besides the bucket and the repository.
func (w *writer) cluster() error {
	w.clusterNetwork()
	w.nodeAccount()
	w.gke()
	w.nodePools()
	if err := w.identities(); err != nil {
		return err
	}
	f := w.file("outputs.tf")
	f.Output("cluster", "Name of the cluster.", cloud.Reference("google_container_cluster", "main", "name"))
	f.Output("endpoint", "Address of its API.", cloud.Reference("google_container_cluster", "main", "endpoint"))
	f.Output("artifacts", "Folder of the system in the bucket.", terraform.Join("gs://", terraform.Code("local.bucket"), "/", terraform.Code("local.root")))
	return w.budget()
}

// clusterNetwork writes a network whose nodes reach the Internet and are not reached from it.
func (w *writer) clusterNetwork() {
	if w.Existing.Network != nil {
		return
	}
	f := w.file("network.tf")
	b := f.Resource("google_compute_network", "cluster")
	b.Set("name", terraform.Text(w.prefix))
	b.Set("auto_create_subnetworks", terraform.Bool(false))
	enabled(b)
	b = f.Resource("google_compute_subnetwork", "cluster")
	b.Set("name", terraform.Text(w.prefix))
	b.Set("region", terraform.Code("var.region"))
	b.Set("network", cloud.Reference("google_compute_network", "cluster", "id"))
	b.Set("ip_cidr_range", terraform.Text(w.CIDR))
	b.Set("private_ip_google_access", terraform.Bool(true))
	b = f.Resource("google_compute_router", "cluster")
	b.Set("name", terraform.Text(w.prefix))
	b.Set("region", terraform.Code("var.region"))
	b.Set("network", cloud.Reference("google_compute_network", "cluster", "id"))
	b = f.Resource("google_compute_router_nat", "cluster")
	b.Comment("Without it, nodes cannot pull images of other registries.")
	b.Set("name", terraform.Text(w.prefix))
	b.Set("region", terraform.Code("var.region"))
	b.Set("router", cloud.Reference("google_compute_router", "cluster", "name"))
	b.Set("nat_ip_allocate_option", terraform.Text("AUTO_ONLY"))
	b.Set("source_subnetwork_ip_ranges_to_nat", terraform.Text("ALL_SUBNETWORKS_ALL_IP_RANGES"))
}

// nodeAccount writes the account of nodes. Pods do not have it: those of a unit have the rights of the unit.
func (w *writer) nodeAccount() {
	f := w.file("nodes.tf")
	b := f.Resource("google_service_account", "nodes")
	b.Set("account_id", terraform.Text(cloud.Fit(w.prefix+"-nodes", mostAccount)))
	b.Set("display_name", terraform.Text(shortened("Nodes of "+cloud.Environment(w.sys))))
	enabled(b)
	b = f.Resource("google_project_iam_member", "nodes")
	b.Comment("What GKE itself needs on nodes: logs and metrics.")
	b.Set("project", terraform.Code("var.project"))
	b.Set("role", terraform.Text("roles/container.defaultNodeServiceAccount"))
	b.Set("member", cloud.Reference("google_service_account", "nodes", "member"))
	b = f.Resource("google_artifact_registry_repository_iam_member", "nodes")
	b.Set("location", terraform.Code("var.region"))
	if w.Existing.Repository == "" {
		b.Set("repository", cloud.Reference("google_artifact_registry_repository", "images", "name"))
	} else {
		b.Set("repository", terraform.Text(w.Existing.Repository))
	}
	b.Set("role", terraform.Text("roles/artifactregistry.reader"))
	b.Set("member", cloud.Reference("google_service_account", "nodes", "member"))
}

func (w *writer) gke() {
	b := w.file("cluster.tf").Resource("google_container_cluster", "main")
	b.Set("name", terraform.Text(w.prefix))
	b.Set("location", terraform.Code("var.region"))
	if n := w.Existing.Network; n != nil {
		b.Set("network", terraform.Text(n.Network))
		b.Set("subnetwork", terraform.Text(n.Subnetwork))
	} else {
		b.Set("network", cloud.Reference("google_compute_network", "cluster", "id"))
		b.Set("subnetwork", cloud.Reference("google_compute_subnetwork", "cluster", "id"))
	}
	b.Comment("Nodes are those of the pools.")
	b.Set("remove_default_node_pool", terraform.Bool(true))
	b.Set("initial_node_count", terraform.Int(1))
	b.Comment("What has to be kept is in the bucket.")
	b.Set("deletion_protection", terraform.Bool(false))
	b.Comment("It enforces network policies.")
	b.Set("datapath_provider", terraform.Text("ADVANCED_DATAPATH"))
	b.Block("release_channel").Set("channel", terraform.Text(w.Channel))
	b.Block("workload_identity_config").Set("workload_pool", terraform.Join(terraform.Code("var.project"), ".svc.id.goog"))
	b.Block("private_cluster_config").Set("enable_private_nodes", terraform.Bool(true))
	b.Block("ip_allocation_policy").Set("stack_type", terraform.Text("IPV4"))
	b.Block("gateway_api_config").Set("channel", terraform.Text("CHANNEL_STANDARD"))
	if len(w.Access) > 0 {
		from := b.Block("master_authorized_networks_config")
		for _, cidr := range w.Access {
			from.Block("cidr_blocks").Set("cidr_block", terraform.Text(cidr))
		}
	}
	enabled(b)
}

// systemPool is the name of the pool for what GKE runs itself, which cannot have no nodes.
const systemPool = "system"

// nodePools writes the pools of the target, which have no nodes while no pod needs one, and that of GKE.
func (w *writer) nodePools() {
	f := w.file("nodes.tf")
	w.nodePool(f, systemPool, Pool{Machine: "e2-standard-2", Min: 1, Max: 3, Taints: []Taint{{"components.gke.io/gke-managed-components", "true", "NoSchedule"}}})
	pools := w.pools()
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		w.nodePool(f, name, pools[name])
	}
}

// effects are those of taints, as Google's API spells them.
var effects = map[string]string{"NoSchedule": "NO_SCHEDULE", "PreferNoSchedule": "PREFER_NO_SCHEDULE", "NoExecute": "NO_EXECUTE"}

func (w *writer) nodePool(f *terraform.File, name string, p Pool) {
	b := f.Resource("google_container_node_pool", name)
	b.Set("name", terraform.Text(name))
	b.Set("cluster", cloud.Reference("google_container_cluster", "main", "id"))
	first := int64(0)
	if p.Min > 0 {
		first = 1
	}
	b.Comment("Of each zone.")
	b.Set("initial_node_count", terraform.Int(first))
	if len(p.Zones) > 0 {
		b.Set("node_locations", terraform.Texts(p.Zones...))
	}
	scale := b.Block("autoscaling")
	scale.Set("total_min_node_count", terraform.Int(p.Min))
	scale.Set("total_max_node_count", terraform.Int(p.Max))
	scale.Set("location_policy", terraform.Text("ANY"))
	manage := b.Block("management")
	manage.Set("auto_repair", terraform.Bool(true))
	manage.Set("auto_upgrade", terraform.Bool(true))
	node := b.Block("node_config")
	node.Set("machine_type", terraform.Text(p.Machine))
	node.Set("spot", terraform.Bool(p.Spot))
	node.Set("service_account", cloud.Reference("google_service_account", "nodes", "email"))
	node.Set("oauth_scopes", terraform.Texts("https://www.googleapis.com/auth/cloud-platform"))
	labels := map[string]string{cloud.LabelPool: name}
	maps.Copy(labels, p.Labels)
	node.Set("labels", cloud.Texts(labels))
	node.Block("workload_metadata_config").Set("mode", terraform.Text("GKE_METADATA"))
	gpu, n := p.gpus()
	secure := node.Block("shielded_instance_config")
	secure.Set("enable_secure_boot", terraform.Bool(gpu == "")) // not all drivers of GPUs are signed
	secure.Set("enable_integrity_monitoring", terraform.Bool(true))
	if gpu != "" {
		x := node.Block("guest_accelerator")
		x.Comment("GKE taints such nodes itself: " + cloud.TaintGPU + "=present:NoSchedule.")
		x.Set("type", terraform.Text(gpu))
		x.Set("count", terraform.Int(n))
		x.Block("gpu_driver_installation_config").Set("gpu_driver_version", terraform.Text("DEFAULT"))
	}
	for _, t := range p.Taints {
		x := node.Block("taint")
		x.Set("key", terraform.Text(t.Key))
		x.Set("value", terraform.Text(t.Value))
		x.Set("effect", terraform.Text(effects[t.Effect]))
	}
}

// identities writes the rights of units, which are those of their service accounts in the cluster.
func (w *writer) identities() error {
	f := w.file("rights.tf")
	if len(w.units) == 0 {
		return nil
	}
	if w.sys.Budget.Month == nil { // whose file has it
		f.Block("data", "google_project", "current")
	}
	w.storageRoles(f)
	for _, u := range w.units {
		member := terraform.Join("principal://iam.googleapis.com/projects/", terraform.Code("data.google_project.current.number"), "/locations/global/workloadIdentityPools/",
			terraform.Code("var.project"), ".svc.id.goog/subject/ns/"+w.Namespace+"/sa/"+cloud.ServiceAccount(u.ID))
		if err := w.bucketRights(f, u, cloud.AccessInCluster(w.sys.Env, u), member); err != nil {
			return err
		}
	}
	return nil
}

// bucketRights writes bindings of a member to the roles of the bucket, for what a unit reads and writes.
func (w *writer) bucketRights(f *terraform.File, u *ir.Unit, a cloud.Access, member terraform.Expr) error {
	for _, r := range roles {
		conditions := conditions(r.prefixes(a), r.operands)
		if len(conditions) > mostBindings {
			return tooMany(u, r.id, len(r.prefixes(a)), r.operands)
		}
		for i, c := range conditions {
			b := f.Resource("google_storage_bucket_iam_member", cloud.Label(u.ID)+"-"+r.id+"-"+strconv.Itoa(i))
			b.Set("bucket", terraform.Code("local.bucket"))
			b.Set("role", cloud.Reference("google_project_iam_custom_role", r.id, "id"))
			b.Set("member", member)
			x := b.Block("condition")
			x.Set("title", terraform.Text(r.id+"-"+strconv.Itoa(i)))
			x.Set("expression", c)
			if w.Service == GKE { // which makes the pool of identities of the project
				b.Set("depends_on", terraform.List(terraform.Code("google_container_cluster.main")))
			}
		}
	}
	return nil
}
