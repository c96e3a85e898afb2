package aws

import (
	"github.com/tenon-ml/tenon/compiler/ir"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// cluster writes what a cluster needs besides the bucket and the repository.
func (w *writer) cluster() error {
	w.clusterNetwork()
	w.clusterRoles()
	w.eks()
	w.admins()
	if err := w.roles(); err != nil {
		return err
	}
	w.identities()
	if w.sys.Budget.Month != nil {
		w.topic(w.file("budget.tf"))
	}
	w.clusterOutputs()
	return w.budget()
}

// Tags of subnets in which EKS makes load balancers.
const (
	tagPublic   = "kubernetes.io/role/elb"
	tagInternal = "kubernetes.io/role/internal-elb"
)

// clusterNetwork writes subnets for nodes, which reach the Internet and are not reached from it, and
// subnets for load balancers, each in two zones.
func (w *writer) clusterNetwork() {
	if w.Existing.Network != nil {
		return
	}
	f := w.file("network.tf")
	w.vpc(f)
	nodes, public := closedLane, openLane
	nodes.balanced, public.balanced = tagInternal, tagPublic
	w.lane(f, nodes)
	w.lane(f, public)
	w.toS3(f, reference("aws_route_table", nodes.name, "id"))
	b := f.Resource("aws_eip", "nat")
	b.Set("domain", terraform.Text("vpc"))
	named(b, w.prefix+"-nat")
	b = f.Resource("aws_nat_gateway", "main")
	b.Comment("One for both zones: without it, nodes cannot pull images that are not in ECR.")
	b.Set("allocation_id", reference("aws_eip", "nat", "id"))
	b.Set("subnet_id", terraform.Code("aws_subnet."+public.name+"[0].id"))
	b.Set("depends_on", terraform.List(terraform.Code("aws_internet_gateway.main")))
	named(b, w.prefix)
	b = f.Resource("aws_route", "nat")
	b.Set("route_table_id", reference("aws_route_table", nodes.name, "id"))
	b.Set("destination_cidr_block", terraform.Text("0.0.0.0/0"))
	b.Set("nat_gateway_id", reference("aws_nat_gateway", "main", "id"))
}

// The policies of AWS that EKS Auto Mode needs for itself, and for nodes. Source: "Amazon EKS Auto Mode
// cluster IAM role" and "Amazon EKS Auto Mode node IAM role".
var (
	clusterPolicies = []string{"AmazonEKSBlockStoragePolicy", "AmazonEKSClusterPolicy", "AmazonEKSComputePolicy", "AmazonEKSLoadBalancingPolicy", "AmazonEKSNetworkingPolicy"}
	nodePolicies    = []string{"AmazonEC2ContainerRegistryPullOnly", "AmazonEKSWorkerNodeMinimalPolicy"}
)

// clusterRoles writes the roles of the cluster and of its nodes. Pods have neither: those of a unit have
// that of the unit.
func (w *writer) clusterRoles() {
	f := w.file("cluster.tf")
	for _, r := range []struct {
		name, service string
		actions       []string
		policies      []string
	}{
		{"cluster", "eks.amazonaws.com", []string{"sts:AssumeRole", "sts:TagSession"}, clusterPolicies},
		{"nodes", "ec2.amazonaws.com", []string{"sts:AssumeRole"}, nodePolicies},
	} {
		b := f.Resource("aws_iam_role", r.name)
		b.Set("name", terraform.Text(fit(w.prefix+"-"+r.name, mostRole)))
		b.Set("description", terraform.Text("What the "+r.name+" of "+w.sys.Name+" may do, by policies of AWS for EKS."))
		b.Set("assume_role_policy", policy(statement{id: "Assume", principal: &principal{service: r.service}, actions: r.actions}))
		b = f.Resource("aws_iam_role_policy_attachment", r.name)
		b.Set("for_each", terraform.Call("toset", terraform.Texts(r.policies...)))
		b.Set("role", reference("aws_iam_role", r.name, "name"))
		b.Set("policy_arn", terraform.Join("arn:", terraform.Code("local.partition"), ":iam::aws:policy/", terraform.Code("each.value")))
	}
}

// nodeSubnets returns the subnets of nodes.
func (w *writer) nodeSubnets() terraform.Expr {
	if n := w.Existing.Network; n != nil {
		return terraform.Texts(n.Subnets...)
	}
	return terraform.Code("aws_subnet." + closedLane.name + "[*].id")
}

// eks writes the cluster. In Auto Mode, EKS starts nodes for pods that wait, with the drivers of their
// GPUs, and ends nodes that no pod needs. The pools of the target are objects of the cluster, see
// [Pool.object].
func (w *writer) eks() {
	f := w.file("cluster.tf")
	b := f.Resource("aws_cloudwatch_log_group", "cluster")
	b.Set("name", terraform.Text("/aws/eks/"+w.prefix+"/cluster"))
	b.Set("retention_in_days", terraform.Code("var.log_retention_days"))
	b = f.Resource("aws_eks_cluster", "main")
	b.Set("name", terraform.Text(w.prefix))
	b.Set("role_arn", reference("aws_iam_role", "cluster", "arn"))
	b.Set("version", terraform.Text(w.Version))
	b.Comment("Auto Mode has them already.")
	b.Set("bootstrap_self_managed_addons", terraform.Bool(false))
	b.Set("enabled_cluster_log_types", terraform.Texts("audit", "authenticator"))
	access := b.Block("access_config")
	access.Set("authentication_mode", terraform.Text("API"))
	access.Set("bootstrap_cluster_creator_admin_permissions", terraform.Bool(true))
	compute := b.Block("compute_config")
	compute.Set("enabled", terraform.Bool(true))
	compute.Set("node_pools", terraform.Texts("general-purpose", "system"))
	compute.Set("node_role_arn", reference("aws_iam_role", "nodes", "arn"))
	b.Block("kubernetes_network_config").Block("elastic_load_balancing").Set("enabled", terraform.Bool(true))
	b.Block("storage_config").Block("block_storage").Set("enabled", terraform.Bool(true))
	b.Block("upgrade_policy").Set("support_type", terraform.Text("STANDARD"))
	net := b.Block("vpc_config")
	net.Set("subnet_ids", w.nodeSubnets())
	net.Set("endpoint_private_access", terraform.Bool(true))
	net.Set("endpoint_public_access", terraform.Bool(true))
	from := w.Access
	if len(from) == 0 {
		from = []string{"0.0.0.0/0"}
	}
	net.Set("public_access_cidrs", terraform.Texts(from...))
	wait := []terraform.Expr{terraform.Code("aws_cloudwatch_log_group.cluster"), terraform.Code("aws_iam_role_policy_attachment.cluster"), terraform.Code("aws_iam_role_policy_attachment.nodes")}
	if w.Existing.Network == nil {
		wait = append(wait, terraform.Code("aws_route.nat"))
	}
	b.Set("depends_on", terraform.List(wait...))
	b = f.Resource("aws_eks_addon", "metrics")
	b.Comment("For replicas that follow the use of cores.")
	b.Set("cluster_name", reference("aws_eks_cluster", "main", "name"))
	b.Set("addon_name", terraform.Text("metrics-server"))
}

// admins writes who may do everything in the cluster, besides its creator.
func (w *writer) admins() {
	f := w.file("access.tf")
	for _, who := range w.Admins {
		name := "admin-" + short(who)
		b := f.Resource("aws_eks_access_entry", name)
		b.Set("cluster_name", reference("aws_eks_cluster", "main", "name"))
		b.Set("principal_arn", terraform.Text(who))
		b = f.Resource("aws_eks_access_policy_association", name)
		b.Set("cluster_name", reference("aws_eks_cluster", "main", "name"))
		b.Set("principal_arn", reference("aws_eks_access_entry", name, "principal_arn"))
		b.Set("policy_arn", terraform.Join("arn:", terraform.Code("local.partition"), ":eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"))
		b.Block("access_scope").Set("type", terraform.Text("cluster"))
	}
}

// identities writes which pods get the role of a unit: those of its service account.
func (w *writer) identities() {
	f := w.file("roles.tf")
	for _, u := range w.units {
		b := f.Resource("aws_eks_pod_identity_association", label(u.ID))
		b.Set("cluster_name", reference("aws_eks_cluster", "main", "name"))
		b.Set("namespace", terraform.Text(w.Namespace))
		b.Set("service_account", terraform.Text(clouds.ServiceAccount(u.ID)))
		b.Set("role_arn", reference("aws_iam_role", label(u.ID), "arn"))
		tagged(b, u)
	}
}

// ofPod returns the conditions under which EKS Pod Identity assumes the role of a unit.
func (w *writer) ofPod(u *ir.Unit) []condition {
	return []condition{
		{"StringEquals", "aws:RequestTag/eks-cluster-name", []terraform.Expr{terraform.Text(w.prefix)}},
		{"StringEquals", "aws:RequestTag/kubernetes-namespace", []terraform.Expr{terraform.Text(w.Namespace)}},
		{"StringEquals", "aws:RequestTag/kubernetes-service-account", []terraform.Expr{terraform.Text(clouds.ServiceAccount(u.ID))}},
	}
}

// inCluster returns what the role of a unit in a cluster allows. Nothing can be removed but the oldest parts
// of the logs that a service keeps.
func (w *writer) inCluster(u *ir.Unit) (all []statement) {
	access := clouds.AccessInCluster(w.sys.Env, u)
	all = append(all,
		statement{id: "Read", actions: []string{"s3:GetObject"}, resources: under("local.root_arn", access.Reads)},
		// S3 only says to those who may list the bucket that an object does not exist. That request has no prefix.
		statement{id: "List", actions: []string{"s3:ListBucket"}, resources: []terraform.Expr{terraform.Code("local.bucket_arn")},
			conditions: []condition{{"StringLikeIfExists", "s3:prefix", under("local.root", access.Reads)}}},
		statement{id: "Write", actions: []string{"s3:PutObject", "s3:AbortMultipartUpload"}, resources: under("local.root_arn", access.Writes)})
	if len(access.Removes) > 0 {
		all = append(all, statement{id: "Rotate", actions: []string{"s3:DeleteObject"}, resources: under("local.root_arn", access.Removes)})
	}
	return all
}

func (w *writer) clusterOutputs() {
	f := w.file("outputs.tf")
	f.Output("cluster", "Name of the cluster.", reference("aws_eks_cluster", "main", "name"))
	f.Output("endpoint", "URL of its API.", reference("aws_eks_cluster", "main", "endpoint"))
	f.Output("artifacts", "Folder of the system in the bucket.", terraform.Join("s3://", terraform.Code("local.bucket"), "/", terraform.Code("local.root")))
	f.Output("repository", "Where images are pushed.", terraform.Code("local.repository_url"))
}
