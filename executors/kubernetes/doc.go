// Package kubernetes runs units in a cluster: jobs as Jobs, services as Deployments
// behind a Service. One pod runs one unit; package pod says what passes between it and
// tenon.
//
// In goes an [executors.Task]; out come objects of a namespace and the files of the
// run's folder. The package keeps nothing in memory that it could not do without: every
// question is answered by the cluster, the store and the folder.
//
//	settings.go, names.go, objects.go, pods.go  the objects of a task: pure functions of it and of the target
//	check.go, rights.go, manifests.go           what a cluster cannot honour, what tenon may do there, how objects are printed
//	connect.go, watch.go                        calls and watches
//	start.go, inside.go, images.go              what a pod finds: store, document, image
//	look.go, explain.go                         how a task stands, in the words of users
//	wait.go, follow.go, bring.go                the end of a job, and what it left
//	lead.go                                     which version of a service gets requests
//	detached.go                                  an apply that goes on in the cluster itself
//	destroy.go, collect.go
//
// # Objects
//
//	ConfigMap NAME  the record: made first, owns all others, removed last
//	Job, Deployment, NetworkPolicy, ... NAME
//	Service UNIT    leads to the version that is ready, is owned by those that stand
//
// NAME is the task's. Objects are tenon's by the label app.kubernetes.io/managed-by,
// and a task's by tenon.dev/task.
//
// # Files
//
//	Dir/log, Dir/notes, Dir/out   as package local has them; outputs once the job has succeeded
//	Dir/kubernetes.json           how it ended, once all that it left is here
//
// # What it does not do
//
//   - It has no retries and no timeouts: those are the engine's. A Job ends after twice
//     its timeout and some more all the same, in case no tenon is there.
//   - It removes no blobs from the store.
//   - It starts no service again that died: the cluster does.
package kubernetes
