// Package kubernetestest runs a real cluster of Kubernetes for tests: one node with
// etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy,
// CoreDNS, containerd and runc, a registry that it pulls from, and an S3 server.
//
// It needs root and what `.ci/tools cluster` installs. Kubernetes and CoreDNS are built
// from their Go modules, once for a user: minutes. Then a cluster is there within
// seconds.
//
// A cluster lives in a folder: one in the user's cache, or what $TENON_TEST_CLUSTER
// names. Those who name the same folder share it, in any number of processes: the
// first starts it, the last one ends it, unless it is kept by `make cluster-up` until
// `make cluster-down`. One whose last user was killed runs until the next has ended, or
// `make cluster-down`. Clusters in other folders do not disturb each other, since each
// has namespaces of its own, of processes, mounts and the network; a link leads there,
// so that the machine reaches node, pods and services at their addresses. What is left
// at the end is the folder, with two empty files that are locks.
//
//	DIR/run/cluster.json   what it is
//	DIR/run/log/NAME       what each part says
//	DIR/run/alive          locked while it runs
//	DIR/lock               held to start and to end it
//	DIR/users              held by those who use it
//
// # What it does not have
//
// Anyone who reaches the node can do anything to it: the kubelet does not authenticate,
// nor does the registry. No network policies are enforced: they are kept, and nothing
// more. There are no dynamic volumes and no metrics, so that autoscalers never scale.
// Pods do not reach other networks than the cluster's and the machine.
package kubernetestest
