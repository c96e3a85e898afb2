// Package kubernetestest runs a real cluster of Kubernetes for tests: one node with
// etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy,
// CoreDNS, metrics-server, containerd and runc, a registry that it pulls from, and an S3 server.
//
// It needs root and what `.ci/tools cluster` installs. Kubernetes and CoreDNS are built
// from their Go modules, once for each user, which takes minutes. Then a cluster starts
// within seconds.
//
// A cluster has a folder: one in the user's cache, or what $TENON_TEST_CLUSTER names.
// Any number of processes may share it: the first one starts it and the last one ends
// it, unless `make cluster-up` keeps it until `make cluster-down`. If its last user was
// killed, it runs until the next one has ended, or until `make cluster-down`. Clusters in
// different folders do not disturb each other, because each has its own namespaces of
// processes, mounts and the network. A link connects them with the machine, which reaches
// node, pods and services at their addresses. Afterwards only the folder remains, with
// two empty lock files.
//
//	DIR/run/cluster.json   what it is
//	DIR/run/log/NAME       the log of each part
//	DIR/run/alive          locked while it runs
//	DIR/lock               held to start and to end it
//	DIR/users              held by its users
//
// # What it does not have
//
// Anyone who reaches the node can do anything to it: the kubelet does not authenticate,
// nor does the registry. Network policies are stored but not enforced. There are no
// dynamic volumes. Pods do not reach other networks than the cluster's and the machine.
package kubernetestest
