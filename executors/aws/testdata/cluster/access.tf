# Written by `tenon compile --format=terraform`, which replaces this file.

resource "aws_eks_access_entry" "admin-fd86e335" {
  cluster_name  = aws_eks_cluster.main.name
  principal_arn = "arn:aws:iam::123456789012:role/ml"
}

resource "aws_eks_access_policy_association" "admin-fd86e335" {
  cluster_name  = aws_eks_cluster.main.name
  principal_arn = aws_eks_access_entry.admin-fd86e335.principal_arn
  policy_arn    = "arn:${local.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
  access_scope {
    type = "cluster"
  }
}
