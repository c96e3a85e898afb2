// Package kubernetes runs units in a cluster: jobs as Jobs, services as Deployments
// behind a Service. One pod runs one unit. Package pod defines what tenon and a pod
// exchange.
//
// The input is an [executors.Task]. The output is a set of objects in a namespace and
// the files in the run's folder. The package keeps nothing in memory that it cannot
// read again from the cluster, the store or the folder.
//
//	settings.go, names.go, objects.go, pods.go  the objects of a task: pure functions of the task and the target
//	check.go, rights.go, manifests.go           what a cluster cannot honour, the rights tenon needs, how objects are printed
//	connect.go, watch.go                        calls and watches
//	start.go, inside.go, images.go              what a pod needs: artifacts, document, image
//	look.go, explain.go                         the status of a task, explained to users
//	wait.go, follow.go, bring.go                the end of a job, its outputs and its log
//	lead.go, versions.go                        which pods receive requests, and which of several versions in them answers
//	detached.go                                 an apply that runs in the cluster
//	destroy.go, collect.go
//
// # Objects
//
//	ConfigMap NAME  the task state: created first, owns all other objects, deleted last
//	Job, Deployment, NetworkPolicy, ... NAME
//	Service UNIT    selects the version that is ready; owned by all existing versions
//
// NAME is the name of the task. The label app.kubernetes.io/managed-by marks the
// objects of tenon, the label tenon.dev/task those of one task.
//
// # Files
//
//	Dir/log, Dir/notes, Dir/out   as in package local; outputs only after the job has succeeded
//	Dir/kubernetes.json           how the job ended, written once everything else is here
//
// # What it does not do
//
//   - It does not retry and has no timeouts: the engine does that. A Job still has a
//     deadline of twice its timeout plus some slack, in case no tenon is running.
//   - It does not remove blobs from the store.
//   - It does not restart a service that died: the cluster does.
package kubernetes
